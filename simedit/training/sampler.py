"""One batch of a training step: inputs and styles encoded, pairs of edits sampled, decoded and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from simedit.errors import SimeditError
from simedit.scores import Score, Targets
from simedit.training.config import TrainConfig
from simedit.training.data import Draw, Inputs, fit
from simedit.training.pairs import Pairs, sample_pairs
from simedit.training.policy import Encoded, Policy
from simedit.training.regions import fit_style_masks

AT_ONCE = 4
"""Inputs whose edits are scored at once."""


Masks = Callable[[Sequence[int], np.ndarray, Sequence[np.ndarray | None]], np.ndarray]
"""(Indices, frames uint8 [N, H, W, 3], the inputs' own masks) -> bool [N, H, W]."""


@dataclass(frozen=True)
class Material:
    """What a specialist is trained from.

    Attributes:
        inputs: the frames to edit.
        styles: the style images, uint8 [h, w, 3] each.
        masks: of inputs.
        style_masks: one bool [h, w] for each style image.
        structural, semantic: the scores.
    """

    inputs: Inputs
    styles: tuple[np.ndarray, ...]
    masks: Masks
    style_masks: Sequence[np.ndarray]
    structural: Score
    semantic: Score


class Sampler:
    """Samples pairs and has them scored. What stays the same over a training is computed once, here.

    Args:
        config: with the style's name filled in.
        policy: what samples.
        material: the inputs, the styles, the scores.

    Attributes:
        schedule: of the denoising steps.
        wordings: the prompts that samples draw from.
        style_frames: uint8 [M, H, W, 3], the style images as the VAE and the scores see them.
    """

    def __init__(self, config: TrainConfig, policy: Policy, material: Material):
        self.config, self.policy, self.material = config, policy, material
        pipeline = policy.pipeline
        self.schedule = pipeline.schedule(config.sampler, config.sampling.steps)
        self.wordings = (config.style.instruction, *config.style.wordings)
        size = (config.width, config.height)
        self.style_frames = np.stack([fit(image, *size) for image in material.styles])
        self._style_masks = fit_style_masks(material.style_masks, *size)
        with torch.no_grad():
            self._text = pipeline.encode_text(self.wordings)
            # Each for itself, as edits encode it: they have sizes of their own.
            self._style = torch.cat(
                [
                    pipeline.encode_style(_images(image[None]), config.height, config.width)
                    for image in material.styles
                ]
            )

    @torch.no_grad()
    def batch(self, draws: Sequence[Draw], seconds: dict[str, float]) -> Pairs:
        """Sample and score one pair for each of N draws; adds to the seconds of "sample" and "score"."""
        device, started = self.policy.device, time.perf_counter()
        found = [self.material.inputs[draw.input] for draw in draws]
        frames = np.stack([frame for frame, _ in found])
        inputs = _images(frames).to(device)
        wording = torch.tensor([draw.wording for draw in draws])
        style = torch.tensor([draw.style for draw in draws])
        image = self.policy.pipeline.encode_images(inputs)
        latents, log_probs = sample_pairs(
            self.policy,
            Encoded(self._text[wording], image, self._style[style]),
            self.schedule,
            [draw.noise_seed for draw in draws],
            getattr(torch, self.config.sampling.storage),
        )
        edits = self.decode(latents[:, :, -1])
        # Brought to the host before the clock is read, for a GPU works on while Python goes ahead.
        latents, log_probs, image = latents.cpu(), log_probs.cpu(), image.cpu()
        now = time.perf_counter()
        seconds["sample"] += now - started

        masks = self.material.masks([draw.input for draw in draws], frames, [mask for _, mask in found])
        targets = Targets(
            inputs=inputs,
            masks=torch.from_numpy(masks).to(device),
            styles=_images(self.style_frames[style.numpy()]).to(device),
            style_masks=torch.from_numpy(self._style_masks[style.numpy()]).to(device),
        )
        structural, semantic = (
            _scored(score, edits, targets) for score in (self.material.structural, self.material.semantic)
        )
        seconds["score"] += time.perf_counter() - now
        return Pairs(latents, log_probs, image, wording, style, structural, semantic)

    def check(self, pairs: Pairs, draws: Sequence[Draw]) -> None:
        """Check that pairs read from a file are the first of a step's.

        Args:
            draws: what that step's are made from.

        Raises:
            SimeditError: they are not, or have other shapes or types than `batch` gives them.
        """
        n, steps, latent = len(pairs), len(self.schedule), tuple(self._style.shape[1:])
        noisy, stored = len(self.schedule.noisy_steps), getattr(torch, self.config.sampling.storage)
        wanted = {
            "latents": (stored, (n, 2, steps + 1, *latent)),
            "log_probs": (torch.float32, (n, 2, noisy)),
            "image": (self._style.dtype, (n, *latent)),
            "wording": (torch.int64, (n,)),
            "style": (torch.int64, (n,)),
            "structural": (torch.float32, (n, 2)),
            "semantic": (torch.float32, (n, 2)),
        }
        for name, (dtype, shape) in wanted.items():
            found: Tensor = getattr(pairs, name)
            if (found.dtype, tuple(found.shape)) != (dtype, shape):
                raise SimeditError(
                    f"its pairs' {name} is {found.dtype} {[*found.shape]} and should be {dtype} {[*shape]}"
                )
        made = [(draw.wording, draw.style) for draw in draws[:n]]
        if n > len(draws) or made != list(zip(pairs.wording.tolist(), pairs.style.tolist(), strict=True)):
            raise SimeditError("its pairs are not those that this training draws in that step")

    def text(self, wording: Tensor) -> Tensor:
        """Text states [N, L, D] of wordings int64 [N]."""
        return self._text[wording]

    def style(self, index: Tensor) -> Tensor:
        """Latents [N, 4, h, w] of style images int64 [N]."""
        return self._style[index]

    def encode(self, pairs: Pairs) -> Encoded:
        """What the pairs are conditioned on, on the policy's device."""
        image = pairs.image.to(self.policy.device)
        return Encoded(self._text[pairs.wording], image, self._style[pairs.style])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """float32 [N, 2, 3, H, W] in 0..1 of final latents [N, 2, 4, h, w]; pair by pair, to spare memory."""
        size = (self.config.height, self.config.width)
        return torch.stack(
            [
                self.policy.pipeline.decode(pair.to(self.policy.device, torch.float32), *size)
                for pair in latents
            ]
        )


def _scored(score: Score, edits: Tensor, targets: Targets) -> Tensor:
    """float32 [N, 2] on the CPU; few at once, for a depth model's maps of a whole batch fill a GPU."""
    parts = [
        score(
            edits[i : i + AT_ONCE],
            Targets(*(getattr(targets, f.name)[i : i + AT_ONCE] for f in fields(Targets))),
        )
        for i in range(0, len(edits), AT_ONCE)
    ]
    return torch.cat(parts).float().cpu()


def _images(frames: np.ndarray) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [N, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2) / 255
