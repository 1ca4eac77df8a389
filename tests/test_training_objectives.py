"""simedit.training.objectives and update: losses and gradients against derivations by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from simedit.samplers import Schedule, windowed
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.objectives import Objective
from simedit.training.objectives.d3po import D3PO, d3po_loss
from simedit.training.objectives.dpo import DPO
from simedit.training.objectives.draft import DRaFT
from simedit.training.objectives.nft import NFT
from simedit.training.policy import Encoded, Policy
from simedit.training.rollout import Rollout, sample_edits
from simedit.training.update import Kept, Sums, accumulate

N, BETA, CLAMP = 4, 0.1, 0.1
# Small, for a tiny policy's errors differ by more than a large one's.
OBJECTIVES: dict[str, Objective] = {
    "d3po": D3PO(beta=BETA, clamp=CLAMP),
    "dpo": DPO(beta=50, levels=3),
    "nft": NFT(beta=0.7, clip=1.5, levels=3),
    "draft": DRaFT(last=2),
}
TOTALS = torch.tensor([[0.0, 1.0, 2.0], [2.0, 0.0, 1.0], [1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
BEST, WORST = (0, 1, 2, 1), (2, 0, 1, 2)
GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


class Setting:
    """A tiny policy in float64 that has left its reference, and three edits of each input from before.
    Its copy "old" is half way."""

    def __init__(self, sampler: str = "euler_ancestral", window: range = range(4)) -> None:
        random = torch.Generator().manual_seed(1)
        scales = Scales(image=1.25, style=1.5, text=2.0)
        pipeline = tiny_pipeline().to(dtype=torch.float64)
        self.policy = Policy(pipeline, rank=4, alpha=4, seed=0, scales=scales)
        noisy, plain = (pipeline.schedule(sampler, 5, eta=eta) for eta in (1.0, 0.0))
        self.schedule: Schedule = windowed(noisy, plain, window)
        image, style = torch.randn(2, N, 4, 2, 2, generator=random, dtype=torch.float64)
        with torch.no_grad():
            text = pipeline.encode_text(["paint it", "gold", "wood", "stone"])
            self.empty = pipeline.encode_text([""])
        self.encoded = Encoded(text, image, style)
        latents, log_probs = sample_edits(
            self.policy, self.encoded, self.schedule, range(N), torch.float64, 3
        )
        numbers, self.latents = torch.arange(N), latents
        latents = latents[:, :, [*window, window[-1] + 1, -1]]
        self.rollout = Rollout(latents, log_probs, image, numbers, numbers, numbers, {})
        with torch.no_grad():
            for parameter in self.policy.parameters:
                parameter += 0.01 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        self.policy.keep("old")
        for copy, kept in zip(self.policy._copies["old"], self.policy._copies["reference"], strict=True):
            copy.lerp_(kept, 0.5)
        self.wanted = torch.rand(N, 3, 4, 4, generator=random, dtype=torch.float64)

    def value(self, inputs: Tensor, styles: Tensor, latents: Tensor, /) -> Tensor:
        """How far edits are from pictures of the inputs' own."""
        vae = self.policy.pipeline.vae
        edits = vae.decode(latents.flatten(0, 1) / vae.config.scaling_factor).sample
        return ((edits.unflatten(0, latents.shape[:2]) - self._picture(inputs, styles)) ** 2).mean((2, 3, 4))

    def _picture(self, inputs: Tensor, styles: Tensor) -> Tensor:
        return (self.wanted[inputs] - styles.view(-1, 1, 1, 1)).repeat(1, 1, 8, 8)[:, None]

    def encode(self, rollout: Rollout, /) -> Encoded:
        rows = rollout.wording
        return Encoded(self.encoded.text[rows], rollout.image, self.encoded.style[rows])

    def kept(self, objective: Objective, totals: Tensor = TOTALS, *, first: bool = False) -> Kept:
        rollout = self.rollout
        if not objective.trajectories:
            rollout = replace(
                rollout, latents=rollout.latents[:, :, -1:], log_probs=rollout.log_probs[:, :, :0]
            )
        prepared = objective.prepare(
            self, rollout, totals, seeds=range(N), first=first, batch_size=3, tick=lambda done: None
        )
        return Kept(rollout, prepared)

    def gradients(
        self, objective: Objective, kept: Kept, *, total: int = N, batch_size: int = N
    ) -> tuple[list[Tensor], Sums]:
        for parameter in self.policy.parameters:
            parameter.grad = None
        sums = accumulate(self, objective, kept, batch_size=batch_size, total=total)
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
    x, taken = (setting.rollout.latents[pair, edit, step + k][None] for k in (0, 1))
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


