from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

from simedit.errors import SimeditError
from simedit.samplers import Schedule, consistency, ddim, euler_ancestral, expected, sample, step, windowed

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALPHAS = EulerAncestralDiscreteScheduler(**SD).alphas_cumprod


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")
@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("euler_ancestral", euler_ancestral(ALPHAS, 10, karras=False)),
        ("ddim_eta1", ddim(ALPHAS, 10, eta=1.0)),
    ],
)
def test_scores_as_the_public_code(name: str, schedule: Schedule) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    np.testing.assert_allclose(schedule.timesteps, golden["timesteps"], atol=1e-4)
    for i in (0, 3, 8):
        eps, x, drawn, given = (
            torch.from_numpy(golden[f"step{i}_{key}"]) for key in ("model_output", "sample", "drawn", "given")
        )
        for latent, log in ((drawn, "logprob_drawn"), (given, "logprob_given")):
            _, log_prob = step(eps, x, i, schedule, next_latent=latent)
            np.testing.assert_allclose(log_prob, golden[f"step{i}_{log}"], atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_consistency_steps_go_to_the_end_and_come_back_with_new_noise(steps: int) -> None:
    schedule, random = consistency(ALPHAS, steps), torch.Generator().manual_seed(0)
    wanted = torch.randn(2, 4, 3, 5, generator=random).double()
    asked: list[tuple[float, torch.Tensor]] = []

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        """The noise in x, as diffusers' schedulers have it, for one who knows what is under it."""
        asked.append((float(t), x))
        alpha = ALPHAS[int(t)].double()
        return (x - alpha.sqrt() * wanted) / (1 - alpha).sqrt()

    noise = torch.randn(2, 4, 3, 5, generator=random).double()
    found = sample(model, noise * schedule.init_scale, schedule, lambda step: noise)
    torch.testing.assert_close(found.final, wanted)
    assert [t for t, _ in asked] == [999 - 1000 * i // steps for i in range(steps)]
    for t, x in asked[1:]:
        alpha = ALPHAS[int(t)].double()
        torch.testing.assert_close(x, alpha.sqrt() * wanted + (1 - alpha).sqrt() * noise)


def test_expected_is_a_step_without_its_noise() -> None:
    schedule, random = euler_ancestral(ALPHAS, 6), torch.Generator().manual_seed(0)
    eps, x = torch.randn(2, 2, 4, 3, 5, generator=random).double()
    i = torch.tensor([1, 4])
    found = expected(lambda x, t: eps, x, i, schedule)
    for row, at in enumerate(i.tolist()):
        one, _ = step(
            eps[row : row + 1], x[row : row + 1], at, schedule, noise=torch.zeros(1, 4, 3, 5, dtype=x.dtype)
        )
        torch.testing.assert_close(found[row : row + 1], one)


@pytest.mark.parametrize(
    "schedule", [euler_ancestral(ALPHAS, 6), ddim(ALPHAS, 6, eta=0.7)], ids=["euler", "ddim"]
)
def test_scoring_a_drawn_step_is_the_mean_of_the_normal_log_density(schedule: Schedule) -> None:
    eps, x, noise = torch.randn(3, 2, 4, 3, 5, generator=torch.Generator().manual_seed(0)).double()
    for i in schedule.noisy_steps:
        drawn, log_prob = step(eps, x, i, schedule, noise=noise)
        _, again = step(eps, x, i, schedule, next_latent=drawn)
        normal = torch.distributions.Normal(schedule.keep[i] * x + schedule.push[i] * eps, schedule.std[i])
        assert log_prob is not None
        torch.testing.assert_close(drawn, normal.mean + normal.stddev * noise)
        torch.testing.assert_close(log_prob, normal.log_prob(drawn).mean((1, 2, 3)), atol=1e-5, rtol=0)
        torch.testing.assert_close(again, log_prob, atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 10, 37])
def test_euler_steps_are_those_of_diffusers(steps: int) -> None:
    ours = euler_ancestral(ALPHAS, steps, karras=False)
    theirs = EulerAncestralDiscreteScheduler(**SD)
    theirs.set_timesteps(steps)
    noise_stream = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, 3, 5, generator=noise_stream) * ours.init_scale
    for i, t in enumerate(theirs.timesteps):
        eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(i))
        state = noise_stream.get_state()
        noise = torch.randn(x.shape, generator=noise_stream) if i in ours.noisy_steps else None
        mine, _ = step(eps, x, i, ours, noise=noise)
        noise_stream.set_state(state)
        torch.testing.assert_close(theirs.scale_model_input(x, t), x * ours.input_scale[i].float())
        x = theirs.step(eps, t, x, generator=noise_stream).prev_sample
        torch.testing.assert_close(mine, x, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("alpha_to_one", [False, True])
def test_ddim_steps_are_those_of_diffusers(eta: float, alpha_to_one: bool) -> None:
    ours = ddim(ALPHAS, 7, eta=eta, final_alpha=1.0 if alpha_to_one else None)
    theirs = DDIMScheduler(**SD, clip_sample=False, steps_offset=1, set_alpha_to_one=alpha_to_one)
    theirs.set_timesteps(7)
    assert ours.timesteps.tolist() == theirs.timesteps.tolist()
    x, noise = torch.randn(2, 1, 4, 3, 5, generator=torch.Generator().manual_seed(1))
    for i, t in enumerate(theirs.timesteps):
        eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(i))
        mine, _ = step(eps, x, i, ours, noise=noise if i in ours.noisy_steps else None)
        x = theirs.step(eps, int(t), x, eta=eta, variance_noise=noise).prev_sample
        torch.testing.assert_close(mine, x, atol=1e-4, rtol=1e-5)


