"""Sampling: two edits of each input from the same initial noise, with all that learning from them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from simedit import samplers
from simedit.pipeline import Conditioning
from simedit.samplers import Schedule
from simedit.training.policy import Encoded, Policy


@dataclass(frozen=True)
class Pairs:
    """N pairs of edits, as tensors on the CPU.

    Whatever order in memory they come in, they are laid out row by row, as files hold them: some processors
    take other kernels for other orders, whose last bits differ, and a training that goes on from a file is to
    do what one that never stopped does.

    Attributes:
        latents: storage dtype [N, 2, S+1, 4, h, w], both trajectories.
        log_probs: float32 [N, 2, K], of the schedule's K noisy steps, under the policy that sampled them.
        image: [N, 4, h, w], the inputs' latents.
        wording, style: int64 [N], which instruction and which style image.
        structural, semantic: float32 [N, 2], the edits' scores, lower is better.
    """

    latents: Tensor
    log_probs: Tensor
    image: Tensor
    wording: Tensor
    style: Tensor
    structural: Tensor
    semantic: Tensor

    def __post_init__(self) -> None:
        for f in fields(self):
            value: Tensor = getattr(self, f.name)
            # Not `contiguous`, which leaves the odd strides of dimensions of one as they are.
            object.__setattr__(self, f.name, torch.empty(value.shape, dtype=value.dtype).copy_(value))

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, which: Tensor) -> Pairs:
        return Pairs(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @classmethod
    def cat(cls, parts: Sequence[Pairs]) -> Pairs:
        return cls(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)})


def sample_pairs(
    policy: Policy, encoded: Encoded, schedule: Schedule, noise_seeds: Sequence[int], storage: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Sample two edits of each of N inputs; they share the initial noise and differ by the ancestral one.

    All noise of a pair comes from its seed, whatever the batch and the device.

    Args:
        encoded: of the N inputs.
        noise_seeds: N integers, 0 or more.
        storage: see `simedit.samplers.sample`.

    Returns:
        Latents, storage dtype [N, 2, S+1, 4, h, w], and log-probabilities, float32 [N, 2, K], both on the
        policy's device.
    """
    shape, device = encoded.image.shape, policy.device

    def generators(stream: int) -> list[torch.Generator]:
        states = (np.random.SeedSequence([seed, stream]).generate_state(1)[0] for seed in noise_seeds)
        return [torch.Generator().manual_seed(int(state)) for state in states]

    def normal(source: list[torch.Generator]) -> Tensor:
        return randn_tensor(shape, generator=source, device=device, dtype=torch.float32)

    initial = normal(generators(0)) * schedule.init_scale
    ancestral = [generators(1), generators(2)]
    with torch.no_grad():
        conditioning = doubled(policy.conditioning(encoded))
        trajectory = samplers.sample(
            lambda x, t: policy.predict(conditioning, x, t),
            torch.cat([initial, initial]),
            schedule,
            lambda _: torch.cat([normal(source) for source in ancestral]),
            storage,
        )
    n = len(initial)
    return (
        torch.stack([trajectory.latents[:n], trajectory.latents[n:]], 1),
        torch.stack([trajectory.log_probs[:n], trajectory.log_probs[n:]], 1),
    )


def log_probs(
    policy: Policy, conditioning: Conditioning, latents: Tensor, schedule: Schedule, steps: Tensor
) -> Tensor:
    """[N, 2], under the policy as it is now, of one denoising step of each of N pairs.

    Args:
        conditioning: of the pairs, `doubled`.
        latents: [N, 2, S+1, 4, h, w].
        steps: int64 [N] on the CPU, each pair's step.
    """
    rows, dtype = torch.arange(len(steps)), torch.promote_types(latents.dtype, torch.float32)
    x, after = (
        latents[rows, :, steps + k].transpose(0, 1).flatten(0, 1).to(policy.device, dtype) for k in (0, 1)
    )

    def model(x: Tensor, t: Tensor) -> Tensor:
        return policy.predict(conditioning, x, t)

    return samplers.score(model, x, after, steps.repeat(2), schedule).unflatten(0, (2, -1)).T


def doubled(conditioning: Conditioning) -> Conditioning:
    """The conditioning of both edits of each pair: first all first edits, then all second ones."""
    c = conditioning
    return replace(
        c, text=torch.cat([c.text] * 2), image=torch.cat([c.image] * 2), style=torch.cat([c.style] * 2)
    )
