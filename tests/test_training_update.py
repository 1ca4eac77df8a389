from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from simedit.samplers import Schedule
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.config import UpdateConfig
from simedit.training.pairs import Pairs, sample_pairs
from simedit.training.policy import Encoded, Policy
from simedit.training.update import Ranked, Sums, accumulate, chosen_steps, reference_log_probs

N, BETA, CLAMP = 4, 0.1, 0.1


class Setting:
    """A tiny policy in float64 that has left its reference, and pairs that it was sampled from before."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(1)
        scales = Scales(image=1.25, style=1.5, text=2.0)
        pipeline = tiny_pipeline().to(dtype=torch.float64)
        self.policy = Policy(pipeline, rank=4, alpha=4, seed=0, scales=scales)
        self.schedule: Schedule = pipeline.schedule("euler_ancestral", 5)
        image, style = torch.randn(2, N, 4, 2, 2, generator=random, dtype=torch.float64)
        with torch.no_grad():
            text = pipeline.encode_text(["paint it", "gold", "wood", "stone"])
            self.empty = pipeline.encode_text([""])
        self.encoded = Encoded(text, image, style)
        latents, log_probs = sample_pairs(self.policy, self.encoded, self.schedule, range(N), torch.float64)
        zeros = torch.zeros(N, 2)
        numbers = torch.arange(N)
        self.pairs = Pairs(latents, log_probs, image, numbers, numbers, zeros, zeros)
        with torch.no_grad():
            for parameter in self.policy.parameters:
                parameter += 0.01 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)

    def encode(self, pairs: Pairs) -> Encoded:
        return Encoded(self.encoded.text[pairs.wording], pairs.image, self.encoded.style[pairs.style])

    def ranked(self) -> Ranked:
        noisy = chosen_steps(range(N), len(self.schedule.noisy_steps), 1.0)
        reference = reference_log_probs(
            self.policy, self.encode, self.pairs, noisy, self.schedule, batch_size=3
        )
        return Ranked(self.pairs, torch.tensor([0, 1, 1, 0]), noisy, reference)

    def gradients(self, ranked: Ranked, *, total: int = N, **changes: int) -> tuple[list[Tensor], Sums]:
        config = UpdateConfig(beta=BETA, clamp=CLAMP, batch_size=N).model_copy(update=changes)
        for parameter in self.policy.parameters:
            parameter.grad = None
        sums = accumulate(self.policy, self.encode, ranked, self.schedule, config, total=total)
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.policy.parameters], sums


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


def _plain_log_prob(setting: Setting, pair: int, edit: int, step: int) -> Tensor:
    """The mean log-density of one denoising step, from sigmas and eq. 13 alone."""
    policy, schedule = setting.policy, setting.schedule
    alphas = policy.pipeline.scheduler.alphas_cumprod.double()
    trained = ((1 - alphas) / alphas).sqrt()
    low, high = trained[0] ** (1 / 7), trained[-1] ** (1 / 7)
    sigmas = [float((high + i / 4 * (low - high)) ** 7) for i in range(5)]
    now, after = sigmas[step], sigmas[step + 1]
    up = math.sqrt(after**2 * (now**2 - after**2) / now**2)
    down = math.sqrt(after**2 - up**2)
    x, taken = (setting.pairs.latents[pair, edit, step + k][None] for k in (0, 1))
    image, text = setting.encoded.image[pair][None], setting.encoded.text[pair][None]
    style = policy.style_attention(setting.encoded.style[pair][None], image, text)
    zero = torch.zeros_like(image)

    def eps(image: Tensor, style: Tensor, text: Tensor) -> Tensor:
        latents = torch.cat([x / math.sqrt(now**2 + 1), image, style], 1)
        return policy.unet(latents, schedule.timesteps[step].float(), text).sample

    nothing, empty = eps(zero, zero, setting.empty), setting.empty
    only_image, both = eps(image, zero, empty), eps(image, style, empty)
    full = eps(image, style, text)
    guided = nothing + 1.25 * (only_image - nothing) + 1.5 * (both - only_image) + 2.0 * (full - both)
    mean = x + (down - now) * guided
    return torch.distributions.Normal(mean, up).log_prob(taken).mean()


def _plain_loss(setting: Setting, ranked: Ranked) -> Tensor:
    """Eq. 7 over all pairs and noisy steps, edit by edit."""
    terms = []
    for pair in range(N):
        for step in setting.schedule.noisy_steps:
            log_ratios = []
            for edit in (0, 1):
                log_prob = _plain_log_prob(setting, pair, edit, step)
                with torch.no_grad(), setting.policy.reference():
                    reference = _plain_log_prob(setting, pair, edit, step)
                log_ratios.append((log_prob - reference).exp().clamp(1 - CLAMP, 1 + CLAMP).log())
            winner = int(ranked.winner[pair])
            margin = BETA * log_ratios[winner] - BETA * log_ratios[1 - winner]
            terms.append(-torch.sigmoid(margin).log())
    return torch.stack(terms).mean()


def test_loss_and_gradient_are_those_of_equation_7(setting: Setting) -> None:
    ranked = setting.ranked()
    found, sums = setting.gradients(ranked)
    for parameter in setting.policy.parameters:
        parameter.grad = None
    loss = _plain_loss(setting, ranked)
    loss.backward()
    assert sums.terms == N * 4
    assert sums.loss / sums.terms == pytest.approx(loss.item(), abs=1e-9)
    assert 0 < sums.clamped < sums.terms  # both sides of the clamp are met
    largest = max(float(gradient.abs().max()) for gradient in found)
    assert largest > 1e-6
    for parameter, gradient in zip(setting.policy.parameters, found, strict=True):
        expected = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected, atol=1e-6 * largest, rtol=1e-6)


def test_the_gradient_is_the_slope_of_the_loss(setting: Setting) -> None:
    ranked = setting.ranked()
    gradient, _ = setting.gradients(ranked)
    random = torch.Generator().manual_seed(5)
    directions = [torch.randn(g.shape, generator=random, dtype=torch.float64) for g in gradient]
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, directions, strict=True))
    losses = []
    # Small, for the loss has corners where ratios meet the clamp.
    for sign in (1, -2, 1):
        with torch.no_grad():
            for parameter, direction in zip(setting.policy.parameters, directions, strict=True):
                parameter += sign * 1e-7 * direction
        losses.append(setting.gradients(ranked)[1].loss / (4 * N))
    assert (losses[0] - losses[1]) / 2e-7 == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_accumulation_equals_one_big_batch(setting: Setting, batch_size: int) -> None:
    ranked = setting.ranked()
    whole, sums = setting.gradients(ranked)
    parts, same = setting.gradients(ranked, batch_size=batch_size)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(other, one, atol=1e-12, rtol=1e-6)
    assert same.loss == pytest.approx(sums.loss)


def test_shares_of_several_processes_add_up_to_one_big_batch(setting: Setting) -> None:
    ranked = setting.ranked()
    whole, _ = setting.gradients(ranked)
    one, _ = setting.gradients(ranked[torch.tensor([0])], total=N)
    rest, _ = setting.gradients(ranked[torch.tensor([1, 2, 3])], total=N)
    for expected, a, b in zip(whole, one, rest, strict=True):
        torch.testing.assert_close(a + b, expected, atol=1e-12, rtol=1e-6)


def test_a_process_without_pairs_adds_nothing(setting: Setting) -> None:
    gradients, sums = setting.gradients(setting.ranked()[torch.tensor([], dtype=torch.int64)])
    assert sums == Sums()
    assert not any(gradient.any() for gradient in gradients)


def test_the_reference_is_what_sampled_the_pairs_and_costs_no_gradient(setting: Setting) -> None:
    ranked = setting.ranked()
    expected = setting.pairs.log_probs.gather(2, ranked.noisy[:, None].expand(-1, 2, -1))
    # Sampling ran in float32.
    torch.testing.assert_close(ranked.reference, expected.double(), atol=1e-5, rtol=1e-5)
    assert not ranked.reference.requires_grad


def test_a_preference_the_other_way_round_reverses_the_gradient_before_anything_is_learned() -> None:
    setting = Setting()
    with torch.no_grad():
        for name, parameter in setting.policy.unet.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    ranked = setting.ranked()
    ranked = replace(ranked, reference=_current(setting, ranked))
    one, _ = setting.gradients(ranked)
    other, _ = setting.gradients(replace(ranked, winner=1 - ranked.winner))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, -b, atol=1e-12, rtol=1e-6)


def _current(setting: Setting, ranked: Ranked) -> Tensor:
    with torch.no_grad():
        rows = [
            [[_plain_log_prob(setting, i, edit, int(step)) for step in ranked.noisy[i]] for edit in (0, 1)]
            for i in range(N)
        ]
    return torch.tensor(rows, dtype=torch.float64)


def test_chosen_steps_are_the_pairs_own() -> None:
    every = chosen_steps([7, 8, 9], 20, 1.0)
    assert (every.sort(1).values == torch.arange(20)).all()
    few = chosen_steps([7, 8, 9], 20, 0.25)
    assert few.shape == (3, 5)
    assert (few == chosen_steps([7, 8, 9], 20, 0.25)).all()
    assert (few[1:2] == chosen_steps([8], 20, 0.25)).all()
    assert len({tuple(sorted(row.tolist())) for row in few}) == 3
    assert chosen_steps([7], 20, 0.001).shape == (1, 1)
