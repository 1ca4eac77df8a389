"""What is trained: the adapter on the base's U-Net and the style attention, beside what they started from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn

from simedit.pipeline import Conditioning, SpecialistPipeline, predict
from simedit.settings import Scales
from simedit.specialist import Specialist, adapter_weights, lora_config, set_weights

REFERENCE = "reference"
"""The name of the copy that feedback started from."""


@dataclass(frozen=True)
class Encoded:
    """What N edits are conditioned on, before the style attention, which is trained.

    Attributes:
        text: [N, L, D], text states of the instructions.
        image: [N, 4, h, w], latents of the inputs.
        style: [N, 4, h, w], latents of the style images.
    """

    text: Tensor
    image: Tensor
    style: Tensor


class Policy:
    """A specialist in training. With `reference()` it is what the feedback started from: the base, or the
    specialist after its warm start.

    All share one U-Net: of what is trained copies are kept by name, and put in place meanwhile. What is
    trained is float32 even where the base is less.

    Args:
        pipeline: the base, on its device; its U-Net gains the adapter in place.
        rank, alpha: of the LoRA.
        seed: of the adapter's random start.
        scales: guidance scales.
        bf16: compute in bfloat16.
        gradient_checkpointing: recompute activations in the backward pass.
    """

    def __init__(
        self,
        pipeline: SpecialistPipeline,
        *,
        rank: int,
        alpha: float,
        seed: int,
        scales: Scales,
        bf16: bool = False,
        gradient_checkpointing: bool = False,
    ):
        for module in (pipeline.vae, pipeline.text_encoder, pipeline.unet):
            module.requires_grad_(False).eval()
        pipeline.fast_convolutions()
        self.pipeline = pipeline
        self.style_attention: Any = pipeline.style_attention.requires_grad_(True)
        if gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet: Any = get_peft_model(pipeline.unet, lora_config(rank, alpha)).eval()
        self.parameters: list[nn.Parameter] = [p for p in self.unet.parameters() if p.requires_grad]
        self.parameters += list(self.style_attention.parameters())
        for parameter in self.parameters:
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        self._copies: dict[str, list[Tensor]] = {}
        self.keep(REFERENCE)
        self._scales = scales
        self._bf16 = bf16
        with torch.no_grad():
            self._empty_text = pipeline.encode_text([""])

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    def reference(self) -> contextlib.AbstractContextManager[None]:
        """Inside, predictions are the reference's; nothing may be learned there."""
        return self.being(REFERENCE)

    @contextlib.contextmanager
    def being(self, name: str) -> Iterator[None]:
        """Inside, it is its copy of that name; nothing may be learned there."""
        self._exchange(name)
        try:
            yield
        finally:
            self._exchange(name)

    def keep(self, name: str) -> None:
        """Make what it is now the copy of that name."""
        self._copies[name] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def follow(self, name: str, share: float) -> None:
        """Move the copy of that name towards what it is now: it keeps this share, 0..1, of itself."""
        for copy, parameter in zip(self._copies[name], self.parameters, strict=True):
            copy.lerp_(parameter, 1 - share)

    def _exchange(self, name: str) -> None:
        kept = self._copies[name]
        for i, parameter in enumerate(self.parameters):
            parameter.data, kept[i] = kept[i], parameter.data

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    def conditioning(self, encoded: Encoded) -> Conditioning:
        """All that stays constant over the denoising steps; differentiable in the style attention."""
        with self.autocast():
            style = self.style_attention(encoded.style, encoded.image, encoded.text)
        return Conditioning(
            text=encoded.text,
            empty_text=self._empty_text,
            image=encoded.image,
            style=style.to(encoded.image.dtype),
            scales=[self._scales],
            alphas=self.pipeline.velocity_alphas,
        )

    def predict(self, conditioning: Conditioning, x: Tensor, t: float | Tensor) -> Tensor:
        """The guided noise prediction, float32 [N, 4, h, w], of scaled latents x at one timestep or [N]."""
        with self.autocast():
            t = torch.as_tensor(t, dtype=torch.float32).to(x.device)
            return predict(self.unet, conditioning, x, t)

    def weights(self) -> dict[str, Tensor]:
        """A specialist's weights, float32."""
        return adapter_weights(self.unet, "default", self.style_attention)

    def load(self, specialist: Specialist) -> None:
        """Go on from a specialist's weights.

        Raises:
            SimeditError: they do not fit the base or the adapter.
        """
        set_weights(specialist, self.unet, "default", self.style_attention)