def _plain_d3po(setting: Setting, kept: Kept) -> Tensor:
    """Eq. 7 over all pairs and noisy steps, edit by edit."""
    terms = []
    for pair in range(N):
        for step in setting.schedule.noisy_steps:
            log_ratios = []
            for edit in (BEST[pair], WORST[pair]):
                log_prob = _plain_log_prob(setting, pair, edit, step)
                with torch.no_grad(), setting.policy.reference():
                    reference = _plain_log_prob(setting, pair, edit, step)
                log_ratios.append((log_prob - reference).exp().clamp(1 - CLAMP, 1 + CLAMP).log())
            margin = BETA * log_ratios[0] - BETA * log_ratios[1]
            terms.append(-torch.sigmoid(margin).log())
    return torch.stack(terms).mean()


def _plain_dpo(setting: Setting, kept: Kept) -> Tensor:
    """Diffusion-DPO's loss (arXiv 2311.12908, eq. 14) over all pairs and noise levels, edit by edit."""
    policy, terms = setting.policy, []
    alphas = policy.pipeline.scheduler.alphas_cumprod.double()

    def error(pair: int, edit: int, t: int, noise: Tensor) -> Tensor:
        image, text = setting.encoded.image[pair][None], setting.encoded.text[pair][None]
        style = policy.style_attention(setting.encoded.style[pair][None], image, text)
        x = setting.rollout.latents[pair, edit, -1][None]
        noisy = alphas[t].sqrt() * x + (1 - alphas[t]).sqrt() * noise
        found = policy.unet(torch.cat([noisy, image, style], 1), torch.tensor(float(t)), text).sample
        return ((noise - found) ** 2).mean()

    for pair in range(N):
        levels = zip(kept.prepared["t"][pair].tolist(), kept.prepared["noise"][pair], strict=True)
        for t, noise in levels:
            now = [error(pair, edit, t, noise.double()) for edit in (BEST[pair], WORST[pair])]
            with torch.no_grad(), policy.reference():
                before = [error(pair, edit, t, noise.double()) for edit in (BEST[pair], WORST[pair])]
            inside = -50 / 2 * ((now[0] - before[0]) - (now[1] - before[1]))
            terms.append(-torch.sigmoid(inside).log())
    return torch.stack(terms).mean()


def _plain_nft(setting: Setting, kept: Kept) -> Tensor:
    """DiffusionNFT's loss (arXiv 2509.16117, theorem 3.2) over all edits and noise levels, edit by edit, as
    it is published: mixed are velocities, and clean latents are made of the mixtures."""
    policy, terms, beta = setting.policy, [], 0.7
    alphas = policy.pipeline.scheduler.alphas_cumprod.double()

    def velocity(pair: int, noisy: Tensor, t: int) -> Tensor:
        image, text = setting.encoded.image[pair][None], setting.encoded.text[pair][None]
        style = policy.style_attention(setting.encoded.style[pair][None], image, text)
        noise = policy.unet(torch.cat([noisy, image, style], 1), torch.tensor(float(t)), text).sample
        clean = (noisy - (1 - alphas[t]).sqrt() * noise) / alphas[t].sqrt()
        return alphas[t].sqrt() * noise - (1 - alphas[t]).sqrt() * clean

    for pair in range(N):
        levels = zip(kept.prepared["t"][pair].tolist(), kept.prepared["noise"][pair].double(), strict=True)
        for t, noise in levels:
            for edit in range(3):
                x = setting.rollout.latents[pair, edit, -1][None]
                noisy = alphas[t].sqrt() * x + (1 - alphas[t]).sqrt() * noise
                found = velocity(pair, noisy, t)
                with torch.no_grad(), policy.being("old"):
                    old = velocity(pair, noisy, t)
                advantage = float(TOTALS[pair].mean() - TOTALS[pair, edit])
                good = 0.5 + 0.5 * min(1.0, max(-1.0, advantage / 1.5))
                for share, v in (
                    (good, (1 - beta) * old + beta * found),
                    (1 - good, (1 + beta) * old - beta * found),
                ):
                    error = alphas[t].sqrt() * noisy - (1 - alphas[t]).sqrt() * v - x
                    terms.append(share * (error**2).mean() / error.detach().abs().mean() / beta)
    return 2 * torch.stack(terms).mean()


