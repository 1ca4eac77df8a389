"""The rollout: G edits of each input from the same initial noise, with all that learning from them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from simedit import samplers
from simedit.pipeline import Conditioning
from simedit.samplers import Schedule
from simedit.training.policy import Encoded, Policy

CHOICE = 3
"""The stream of a sample's seed that objectives draw from; the others are its noise."""


@dataclass(frozen=True)
class Rollout:
    """G edits of each of N inputs, as tensors on the CPU.

    Whatever order in memory they come in, they are laid out row by row, as files hold them: some processors
    take other kernels for other orders, whose last bits differ, and a training that goes on from a file is to
    do what one that never stopped does.

    Attributes:
        latents: storage dtype [N, G, L, 4, h, w]: those around the K noisy steps, which follow one another,
            and the last (L = K + 2; without a window that is all); or the last alone (L = 1).
        log_probs: float32 [N, G, K], of the schedule's K noisy steps, under the policy that sampled them;
            K = 0 where only the ends are kept.
        image: [N, 4, h, w], the inputs' latents.
        input: int64 [N], which input.
        wording, style: int64 [N], which instruction and which style image.
        scores: by name float32 [N, G], lower is better.
    """

    latents: Tensor
    log_probs: Tensor
    image: Tensor
    input: Tensor
    wording: Tensor
    style: Tensor
    scores: dict[str, Tensor]

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            laid = {k: _by_row(v) for k, v in value.items()} if f.name == "scores" else _by_row(value)
            object.__setattr__(self, f.name, laid)

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, which: Tensor) -> Rollout:
        return Rollout.of({name: value[which] for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, the scores' among them, as a file holds them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "scores"} | self.scores

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Rollout:
        """The reverse of `tensors`.

        Raises:
            ValueError: one is missing.
        """
        own = [f.name for f in fields(cls) if f.name != "scores"]
        if missing := [name for name in own if name not in tensors]:
            raise ValueError(f"its edits lack {', '.join(missing)}, as of older versions of simedit")
        scores = {name: value for name, value in tensors.items() if name not in own}
        return cls(**{name: tensors[name] for name in own}, scores=scores)

    @classmethod
    def cat(cls, parts: Sequence[Rollout]) -> Rollout:
        found = [part.tensors() for part in parts]
        return cls.of({name: torch.cat([one[name] for one in found]) for name in found[0]})


def sample_edits(
    policy: Policy,
    encoded: Encoded,
    schedule: Schedule,
    noise_seeds: Sequence[int],
    storage: torch.dtype,
    edits: int,
) -> tuple[Tensor, Tensor]:
    """Sample edits of each of N inputs; an input's share the initial noise and differ by the ancestral one.

    All noise of an input's edits comes from its seed, whatever the batch and the device.

    Args:
        encoded: of the N inputs.
        noise_seeds: N integers, 0 or more.
        storage: see `simedit.samplers.sample`.
        edits: G, of each input.

    Returns:
        Latents, storage dtype [N, G, S+1, 4, h, w], and log-probabilities, float32 [N, G, K], both on the
        policy's device.
    """
    shape, device = encoded.image.shape, policy.device

    def normal(source: list[torch.Generator]) -> Tensor:
        return randn_tensor(shape, generator=source, device=device, dtype=torch.float32)

    initial = normal(_generators(noise_seeds, 0)) * schedule.init_scale
    ancestral = _ancestral(noise_seeds, edits)
    with torch.no_grad():
        conditioning = repeated(policy.conditioning(encoded), edits)
        trajectory = samplers.sample(
            lambda x, t: policy.predict(conditioning, x, t),
            torch.cat([initial] * edits),
            schedule,
            lambda _: torch.cat([normal(source) for source in ancestral]),
            storage,
        )
    latents, log_probs = (
        torch.stack(value.split(len(initial)), 1) for value in (trajectory.latents, trajectory.log_probs)
    )
    return latents, log_probs


def drawn_noise(noise_seeds: Sequence[int], edits: int, steps: range, shape: Sequence[int]) -> Tensor:
    """float32 [N, G, K, *shape] on the CPU, what `sample_edits` draws for some of the noisy steps, named by
    their place among these."""
    size, drawn = (len(noise_seeds), *shape), torch.empty(len(noise_seeds), edits, len(steps), *shape)
    for edit, source in enumerate(_ancestral(noise_seeds, edits)):
        for step in range(steps.stop):
            normal = randn_tensor(size, generator=source)
            if step in steps:
                drawn[:, edit, step - steps.start] = normal
    return drawn


def log_probs(
    policy: Policy,
    conditioning: Conditioning,
    latents: Tensor,
    schedule: Schedule,
    edits: Tensor,
    steps: Tensor,
) -> Tensor:
    """[N, P], under the policy as it is now, of one denoising step of P edits of each of N inputs.

    Args: as `scored`'s.
    """
    return scored(policy, conditioning, latents, schedule, edits, steps)[0]


def scored(
    policy: Policy,
    conditioning: Conditioning,
    latents: Tensor,
    schedule: Schedule,
    edits: Tensor,
    steps: Tensor,
) -> tuple[Tensor, Tensor]:
    """`log_probs`, and where these steps lead without their noise, [N, P, 4, h, w].

    Args:
        conditioning: of the inputs, `repeated` P times.
        latents: [N, G, L, 4, h, w], a `Rollout`'s.
        edits: int64 [N, P], which of each input's.
        steps: int64 [N] on the CPU, each input's step, one of the schedule's noisy ones.
    """
    rows, dtype = torch.arange(len(steps))[:, None], torch.promote_types(latents.dtype, torch.float32)
    at = steps[:, None] - schedule.noisy_steps[0]
    x, after = (
        latents[rows, edits, at + k].transpose(0, 1).flatten(0, 1).to(policy.device, dtype) for k in (0, 1)
    )

    def model(x: Tensor, t: Tensor) -> Tensor:
        return policy.predict(conditioning, x, t)

    each = edits.shape[1]
    found, expected = samplers.score(model, x, after, steps.repeat(each), schedule)
    return found.unflatten(0, (each, -1)).T, expected.unflatten(0, (each, -1)).transpose(0, 1)


def chosen_steps(noise_seeds: Sequence[int], noisy: int, count: int) -> Tensor:
    """int64 [N, count]: for each input, that many of the `noisy` steps, in random order; its seed alone
    decides."""
    orders = [np.random.default_rng([seed, CHOICE]).permutation(noisy)[:count] for seed in noise_seeds]
    return torch.from_numpy(np.stack(orders))


def drawn_levels(
    noise_seeds: Sequence[int], timesteps: int, count: int, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """For each input that many of so many timesteps, int64 [N, count], each with a noise, float32
    [N, count, *shape]; its seed alone decides."""
    randoms = [np.random.default_rng([seed, CHOICE]) for seed in noise_seeds]
    t = np.stack([random.integers(timesteps, size=count) for random in randoms])
    noise = np.stack([random.standard_normal((count, *shape), np.float32) for random in randoms])
    return torch.from_numpy(t), torch.from_numpy(noise)


def noised(
    policy: Policy, latents: Tensor, edits: Tensor, t: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """P finished edits of each of N inputs: as they are and noised, [P N, 4, h, w], first all first edits, on
    the policy's device, and the cumulated alphas, [P N, 1, 1, 1].

    Args:
        latents: [N, G, L, 4, h, w].
        edits: int64 [N, P], which of each input's.
        t, noise: int64 [N] and float32 [N, 4, h, w]: each input's timestep and noise.
    """
    rows, each = torch.arange(len(t))[:, None], edits.shape[1]
    ends = latents[rows, edits, -1].transpose(0, 1).flatten(0, 1)
    x = ends.to(policy.device, torch.promote_types(ends.dtype, torch.float32))
    alpha = policy.pipeline.scheduler.alphas_cumprod[t].to(x).repeat(each).view(-1, 1, 1, 1)
    return x, alpha.sqrt() * x + (1 - alpha).sqrt() * noise.to(x).repeat(each, 1, 1, 1), alpha


def repeated(conditioning: Conditioning, edits: int) -> Conditioning:
    """The conditioning of several edits of each input: first all first edits, then all second ones."""
    c = conditioning
    text, image, style = (torch.cat([value] * edits) for value in (c.text, c.image, c.style))
    return replace(c, text=text, image=image, style=style)


def _generators(noise_seeds: Sequence[int], stream: int) -> list[torch.Generator]:
    states = (np.random.SeedSequence([seed, stream]).generate_state(1)[0] for seed in noise_seeds)
    return [torch.Generator().manual_seed(int(state)) for state in states]


def _ancestral(noise_seeds: Sequence[int], edits: int) -> list[list[torch.Generator]]:
    """Of each edit, of each input."""
    return [_generators(noise_seeds, edit + 1 + (edit + 1 >= CHOICE)) for edit in range(edits)]


def _by_row(value: Tensor) -> Tensor:
    # Not `contiguous`, which leaves the odd strides of dimensions of one as they are.
    return torch.empty(value.shape, dtype=value.dtype).copy_(value)
