"""What the networks of a training need in arithmetic and memory, found on tensors without data.

The real modules run forward and backward on fake tensors (shapes, dtypes and lifetimes, but no numbers),
while all that is allocated is counted. That takes seconds, for whatever size, on any machine.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import try_to_load_from_cache
from peft import get_peft_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from simedit.base_config import read_part_config
from simedit.config import load_json
from simedit.errors import SimeditError, shortened
from simedit.pipeline import Conditioning, predict, widen
from simedit.settings import Scales
from simedit.specialist import lora_config
from simedit.style_attention import StyleAttention
from simedit.training.config import TrainConfig
from simedit.training.objectives import Objective
from simedit.training.rollout import repeated

PARTS = ("unet", "vae", "text_encoder")
STABLE_DIFFUSION: dict[str, dict[str, Any]] = {
    "unet": {"in_channels": 8, "cross_attention_dim": 768, "attention_head_dim": 8},
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
    },
    "text_encoder": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
}
"""The parts' configs of Stable Diffusion 1.5, where they differ from the classes' defaults."""


@dataclass(frozen=True)
class Footprint:
    """What one device needs; bytes unless it says otherwise.

    Attributes:
        base: the base's weights, and the originals of what is trained whole.
        trained: how many parameters are trained (not bytes).
        update: at the peak of one backward pass, above weights and gradients.
        sampling: the same of one denoising step, with the batch's trajectories.
        coding: the same of the VAE.
        latent: one latent of a stored trajectory.
        forward: operations of one U-Net evaluation, on one frame (not bytes).
        learning: the same with its backward pass, and what that recomputes (not bytes).
    """

    base: int
    trained: int
    update: int
    sampling: int
    coding: int
    latent: int
    forward: int
    learning: int


def base_configs(base: str) -> dict[str, dict[str, Any]] | None:
    """The configs of a base's `PARTS`, from its directory or the hub's cache; None where neither has them.

    Raises:
        SimeditError: `base` is a path without them, or one is broken.
    """
    configs = {}
    for part in PARTS:
        path: Any = Path(base) / part / "config.json"
        if not Path(base).is_dir():
            if base.startswith((".", "/", "~")) or base.count("/") > 1:
                raise SimeditError(f"no base at {base}: there is no such directory")
            path = try_to_load_from_cache(base, f"{part}/config.json")
            if not isinstance(path, str):
                return None
        known = read_part_config(Path(path))
        # Of the text encoder's no more than the loader takes.
        configs[part] = known.model_dump() if part == "text_encoder" else load_json(path)
    return configs


def footprint(config: TrainConfig, parts: dict[str, dict[str, Any]]) -> Footprint:
    """What training needs by `config` on a base whose parts have these configs.

    Left out: the scores' models, the libraries' own memory, work space of kernels, and fragmentation. With
    precision "bf16" norms compute in float32, as autocast has it on CUDA.

    Raises:
        SimeditError: no networks can be made from these configs.
    """
    try:
        return _counted(config, _Networks(config, parts))
    except Exception as error:  # of a config that others wrote libraries raise by no rule
        raise SimeditError(f"the base's configs do not make a model: {shortened(error, 300)}") from error


def _counted(config: TrainConfig, networks: _Networks) -> Footprint:
    inputs, edits, (forward, learning) = config.sampling.batch_size, config.sampling.edits, networks.flops()
    latent = math.prod(networks.latent) * getattr(torch, config.sampling.storage).itemsize

    return Footprint(
        base=networks.base,
        trained=_numel(networks.trained),
        update=networks.peak(lambda: networks.learn(config.update.batch_size, edits, config.objective)),
        sampling=networks.peak(torch.no_grad()(lambda: networks.predict(inputs, edits)))
        + edits * inputs * (config.sampling.steps + 1) * latent,
        # The trainer decodes one input's edits at a time.
        coding=max(
            networks.peak(lambda: networks.encode(inputs)), networks.peak(lambda: networks.decode(edits))
        ),
        latent=latent,
        forward=forward // (2 * config.style.scales.branches),  # of two edits
        learning=learning // (2 * config.style.scales.branches),
    )


class _Networks:
    """The networks of a training as fake tensors, put together as `simedit.training.policy.Policy` does."""

    def __init__(self, config: TrainConfig, parts: dict[str, dict[str, Any]]):
        self._bf16 = config.precision == "bf16"
        self._dtype = torch.bfloat16 if self._bf16 else torch.float32
        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(parts["unet"])
            self._vae: Any = AutoencoderKL.from_config(parts["vae"])
            self._text = CLIPTextConfig.from_dict(parts["text_encoder"])
            text_encoder = CLIPTextModel(self._text)
            if unet.config["in_channels"] == 2 * unet.config["out_channels"]:
                widen(unet)
            self._attention = StyleAttention.for_unet(unet)
            frozen = [p for m in (unet, self._vae, text_encoder) for p in m.parameters()]
            self.base = _numel(frozen) * self._dtype.itemsize + _numel(self._attention.parameters()) * 4
            for parameter in frozen:
                parameter.requires_grad_(False).data = parameter.data.to(self._dtype)
            if config.update.gradient_checkpointing:
                unet.enable_gradient_checkpointing()
            self._unet: Any = get_peft_model(unet, lora_config(config.lora_rank, config.lora_alpha))
        modules = (self._unet, self._attention, self._vae)
        for parameter in (p for m in modules for p in m.parameters() if p.requires_grad):
            parameter.data = parameter.data.float()
        if self._bf16:
            for inner in (inner for m in modules for inner in m.modules()):
                if isinstance(inner, nn.GroupNorm | nn.LayerNorm):
                    inner.register_forward_pre_hook(lambda _, args: (args[0].float(),))
                    for parameter in inner.parameters():
                        parameter.data = parameter.data.float()

        down = 2 ** (len(self._vae.config["block_out_channels"]) - 1)
        factor = down * 2 ** (len(unet.config["block_out_channels"]) - 1)
        self._size = tuple(-(-side // factor) * factor for side in (config.height, config.width))
        self.latent = unet.config["out_channels"], self._size[0] // down, self._size[1] // down
        self._scales = config.style.scales
        self._fake = FakeTensorMode()
        with self._fake:
            for inner in (inner for m in modules for inner in m.modules()):
                # On the CPU, for "meta" has neither autocast nor the attention kernels.
                for name, old in list(inner.named_parameters(recurse=False)):
                    new = nn.Parameter(torch.empty(old.shape, dtype=old.dtype), old.requires_grad)
                    if old.requires_grad:
                        new.grad = torch.empty_like(new)
                    setattr(inner, name, new)
        self._parameters = [p for m in modules for p in m.parameters()]
        self.trained = [p for p in self._parameters if p.requires_grad]

    def peak(self, run: Callable[[], object]) -> int:
        """Bytes allocated at the peak of `run`: weights and their gradients are there before."""
        kept = [*self._parameters, *(p.grad for p in self.trained if p.grad is not None)]
        with self._fake, Allocations(kept) as allocations, self._autocast():
            run()
        return allocations.peak

    def flops(self) -> tuple[int, int]:
        """Operations of predicting for two edits of an input, and of that with its backward pass."""
        counter = FlopCounterMode(display=False)
        with self._fake, self._autocast(), sdpa_kernel(SDPBackend.MATH), counter:
            predicted = self.predict(1, 2)
            forward = counter.get_total_flops()
            predicted.sum().backward()
        return forward, counter.get_total_flops()

    def learn(self, inputs: int, edits: int, objective: Objective) -> None:
        """One backward pass of an objective; its scores are left out."""
        learned = objective.learned(edits)
        found = self.predict(inputs, learned, objective.guided, objective.chained)
        if objective.differentiates:
            found = self._vae.decode(found.to(self._dtype)).sample
        found.sum().backward()

    def predict(self, inputs: int, edits: int, guided: bool = True, chained: int = 1) -> Tensor:
        """The prediction for some edits of some inputs; the last of some, each made from the one before."""
        text, image = self._states(inputs), self._empty(inputs, *self.latent)
        style = self._attention(image, image, text).to(self._dtype)
        scales = self._scales if guided else Scales(image=1, style=1, text=1)
        conditioning = Conditioning(text, self._states(1), image, style, [scales])
        conditioning, x = repeated(conditioning, edits), torch.empty(edits * inputs, *self.latent)
        for _ in range(chained):
            x = predict(self._unet, conditioning, x, torch.zeros(len(x)))
        return x

    def encode(self, frames: int) -> None:
        self._vae.encode(self._empty(frames, 3, *self._size))

    def decode(self, frames: int) -> None:
        self._vae.decode(self._empty(frames, *self.latent))

    def _states(self, texts: int) -> Tensor:
        return self._empty(texts, self._text.max_position_embeddings, self._text.hidden_size)

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self._dtype)

    def _autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self._bf16)


class Allocations(TorchDispatchMode):
    """Counts the memory that operations inside allocate, as long as some tensor holds it.

    Args:
        kept: tensors made before, which are not counted.

    Attributes:
        live, peak: bytes, now and at most.
    """

    def __init__(self, kept: Iterable[Tensor] = ()):
        super().__init__()
        self.live = self.peak = 0
        self._storages = [tensor.untyped_storage() for tensor in kept]
        self._known = {id(storage) for storage in self._storages}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in self._known:
                    self._known.add(id(storage))
                    self.live += storage.nbytes()
                    self.peak = max(self.peak, self.live)
                    weakref.finalize(storage, self._freed, id(storage), storage.nbytes())
        return result

    def _freed(self, which: int, size: int) -> None:
        self._known.discard(which)
        self.live -= size


def _numel(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)