def _plain_draft(setting: Setting, kept: Kept) -> Tensor:
    """The mean score of edits whose last two steps are taken anew, edit by edit."""
    policy, schedule, terms = setting.policy, setting.schedule, []
    for pair in range(N):
        image, text = setting.encoded.image[pair][None], setting.encoded.text[pair][None]
        style, zero = policy.style_attention(setting.encoded.style[pair][None], image, text), 0 * image

        def eps(x: Tensor, step: int, image: Tensor, style: Tensor, text: Tensor) -> Tensor:
            latents = torch.cat([x * schedule.input_scale[step], image, style], 1)
            return policy.unet(latents, schedule.timesteps[step].float(), text).sample

        for edit in range(3):
            x = setting.rollout.latents[pair, edit, 3][None]
            for step in (3, 4):
                nothing, only_image = (eps(x, step, of, zero, setting.empty) for of in (zero, image))
                both, full = (eps(x, step, image, style, of) for of in (setting.empty, text))
                guided = (
                    nothing + 1.25 * (only_image - nothing) + 1.5 * (both - only_image) + 2.0 * (full - both)
                )
                x = schedule.keep[step] * x + schedule.push[step] * guided
                if step == 3:
                    x = x + schedule.std[3] * kept.prepared["noise"][pair, edit, 0]
            number = torch.tensor([pair])
            terms.append(setting.value(number, number, x[None]))
    return torch.stack(terms).mean()


PLAIN: dict[str, Callable[[Setting, Kept], Tensor]] = {
    "d3po": _plain_d3po,
    "dpo": _plain_dpo,
    "nft": _plain_nft,
    "draft": _plain_draft,
}
every = pytest.mark.parametrize("kind", OBJECTIVES)


@every
def test_loss_and_gradient_are_those_derived_by_hand(setting: Setting, kind: str) -> None:
    objective = OBJECTIVES[kind]
    kept = setting.kept(objective)
    found, sums = setting.gradients(objective, kept)
    for parameter in setting.policy.parameters:
        parameter.grad = None
    loss = PLAIN[kind](setting, kept)
    loss.backward()
    assert sums.terms == N * objective.terms(len(setting.schedule.noisy_steps))
    assert sums.loss / sums.terms == pytest.approx(loss.item(), abs=1e-9)
    assert abs(loss.item() - objective.loss_at_first) > 1e-5
    assert all(0 < watched < sums.terms for watched in sums.watched.values())  # both sides of each are met
    largest = max(float(gradient.abs().max()) for gradient in found)
    assert largest > 1e-6
    for parameter, gradient in zip(setting.policy.parameters, found, strict=True):
        expected = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient, expected, atol=1e-6 * largest, rtol=1e-6)


@pytest.mark.parametrize("kind", sorted(OBJECTIVES.keys() - {"nft"}))  # whose terms weigh what they are
def test_the_gradient_is_the_slope_of_the_loss(setting: Setting, kind: str) -> None:
    objective = OBJECTIVES[kind]
    kept = setting.kept(objective)
    gradient, sums = setting.gradients(objective, kept)
    random = torch.Generator().manual_seed(5)
    directions = [torch.randn(g.shape, generator=random, dtype=torch.float64) for g in gradient]
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, directions, strict=True))
    losses = []
    # Small, for D3PO's loss has corners where ratios meet the clamp.
    for sign in (1, -2, 1):
        with torch.no_grad():
            for parameter, direction in zip(setting.policy.parameters, directions, strict=True):
                parameter += sign * 1e-7 * direction
        losses.append(setting.gradients(objective, kept)[1].loss / sums.terms)
    assert (losses[0] - losses[1]) / 2e-7 == pytest.approx(slope, rel=1e-3)


