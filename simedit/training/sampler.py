"""One batch of a training step: inputs and styles encoded, edits sampled, decoded and scored."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from simedit.errors import SimeditError
from simedit.samplers import windowed
from simedit.scores import Differentiable, Score, Targets
from simedit.training.config import TrainConfig
from simedit.training.data import Draw, Inputs, fit
from simedit.training.policy import Encoded, Policy
from simedit.training.regions import fit_style_masks
from simedit.training.rollout import Rollout, sample_edits

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
        scores: by the names that the config weighs them by.
    """

    inputs: Inputs
    styles: tuple[np.ndarray, ...]
    masks: Masks
    style_masks: Sequence[np.ndarray]
    scores: Mapping[str, Score]


class Sampler:
    """Samples edits and has them scored. What stays the same over a training is computed once, here.

    Args:
        config: with the style's name filled in.
        policy: what samples.
        material: the inputs, the styles, the scores.

    Attributes:
        schedule: of the denoising steps, as the training step that it is `at` takes them.
        wordings: the prompts that samples draw from.
        style_frames: uint8 [M, H, W, 3], the style images as the VAE and the scores see them.
    """

    def __init__(self, config: TrainConfig, policy: Policy, material: Material):
        self.config, self.policy, self.material = config, policy, material
        pipeline = policy.pipeline
        self.at(0)
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

    def at(self, step: int) -> None:
        """Be at a training step, of 0 and on: it says which denoising steps draw noise."""
        config, schedule = self.config, self.policy.pipeline.schedule
        if config.sampler == "consistency":
            self.schedule = schedule(config.sampler, config.sampling.steps)
        else:
            noisy, plain = (schedule(config.sampler, config.sampling.steps, eta=eta) for eta in (1.0, 0.0))
            self.schedule = windowed(noisy, plain, config.sampling.noisy_at(step))

    @torch.no_grad()
    def batch(self, draws: Sequence[Draw], seconds: dict[str, float]) -> Rollout:
        """Sample and score the edits of each of N draws; adds to the seconds of "sample" and "score"."""
        started = time.perf_counter()
        found = [self.material.inputs[draw.input] for draw in draws]
        inputs = _images(np.stack([frame for frame, _ in found])).to(self.policy.device)
        which = torch.tensor([draw.input for draw in draws])
        wording = torch.tensor([draw.wording for draw in draws])
        style = torch.tensor([draw.style for draw in draws])
        image = self.policy.pipeline.encode_images(inputs)
        objective = self.config.objective
        with self.policy.being(objective.sampled_by) if objective.sampled_by else contextlib.nullcontext():
            latents, log_probs = sample_edits(
                self.policy,
                Encoded(self._text[wording], image, self._style[style]),
                self.schedule,
                [draw.noise_seed for draw in draws],
                getattr(torch, self.config.sampling.storage),
                self.config.sampling.edits,
            )
        if objective.trajectories:
            noisy = self.schedule.noisy_steps
            latents = latents[:, :, [*noisy, noisy[-1] + 1, -1]]
        else:
            latents, log_probs = latents[:, :, -1:], log_probs[:, :, :0]
        edits = self.decode(latents[:, :, -1])
        # Brought to the host before the clock is read, for a GPU works on while Python goes ahead.
        latents, log_probs, image = latents.cpu(), log_probs.cpu(), image.cpu()
        now = time.perf_counter()
        seconds["sample"] += now - started

        targets = self._targets(which, found, style)
        scores = {name: _scored(score, edits, targets) for name, score in self.material.scores.items()}
        seconds["score"] += time.perf_counter() - now
        return Rollout(latents, log_probs, image, which, wording, style, scores)

    def check(self, rollout: Rollout, draws: Sequence[Draw]) -> None:
        """Check that a rollout read from a file is the first part of a step's.

        Args:
            draws: what that step's is made from.

        Raises:
            SimeditError: it is not, or has other scores, shapes or types than `batch` gives it.
        """
        n, latent, edits = len(rollout), tuple(self._style.shape[1:]), self.config.sampling.edits
        whole, stored = self.config.objective.trajectories, getattr(torch, self.config.sampling.storage)
        noisy = self.config.sampling.noisy
        wanted = {
            "latents": (stored, (n, edits, noisy + 2 if whole else 1, *latent)),
            "log_probs": (torch.float32, (n, edits, noisy if whole else 0)),
            "image": (self._style.dtype, (n, *latent)),
            "input": (torch.int64, (n,)),
            "wording": (torch.int64, (n,)),
            "style": (torch.int64, (n,)),
            **dict.fromkeys(self.material.scores, (torch.float32, (n, edits))),
        }
        tensors = rollout.tensors()
        if strange := sorted(tensors.keys() ^ wanted.keys()):
            raise SimeditError(f"its edits and this training's differ in {', '.join(strange)}")
        for name, (dtype, shape) in wanted.items():
            found = tensors[name]
            if (found.dtype, tuple(found.shape)) != (dtype, shape):
                raise SimeditError(
                    f"its edits' {name} is {found.dtype} {[*found.shape]} and should be {dtype} {[*shape]}"
                )
        made = [(draw.input, draw.wording, draw.style) for draw in draws[:n]]
        known = [*zip(*(of.tolist() for of in (rollout.input, rollout.wording, rollout.style)), strict=True)]
        if n > len(draws) or made != known:
            raise SimeditError("its edits are not those that this training draws in that step")

    def text(self, wording: Tensor) -> Tensor:
        """Text states [N, L, D] of wordings int64 [N]."""
        return self._text[wording]

    def style(self, index: Tensor) -> Tensor:
        """Latents [N, 4, h, w] of style images int64 [N]."""
        return self._style[index]

    def encode(self, rollout: Rollout, /) -> Encoded:
        """What the edits are conditioned on, on the policy's device."""
        image = rollout.image.to(self.policy.device)
        return Encoded(self._text[rollout.wording], image, self._style[rollout.style])

    def value(self, inputs: Tensor, styles: Tensor, latents: Tensor, /) -> Tensor:
        """As `simedit.training.objectives.Setting`; the scores that weigh something are `Differentiable`."""
        n, size = len(latents), (self.config.height, self.config.width)
        edits = self.policy.pipeline.decode(latents.flatten(0, 1), *size).unflatten(0, (n, -1))
        targets = self._targets(inputs, [self.material.inputs[i] for i in inputs.tolist()], styles)
        total = torch.zeros(edits.shape[:2], device=edits.device)
        for name, weight in self.config.scores.weights.items():
            if weight:
                score = self.material.scores[name]
                assert isinstance(score, Differentiable)  # see the objective's `check`
                total = total + weight * score.value(edits, targets)
        return total

    def _targets(
        self, which: Tensor, found: Sequence[tuple[np.ndarray, np.ndarray | None]], styles: Tensor
    ) -> Targets:
        """Of the edits of some inputs, with their frames and masks."""
        device, frames = self.policy.device, np.stack([frame for frame, _ in found])
        masks = self.material.masks(which.tolist(), frames, [mask for _, mask in found])
        return Targets(
            inputs=_images(frames).to(device),
            masks=torch.from_numpy(masks).to(device),
            styles=_images(self.style_frames[styles.numpy()]).to(device),
            style_masks=torch.from_numpy(self._style_masks[styles.numpy()]).to(device),
        )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """float32 [N, G, 3, H, W] in 0..1 of final latents [N, G, 4, h, w]; one input at once, for memory."""
        size = (self.config.height, self.config.width)
        return torch.stack(
            [
                self.policy.pipeline.decode(edits.to(self.policy.device, torch.float32), *size)
                for edits in latents
            ]
        )


def _scored(score: Score, edits: Tensor, targets: Targets) -> Tensor:
    """float32 [N, G] on the CPU; few at once, for a depth model's maps of a whole batch fill a GPU."""
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
