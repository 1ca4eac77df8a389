"""Samplers as pure functions: a schedule of Gaussian steps, and one step function that draws and scores.

Every step of each sampler has the form x' = keep * x + push * eps + std * noise, so a schedule is a table of
these coefficients and no sampler needs code of its own beyond making its table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from simedit.errors import SimeditError


def is_integer(value: object) -> bool:
    """Whether it is an integer, Python's or NumPy's, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


@dataclass(frozen=True)
class Schedule:
    """The coefficients of S denoising steps, for a model that predicts the noise eps. All float64 on the CPU.

    Attributes:
        timesteps: [S], what the model is told; fractional where a sigma lies between two trained ones.
        input_scale: [S], the model sees input_scale * x.
        keep, push, std: [S], x' = keep * x + push * eps + std * noise.
        init_scale: the first latent is init_scale * noise.
    """

    timesteps: Tensor
    input_scale: Tensor
    keep: Tensor
    push: Tensor
    std: Tensor
    init_scale: float

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def noisy_steps(self) -> list[int]:
        """The indices of the steps that draw noise, and so have a log-probability."""
        return torch.nonzero(self.std).flatten().tolist()


@dataclass(frozen=True)
class Trajectory:
    """One sampling run.

    Attributes:
        latents: [N, S+1, ...], from the initial latent to the last.
        log_probs: [N, K], of the schedule's K noisy steps, in order.
    """

    latents: Tensor
    log_probs: Tensor

    @property
    def final(self) -> Tensor:
        """[N, ...], the last latent."""
        return self.latents[:, -1]


def euler_ancestral(alphas_cumprod: Tensor, steps: int, *, karras: bool = True, eta: float = 1.0) -> Schedule:
    """Euler ancestral sampling, as k-diffusion's `sample_euler_ancestral`.

    Args:
        alphas_cumprod: [T], the base's cumulated alphas.
        steps: 1 to T.
        eta: 0 draws no noise, which is Euler's method.
        karras: Karras' sigmas with rho 7 (arXiv 2206.00364, eq. 5) from the largest to the smallest trained
            sigma, with timesteps interpolated in log sigma; else timesteps evenly spaced over 0..T-1, as
            diffusers' `EulerAncestralDiscreteScheduler` with spacing "linspace".

    Raises:
        SimeditError: steps or eta out of range.
    """
    alphas = _float64(alphas_cumprod, steps)
    if not 0 <= eta <= 1:
        raise SimeditError(f"eta must be 0 to 1, got {eta}")
    trained = np.sqrt((1 - alphas) / alphas)
    if karras:
        ends = trained[[-1, 0]] ** (1 / 7)
        sigmas = np.linspace(ends[0], ends[1], steps) ** 7
        timesteps = np.interp(np.log(sigmas), np.log(trained), np.arange(len(trained)))
    else:
        # diffusers spaces the timesteps from 0 upwards, so that a single step is the step at 0.
        timesteps = np.linspace(0, len(trained) - 1, steps)[::-1]
        sigmas = np.interp(timesteps, np.arange(len(trained)), trained)
    after = np.append(sigmas[1:], 0.0)
    up = eta * after * np.sqrt(1 - (after / sigmas) ** 2)
    down = np.sqrt(after**2 - up**2)
    return _schedule(timesteps, 1 / np.sqrt(sigmas**2 + 1), np.ones(steps), down - sigmas, up, sigmas[0])