@every
def test_accumulation_equals_one_big_batch(setting: Setting, kind: str) -> None:
    objective = OBJECTIVES[kind]
    kept = setting.kept(objective)
    whole, sums = setting.gradients(objective, kept)
    for batch_size in (1, 2, 3):
        parts, same = setting.gradients(objective, kept, batch_size=batch_size)
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(other, one, atol=1e-12, rtol=1e-6)
        assert same.loss == pytest.approx(sums.loss)
        assert same.watched == pytest.approx(sums.watched)


@every
def test_shares_of_several_processes_add_up_to_one_big_batch(setting: Setting, kind: str) -> None:
    objective = OBJECTIVES[kind]
    kept = setting.kept(objective)
    whole, _ = setting.gradients(objective, kept)
    one, _ = setting.gradients(objective, kept[torch.tensor([0])])
    rest, _ = setting.gradients(objective, kept[torch.tensor([1, 2, 3])])
    for expected, a, b in zip(whole, one, rest, strict=True):
        torch.testing.assert_close(a + b, expected, atol=1e-12, rtol=1e-6)


@every
def test_a_process_without_inputs_adds_nothing(setting: Setting, kind: str) -> None:
    objective = OBJECTIVES[kind]
    nothing = setting.kept(objective)[torch.tensor([], dtype=torch.int64)]
    gradients, sums = setting.gradients(objective, nothing)
    assert (sums.terms, sums.loss, sum(sums.watched.values())) == (0, 0, 0)
    assert not any(gradient.any() for gradient in gradients)


def test_the_reference_is_what_sampled_the_edits_and_costs_no_gradient(setting: Setting) -> None:
    later, sampled = (setting.kept(OBJECTIVES["d3po"], first=first).prepared for first in (False, True))
    assert later.keys() == sampled.keys()
    # Sampling ran in float32.
    torch.testing.assert_close(later["reference"], sampled["reference"].double(), atol=1e-5, rtol=1e-5)
    assert not later["reference"].requires_grad


@pytest.mark.parametrize("kind", ["d3po", "dpo", "nft"])
def test_a_preference_the_other_way_round_reverses_the_gradient_before_anything_is_learned(
    setting: Setting, kind: str
) -> None:
    objective = OBJECTIVES[kind]
    new = Setting()
    for name in ("reference", *objective.copies):
        new.policy.keep(name)
    one, _ = new.gradients(objective, new.kept(objective, TOTALS.double()))
    other, _ = new.gradients(objective, new.kept(objective, -TOTALS.double()))
    largest = max(float(gradient.abs().max()) for gradient in one)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, -b, atol=1e-9 * largest, rtol=1e-6)


def test_a_copy_of_the_policy_is_what_it_was_when_it_was_kept() -> None:
    policy = Setting().policy
    policy.keep("averaged")
    kept = {name: value.clone() for name, value in policy.weights().items()}
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter += 1
    with policy.being("averaged"):
        assert all(torch.equal(value, kept[name]) for name, value in policy.weights().items())
    assert all(torch.equal(value, kept[name] + 1) for name, value in policy.weights().items())


def test_noise_levels_are_the_inputs_own(setting: Setting) -> None:
    prepared = setting.kept(OBJECTIVES["dpo"]).prepared
    assert prepared["t"].shape == (N, 3)
    assert len({*prepared["t"].flatten().tolist()}) > 3 * N // 2
    assert 0.8 < prepared["noise"].std() < 1.2
    assert torch.equal(prepared["noise"], setting.kept(OBJECTIVES["dpo"]).prepared["noise"])


