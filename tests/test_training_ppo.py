"""simedit.training.objectives.ppo: losses and gradients against derivations by hand."""

from __future__ import annotations

import math

import pytest
import torch
from test_training_objectives import N, Setting
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from simedit.training.objectives.ppo import PPO, ppo_loss
from simedit.training.update import Kept

EDITS, CLIP = 3, 0.03
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
        now, after = alphas[t], alphas[t - 200]
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
        advantage, divergence = -TOTALS[row, edit].item(), kl_divergence(found, reference).mean()
        kept = min(max(ratio.item(), 1 - clip), 1 + clip)
        # The smaller gain counts, and where that is the clipped one there is no slope.
        gain = advantage * (ratio if advantage * ratio.item() <= advantage * kept else ratio.new_tensor(kept))
        terms.append(-gain + kl * divergence)
        ratios.append(ratio.item())
        divergences.append(divergence.item())
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


def test_before_anything_is_learned_ratios_are_1_and_the_gradient_is_the_policys() -> None:
    """-A times that of the log-likelihood: the divergence adds nothing where the reference is."""
    setting = Setting()
    asked: list[int] = []
    kept = {
        kl: Kept(
            setting.rollout,
            PPO(kl=kl).prepare(
                setting,
                setting.rollout,
                TOTALS,
                seeds=range(N),
                first=True,
                batch_size=3,
                tick=asked.append,
            ),
        )
        for kl in (0.0, 0.7)
    }
    assert asked == [3, 4]  # of the reference, for the divergence alone
    policy = setting.policy
    with policy.reference():
        gradients = {kl: setting.gradients(PPO(kl=kl), one) for kl, one in kept.items()}
        for parameter in policy.parameters:
            parameter.grad = None
        likely = [
            -TOTALS[row, edit].item()
            * _plain_step(setting, row, edit, step).log_prob(setting.latents[row, edit, step + 1]).mean()
            for row in range(N)
            for edit in range(EDITS)
            for step in setting.schedule.noisy_steps
        ]
        (-torch.stack(likely).mean()).backward()
    for gradient, sums in gradients.values():
        told = {name: value / sums.terms for name, value in sums.watched.items()}
        # Sampling ran in float32.
        assert told == pytest.approx(dict.fromkeys(told, 0) | {"ratio": 1}, abs=1e-5)
        largest = max(float(one.abs().max()) for one in gradient)
        for parameter, one in zip(policy.parameters, gradient, strict=True):
            expected = torch.zeros_like(one) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(one, expected, atol=1e-4 * largest, rtol=1e-4)


def test_a_clipped_ratio_has_no_gradient() -> None:
    log_ratios = torch.tensor([0.2, 0.2, -0.2, -0.2, 0.05, -0.05], requires_grad=True)
    better = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    ppo_loss(log_ratios, better, clip=0.1).sum().backward()
    assert log_ratios.grad is not None
    expected = torch.where(
        torch.tensor([False, True, True, False, True, True]), -better * log_ratios.exp(), 0
    )
    torch.testing.assert_close(log_ratios.grad, expected, atol=0, rtol=1e-6)


def test_where_all_is_clipped_nothing_is_learned() -> None:
    setting = Setting()
    kept = setting.kept(PPO(), -TOTALS.abs())
    kept.prepared["sampled"].sub_(1)  # all edits are better, and far likelier already
    gradients, sums = setting.gradients(PPO(), kept)
    assert sums.watched["clipped"] == sums.terms
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("timesteps", [1.0, 0.5])
def test_neither_batches_nor_processes_change_the_gradient(setting: Setting, timesteps: float) -> None:
    objective = PPO(clip=CLIP, kl=0.7, timesteps=timesteps)
    kept = setting.kept(objective, TOTALS)
    whole, sums = setting.gradients(objective, kept)
    assert sums.terms == N * objective.terms(len(setting.schedule.noisy_steps))
    shares = [setting.gradients(objective, kept[torch.tensor(rows)])[0] for rows in ([0], [1, 2, 3])]
    added = [one + rest for one, rest in zip(*shares, strict=True)]
    for parts in (added, *(setting.gradients(objective, kept, batch_size=n)[0] for n in (1, 3))):
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(other, one, atol=1e-12, rtol=1e-6)