def ddim(
    alphas_cumprod: Tensor,
    steps: int,
    *,
    eta: float = 0.0,
    steps_offset: int = 1,
    final_alpha: float | None = None,
) -> Schedule:
    """DDIM (arXiv 2010.02502, eq. 12 and 16) with "leading" timestep spacing, as Stable Diffusion uses it.

    Args:
        alphas_cumprod: [T], the base's cumulated alphas.
        steps: 1 to T.
        eta: 0 draws no noise; 1 draws as much as DDPM.
        steps_offset: 0 or more; added to every timestep as far as the largest stays below T.
        final_alpha: the cumulated alpha after the last step; None means the first trained one.

    Raises:
        SimeditError: steps, eta or steps_offset out of range.
    """
    alphas = _float64(alphas_cumprod, steps)
    if not 0 <= eta <= 1 or steps_offset < 0:
        raise SimeditError(
            f"eta must be 0 to 1 and steps_offset 0 or more, got eta {eta} and steps_offset {steps_offset}"
        )
    stride = len(alphas) // steps
    timesteps = np.arange(steps)[::-1] * stride
    timesteps += min(steps_offset, len(alphas) - 1 - timesteps[0])
    now = alphas[timesteps]
    final = alphas[0] if final_alpha is None else final_alpha
    before = timesteps - stride
    after = np.where(before >= 0, alphas[before], final)
    std = eta * np.sqrt((1 - after) / (1 - now) * (1 - now / after))
    keep = np.sqrt(after / now)
    # With eta 1 the two may be equal but for rounding.
    push = np.sqrt(np.maximum(1 - after - std**2, 0)) - keep * np.sqrt(1 - now)
    return _schedule(timesteps, np.ones(steps), keep, push, std, 1.0)


def consistency(alphas_cumprod: Tensor, steps: int) -> Schedule:
    """Multistep consistency sampling (arXiv 2303.01469, algorithm 1), for models distilled to few steps: each
    step goes to the end, and all but the last add new noise.

    Args:
        alphas_cumprod: [T], the base's cumulated alphas.
        steps: 1 to T; evenly spaced downwards from the last trained timestep.

    Raises:
        SimeditError: steps out of range.
    """
    alphas = _float64(alphas_cumprod, steps)
    timesteps = len(alphas) - 1 - np.arange(steps) * len(alphas) // steps
    sigmas = np.sqrt((1 - alphas) / alphas)[timesteps]
    ones = np.ones(steps)
    return _schedule(
        timesteps, 1 / np.sqrt(sigmas**2 + 1), ones, -sigmas, np.append(sigmas[1:], 0.0), sigmas[0]
    )


def windowed(noisy: Schedule, plain: Schedule, window: range) -> Schedule:
    """The steps of `noisy` in the window, and of `plain`, the same sampler without noise, outside (as MixGRPO
    mixes them, arXiv 2507.21802)."""
    inside = torch.zeros(len(noisy), dtype=torch.bool)
    inside[window.start : window.stop] = True
    keep, push, std = (
        torch.where(inside, getattr(noisy, name), getattr(plain, name)) for name in ("keep", "push", "std")
    )
    return replace(noisy, keep=keep, push=push, std=std)


