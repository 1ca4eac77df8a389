"""simedit.training.objectives.ppo: losses and gradients against derivations by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_training_objectives import N, Setting
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from simedit.training.objectives.ppo import PPO, ppo_loss

EDITS = 3
TOTALS = torch.randn(N, EDITS, generator=torch.Generator().manual_seed(3))
SETTINGS = {
    "euler": ("euler_ancestral", range(4)),
    "ddim": ("ddim", range(4)),
    "a window": ("euler_ancestral", range(1, 3)),
}


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(*SETTINGS[request.param])


def _plain_step(setting: Setting, row: int, edit: int, step: int) -> Normal:
    """Where a denoising step leads, from the samplers' papers and eq. 13 alone."""
    policy, latents = setting.policy, setting.latents
    alphas = policy.pipeline.scheduler.alphas_cumprod.double()
    x = latents[row, edit, step][None]
    image, text = setting.encoded.image[row][None], setting.encoded.text[row][None]
    style = policy.style_attention(setting.encoded.style[row][None], image, text)
    nothing, empty = torch.zeros_like(image), setting.empty

    def noise(scaled: Tensor, t: float) -> Tensor:
        def predicted(image: Tensor, style: Tensor, text: Tensor) -> Tensor:
            return policy.unet(torch.cat([scaled, image, style], 1), torch.tensor(t), text).sample

        full, both = predicted(image, style, text), predicted(image, style, empty)
        only, none = predicted(image, nothing, empty), predicted(nothing, nothing, empty)
        return none + 1.25 * (only - none) + 1.5 * (both - only) + 2.0 * (full - both)

    if setting.schedule.init_scale == 1:  # DDIM (arXiv 2010.02502, eq. 12 and 16, eta 1)
        t = 801 - 200 * step
        now, after = alphas[t], alphas[max(0, t - 200)]
        std = ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
        eps = noise(x, float(t))
        clean = (x - (1 - now).sqrt() * eps) / now.sqrt()
        return Normal(after.sqrt() * clean + (1 - after - std**2).sqrt() * eps, std)
    trained = ((1 - alphas) / alphas).sqrt()
    low, high = trained[0] ** (1 / 7), trained[-1] ** (1 / 7)
    now, after = (float((high + i / 4 * (low - high)) ** 7) for i in (step, step + 1))
    up = math.sqrt(after**2 * (now**2 - after**2) / now**2)
    eps = noise(x / math.sqrt(now**2 + 1), setting.schedule.timesteps[step].item())
    return Normal(x + (math.sqrt(after**2 - up**2) - now) * eps, up)


def _plain(setting: Setting, clip: float, kl: float) -> tuple[Tensor, dict[str, float]]:
    """PPO's loss over all edits and noisy steps, one by one, and what it watches."""
    terms, ratios, divergences, noisy = [], [], [], setting.schedule.noisy_steps
    for row, edit, (k, step) in (
        (row, edit, at) for row in range(N) for edit in range(EDITS) for at in enumerate(noisy)
    ):
        found = _plain_step(setting, row, edit, step)
        with torch.no_grad(), setting.policy.reference():
            reference = _plain_step(setting, row, edit, step)
        before = setting.rollout.log_probs[row, edit, k]
        ratio = (found.log_prob(setting.latents[row, edit, step + 1]).mean() - before).exp()
        advantage, divergence = -TOTALS[row, edit].double(), kl_divergence(found, reference).mean()
        kept = min(max(float(ratio), 1 - clip), 1 + clip)
        # The smaller gain counts, and where that is the clipped one there is no slope.
        unclipped = float(advantage * ratio) <= float(advantage * kept)
        gain = advantage * ratio if unclipped else advantage * kept
        terms.append(-gain + kl * divergence)
        ratios.append(float(ratio))
        divergences.append(float(divergence))
    found = torch.tensor(ratios, dtype=torch.float64)
    watched = {
        "clipped": float(((found - 1).abs() > clip).float().mean()),
        "ratio": float(found.mean()),
        "kl_sampled": float((found.log() ** 2).mean() / 2),
    }
    if kl:
        watched["kl_reference"] = sum(divergences) / len(divergences)
    return torch.stack(terms).mean(), watched


@pytest.mark.parametrize("kl", [0.0, 0.7])
def test_loss_and_gradient_are_those_derived_by_hand(setting: Setting, kl: float) -> None:
    objective = PPO(clip=CLIP, kl=kl)
    found, sums = setting.gradients(objective, setting.kept(objective, TOTALS))
    for parameter in setting.policy.parameters:
        parameter.grad = None
    loss, watched = _plain(setting, CLIP, kl)
    loss.backward()
    assert sums.terms == N * len(setting.schedule.noisy_steps)
    assert sums.loss / sums.terms == pytest.approx(loss.item(), abs=1e-9)
    told = {name: value / sums.terms for name, value in sums.watched.items()}
    assert told == pytest.approx(watched, rel=1e-6)
    assert objective.watched.keys() == told.keys()
    assert 0 < told["clipped"] < 1
    largest = max(float(gradient.abs().max()) for gradient in found)
    assert largest > 1e-6
    for parameter, gradient in zip(setting.policy.parameters, found, strict=True):
        expected = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected, atol=1e-6 * largest, rtol=1e-6)
CLIP = 1e-3