def test_without_noise_euler_steps_are_those_of_diffusers() -> None:
    ours, theirs = euler_ancestral(ALPHAS, 7, eta=0), EulerDiscreteScheduler(**SD, use_karras_sigmas=True)
    theirs.set_timesteps(7)
    x = torch.randn(1, 4, 3, 5, generator=torch.Generator().manual_seed(1)) * ours.init_scale
    for i, t in enumerate(theirs.timesteps):
        eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(i))
        mine, log_prob = step(eps, x, i, ours)
        theirs.scale_model_input(x, t)
        x = theirs.step(eps, t, x).prev_sample
        assert log_prob is None
        torch.testing.assert_close(mine, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", [euler_ancestral, ddim])
def test_in_a_window_steps_draw_noise_and_elsewhere_none(sampler: Callable[..., Schedule]) -> None:
    noisy, plain = sampler(ALPHAS, 6, eta=1.0), sampler(ALPHAS, 6, eta=0.0)
    found = windowed(noisy, plain, range(2, 4))
    assert found.noisy_steps == [2, 3]
    assert found.init_scale == noisy.init_scale
    for i in range(6):
        of = noisy if i in (2, 3) else plain
        for name in ("timesteps", "input_scale", "keep", "push", "std"):
            assert getattr(found, name)[i] == getattr(of, name)[i]


def test_karras_sigmas() -> None:
    schedule = euler_ancestral(ALPHAS, 5)
    trained = ((1 - ALPHAS.double()) / ALPHAS.double()).sqrt()
    sigmas = (1 / schedule.input_scale**2 - 1).sqrt()
    lowest, highest = trained[0] ** (1 / 7), trained[-1] ** (1 / 7)
    expected = torch.stack([(highest + i / 4 * (lowest - highest)) ** 7 for i in range(5)])
    torch.testing.assert_close(sigmas, expected, rtol=1e-9, atol=0)
    assert schedule.init_scale == pytest.approx(float(trained[-1]))
    assert schedule.timesteps[0].item() == pytest.approx(999)
    assert schedule.timesteps[-1].item() == pytest.approx(0, abs=1e-9)
    for sigma, t in zip(sigmas, schedule.timesteps, strict=True):
        below = min(int(t), 998)
        share = (sigma.log() - trained[below].log()) / (trained[below + 1].log() - trained[below].log())
        assert t.item() == pytest.approx(below + share.item())


@pytest.mark.parametrize("schedule", [euler_ancestral(ALPHAS, 4), ddim(ALPHAS, 4)], ids=["euler", "ddim"])
def test_a_step_of_zero_variance_is_refused_a_score_but_can_be_taken(schedule: Schedule) -> None:
    x = torch.ones(2, 4, 3, 3)
    with pytest.raises(SimeditError, match="zero variance"):
        step(x, x, 3, schedule, next_latent=x)
    with pytest.raises(SimeditError, match="zero variance"):
        step(x, x, 3, schedule, noise=x)
    taken, log_prob = step(x, x, 3, schedule)
    assert log_prob is None
    assert taken.isfinite().all()


def test_a_noisy_step_without_noise_is_refused() -> None:
    x = torch.ones(1, 4, 3, 3)
    with pytest.raises(SimeditError, match="noise"):
        step(x, x, 0, euler_ancestral(ALPHAS, 4))


def test_a_batch_may_be_at_different_steps() -> None:
    schedule = ddim(ALPHAS, 6, eta=1.0)
    eps, x, latent = torch.randn(3, 3, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([5, 0, 2])
    _, together = step(eps, x, indices, schedule, next_latent=latent)
    alone = [
        step(eps[j, None], x[j, None], int(i), schedule, next_latent=latent[j, None])[1]
        for j, i in enumerate(indices)
    ]
    torch.testing.assert_close(together, torch.cat([a for a in alone if a is not None]))


def test_log_probability_is_differentiable_in_the_model_output() -> None:
    schedule = ddim(ALPHAS, 6, eta=1.0)
    x, noise = torch.randn(2, 1, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    eps = torch.zeros_like(x, requires_grad=True)
    _, log_prob = step(eps, x, 2, schedule, noise=noise)
    assert log_prob is not None
    (gradient,) = torch.autograd.grad(log_prob.sum(), eps)
    torch.testing.assert_close(
        gradient, noise / schedule.std[2].float() * schedule.push[2].float() / noise.numel()
    )


def test_sampling_a_known_gaussian_recovers_it() -> None:
    """For data N(0.5, 0.2^2) the ideal noise prediction is known in closed form."""
    schedule = euler_ancestral(ALPHAS, 60)
    generator = torch.Generator().manual_seed(0)

    def ideal(scaled: torch.Tensor, t: float) -> torch.Tensor:
        i = int((schedule.timesteps - t).abs().argmin())
        sigma = math.sqrt(1 / schedule.input_scale[i] ** 2 - 1)
        return sigma * (scaled * math.sqrt(sigma**2 + 1) - 0.5) / (0.2**2 + sigma**2)

    x = torch.randn(4, 5000, generator=generator) * schedule.init_scale
    run = sample(ideal, x, schedule, lambda _: torch.randn(4, 5000, generator=generator))
    assert run.latents.shape == (4, 61, 5000)
    assert run.log_probs.shape == (4, 59)
    assert run.final.mean().item() == pytest.approx(0.5, abs=0.02)
    assert run.final.std().item() == pytest.approx(0.2, abs=0.02)


def test_sample_scores_as_step_does() -> None:
    schedule = ddim(ALPHAS, 4, eta=1.0)
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(4, *x.shape, generator=torch.Generator().manual_seed(1))
    run = sample(lambda scaled, t: scaled * t / 1000, x, schedule, lambda i: noise[i])
    for i in schedule.noisy_steps:
        before, after = run.latents[:, i], run.latents[:, i + 1]
        _, log_prob = step(
            before * schedule.timesteps[i].item() / 1000, before, i, schedule, next_latent=after
        )
        torch.testing.assert_close(run.log_probs[:, i], log_prob, atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_out_of_range(steps: int) -> None:
    for schedule in (euler_ancestral, ddim):
        with pytest.raises(SimeditError, match="steps must be 1 to 1000"):
            schedule(ALPHAS, steps)


@pytest.mark.parametrize("steps", [1, 2, 3, 500, 501, 999, 1000])
def test_every_number_of_steps_makes_a_schedule(steps: int) -> None:
    schedules = [euler_ancestral(ALPHAS, steps), euler_ancestral(ALPHAS, steps, karras=False)]
    schedules += [ddim(ALPHAS, steps, eta=eta) for eta in (0.0, 1.0)]
    schedules += [ddim(ALPHAS, steps, steps_offset=900), ddim(ALPHAS, steps, eta=1.0, final_alpha=1.0)]
    for schedule in schedules:
        assert len(schedule) == steps
        assert schedule.timesteps.min() >= 0
        assert schedule.timesteps.max() <= 999
        for column in (schedule.input_scale, schedule.keep, schedule.push, schedule.std):
            assert column.isfinite().all()


def test_ddim_with_all_steps_takes_each_once() -> None:
    assert ddim(ALPHAS, 1000).timesteps.tolist() == [*range(999, -1, -1)]


@pytest.mark.parametrize(
    "options", [{"eta": -0.1}, {"eta": 1.1}, {"eta": math.nan}, {"steps_offset": -1}], ids=str
)
def test_ddim_refuses_what_has_no_meaning(options: dict[str, float]) -> None:
    with pytest.raises(SimeditError, match="eta must be 0 to 1 and steps_offset 0 or more"):
        ddim(ALPHAS, 10, **options)


@pytest.mark.parametrize("steps", [2.0, True, "3", None])
def test_steps_are_whole_numbers(steps: object) -> None:
    with pytest.raises(SimeditError, match="steps must be 1 to 1000, got"):
        euler_ancestral(ALPHAS, steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_euler_refuses_noise_that_has_no_meaning(eta: float) -> None:
    with pytest.raises(SimeditError, match="eta must be 0 to 1, got"):
        euler_ancestral(ALPHAS, 10, eta=eta)