def step(
    model_output: Tensor,
    x: Tensor,
    i: int | Tensor,
    schedule: Schedule,
    next_latent: Tensor | None = None,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Take denoising step `i`: draw the next latent from `noise`, or score a given one.

    Args:
        model_output: [N, ...], the (guided) noise prediction; the log-probability is differentiable in it.
        x: [N, ...], the latent before the step.
        i: the step's index, or N indices, int64 [N].
        schedule: the sampler's coefficients.
        next_latent: [N, ...], the latent to score.
        noise: [N, ...], standard normal, to draw with. A step of zero variance takes neither.

    Returns:
        The next latent, and its log-probability [N]: the MEAN over all dimensions but the first of the
        normal log-density (as in the paper's public code; a sum would need another beta). It is None for a
        step of zero variance.

    Raises:
        SimeditError: the log-probability of a step of zero variance was asked for, or neither noise nor a
            latent was given to a step that needs one.
    """
    mean = _mean(model_output, x, i, schedule)
    std = _at(schedule.std, i, x)
    if next_latent is None:
        if noise is None:
            if schedule.std[i].any():
                raise SimeditError(f"step {i} draws noise: give it `noise`, or the `next_latent` to score")
            return mean, None
        next_latent = mean + std * noise
    if not schedule.std[i].all():
        raise SimeditError(f"step {i} has zero variance, hence no log-probability: see Schedule.noisy_steps")
    # A drawn latent is data to its score, as a given one is: without detach the gradient would be zero.
    # The paper's public code adds 1e-8 to Euler's variance; here zero variance is refused instead.
    density = -(((next_latent.detach() - mean) / std) ** 2) / 2 - std.log() - math.log(2 * math.pi) / 2
    return next_latent, density.flatten(1).mean(1)


@torch.no_grad()
def sample(
    model: Callable[[Tensor, float], Tensor],
    x: Tensor,
    schedule: Schedule,
    noise: Callable[[int], Tensor],
    storage: torch.dtype | None = None,
) -> Trajectory:
    """Denoise `x` through the whole schedule.

    Args:
        model: (scaled latents [N, ...], timestep) -> noise prediction [N, ...].
        x: [N, ...], the initial latent, standard normal times schedule.init_scale.
        noise: step index -> standard normal [N, ...]; called once for each noisy step, in order.
        storage: the dtype of the trajectory's latents, x's by default. Each latent is rounded to it before
            the next step starts from it and before it is scored, so that a stored trajectory scores as it
            did when it was sampled.
    """
    compute, storage = x.dtype, storage or x.dtype
    x = x.to(storage).to(compute)
    latents, log_probs = [x.to(storage)], []
    for i in range(len(schedule)):
        eps = model(x * _at(schedule.input_scale, i, x), schedule.timesteps[i].item())
        drawn, log_prob = step(eps, x, i, schedule, noise=noise(i) if schedule.std[i] else None)
        latents.append(drawn.to(storage))
        rounded = latents[-1].to(compute)
        if log_prob is not None:
            if storage != compute:
                log_prob = step(eps, x, i, schedule, next_latent=rounded)[1]
            log_probs.append(log_prob)
        x = rounded
    return Trajectory(
        latents=torch.stack(latents, 1),
        log_probs=torch.stack(log_probs, 1) if log_probs else x.new_zeros(len(x), 0),
    )


def score(
    model: Callable[[Tensor, Tensor], Tensor], x: Tensor, next_latent: Tensor, i: Tensor, schedule: Schedule
) -> tuple[Tensor, Tensor]:
    """The log-probabilities [N] of steps that were taken before, and where these lead without their noise,
    [N, ...]; both are differentiable in the model's output.

    Args:
        model: (scaled latents [N, ...], timesteps float64 [N]) -> noise prediction [N, ...].
        x, next_latent: [N, ...], the latents before and after.
        i: int64 [N] on the CPU, the steps' indices.

    Raises:
        SimeditError: a step has zero variance.
    """
    eps = model(x * _at(schedule.input_scale, i, x), schedule.timesteps[i])
    log_prob = step(eps, x, i, schedule, next_latent=next_latent)[1]
    assert log_prob is not None  # a given latent is scored or refused
    return log_prob, _mean(eps, x, i, schedule)


def expected(model: Callable[[Tensor, Tensor], Tensor], x: Tensor, i: Tensor, schedule: Schedule) -> Tensor:
    """Where steps lead without their noise, [N, ...], differentiable in the model's output.

    Args:
        model, x, i: as `score`'s.
    """
    eps = model(x * _at(schedule.input_scale, i, x), schedule.timesteps[i])
    return _mean(eps, x, i, schedule)


def _mean(eps: Tensor, x: Tensor, i: int | Tensor, schedule: Schedule) -> Tensor:
    return _at(schedule.keep, i, x) * x + _at(schedule.push, i, x) * eps


def _float64(alphas_cumprod: Tensor, steps: int) -> np.ndarray:
    if not (is_integer(steps) and 1 <= steps <= len(alphas_cumprod)):
        raise SimeditError(f"steps must be 1 to {len(alphas_cumprod)}, got {steps!r}")
    return alphas_cumprod.double().cpu().numpy()


def _schedule(
    timesteps: np.ndarray,
    input_scale: np.ndarray,
    keep: np.ndarray,
    push: np.ndarray,
    std: np.ndarray,
    init_scale: float,
) -> Schedule:
    columns = [
        torch.tensor(c.tolist(), dtype=torch.float64) for c in (timesteps, input_scale, keep, push, std)
    ]
    return Schedule(*columns, init_scale=float(init_scale))


def _at(column: Tensor, i: int | Tensor, x: Tensor) -> Tensor:
    return column[i].to(x).reshape(-1, *[1] * (x.ndim - 1))