def test_a_copy_follows_the_policy_and_lags() -> None:
    new = Setting()
    before, now = new.policy._copies["reference"], [p.detach().clone() for p in new.policy.parameters]
    new.policy.keep("old")
    for copy, value in zip(new.policy._copies["old"], before, strict=True):
        copy.copy_(value)
    NFT(lag=0.1, most_lag=0.25).finish(new.policy, 2)
    for copy, one, other in zip(new.policy._copies["old"], before, now, strict=True):
        torch.testing.assert_close(copy, 0.2 * one + 0.8 * other)
    half = [copy.clone() for copy in new.policy._copies["old"]]
    NFT(lag=0.1, most_lag=0.25).finish(new.policy, 9)
    for copy, one, other in zip(new.policy._copies["old"], half, now, strict=True):
        torch.testing.assert_close(copy, 0.25 * one + 0.75 * other)
    NFT(lag=0).finish(new.policy, 9)
    assert all(torch.equal(*pair) for pair in zip(new.policy._copies["old"], now, strict=True))
    assert all(torch.equal(*pair) for pair in zip(new.policy.parameters, now, strict=True))


def test_edits_neither_good_nor_bad_hold_the_policy_to_the_old_one() -> None:
    objective, new, ties = OBJECTIVES["nft"], Setting(), torch.full((N, 3), 2.0)
    away = [p.detach() - old for p, old in zip(new.policy.parameters, new.policy._copies["old"], strict=True)]
    found, _ = new.gradients(objective, new.kept(objective, ties))
    learned, _ = new.gradients(objective, new.kept(objective))
    slope = sum(float((g * d).sum()) for g, d in zip(found, away, strict=True))
    assert slope > 0  # down the gradient is back
    new.policy.keep("old")
    largest = max(float(gradient.abs().max()) for gradient in learned)
    at_home, _ = new.gradients(objective, new.kept(objective, ties))
    assert max(float(gradient.abs().max()) for gradient in at_home) < 1e-9 * largest


@pytest.mark.parametrize("last", [1, 3, 5])
def test_the_last_steps_taken_anew_end_where_sampling_did(setting: Setting, last: int) -> None:
    objective, ends = DRaFT(last=last), []
    kept = setting.kept(objective)

    class Told:
        policy, schedule, encode = setting.policy, setting.schedule, setting.encode

        def value(self, inputs: Tensor, styles: Tensor, latents: Tensor, /) -> Tensor:
            ends.append(latents.detach())
            return latents.mean((2, 3, 4))

    assert kept.prepared["noise"].shape[2] == last - 1
    with setting.policy.reference():  # which sampled
        accumulate(Told(), objective, kept, batch_size=3, total=N)
    torch.testing.assert_close(torch.cat(ends), setting.rollout.latents[:, :, -1], atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")
def test_d3po_loss_as_the_public_code() -> None:
    golden = np.load(GOLDEN / "d3po_loss.npz")
    found = d3po_loss(
        torch.from_numpy(golden["logprob"]),
        torch.from_numpy(golden["logprob_ref"]),
        torch.from_numpy(golden["preference"][:, 0]),
        beta=float(golden["beta"]),
        clamp=float(golden["eps"]),
    )
    assert found.mean().item() == pytest.approx(float(golden["loss"]), abs=1e-6)


def test_d3po_loss_is_log_2_where_nothing_changed_and_falls_as_the_winner_gets_likelier() -> None:
    reference, winner = torch.zeros(3, 2), torch.tensor([0, 1, 0])
    unchanged = d3po_loss(reference, reference, winner)
    torch.testing.assert_close(unchanged, torch.full((3,), math.log(2)))
    better = torch.tensor([[0.05, -0.05], [-0.05, 0.05], [-0.05, 0.05]])
    found = d3po_loss(better, reference, winner)
    assert (found[:2] < unchanged[:2]).all()
    assert found[2] > unchanged[2]


def test_a_clamped_ratio_has_no_gradient() -> None:
    log_probs = torch.tensor([[0.3, -0.3], [0.05, -0.3], [0.05, -0.05]], requires_grad=True)
    d3po_loss(log_probs, torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)).sum().backward()
    assert log_probs.grad is not None
    assert ((log_probs.grad != 0) == torch.tensor([[False, False], [True, False], [True, True]])).all()
