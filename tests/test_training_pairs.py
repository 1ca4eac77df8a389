from __future__ import annotations

import pytest
import torch

from simedit import samplers
from simedit.samplers import Schedule
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.pairs import Pairs, doubled, log_probs, sample_pairs
from simedit.training.policy import Encoded, Policy

SEEDS = (11, 12, 13)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(tiny_pipeline(), rank=4, alpha=4, seed=0, scales=Scales())


@pytest.fixture(scope="module")
def schedule(policy: Policy) -> Schedule:
    return policy.pipeline.schedule("euler_ancestral", 6)


@pytest.fixture(scope="module")
def encoded(policy: Policy) -> Encoded:
    image, style = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return Encoded(policy.pipeline.encode_text(["paint it", "gold", "wood"]), image, style)


def _rescored(policy: Policy, encoded: Encoded, latents: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    conditioning = doubled(policy.conditioning(encoded))
    steps = [torch.full((len(latents),), step) for step in schedule.noisy_steps]
    with torch.no_grad():
        return torch.stack([log_probs(policy, conditioning, latents, schedule, s) for s in steps], 2)


@pytest.mark.parametrize("storage", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_recorded_while_sampling_is_what_the_stored_trajectory_scores(
    policy: Policy, encoded: Encoded, schedule: Schedule, storage: torch.dtype
) -> None:
    latents, recorded = sample_pairs(policy, encoded, schedule, SEEDS, storage)
    assert latents.dtype == storage
    assert latents.shape == (3, 2, 7, 4, 2, 2)
    assert recorded.shape == (3, 2, 5)
    found = _rescored(policy, encoded, latents, schedule)
    torch.testing.assert_close(found, recorded, atol=1e-5, rtol=1e-5)


def test_both_edits_start_from_the_same_noise_and_part_at_the_first_step(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    latents, _ = sample_pairs(policy, encoded, schedule, SEEDS, torch.float32)
    assert (latents[:, 0, 0] == latents[:, 1, 0]).all()
    assert (latents[:, 0, 1:] != latents[:, 1, 1:]).flatten(2).any(2).all()


def test_a_pair_depends_neither_on_its_batch_nor_on_the_global_generator(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    together, _ = sample_pairs(policy, encoded, schedule, SEEDS, torch.float32)
    for i, seed in enumerate(SEEDS):
        alone = Encoded(*(v[i : i + 1] for v in (encoded.text, encoded.image, encoded.style)))
        torch.manual_seed(i)
        found, _ = sample_pairs(policy, alone, schedule, [seed], torch.float32)
        torch.testing.assert_close(found[0], together[i], atol=1e-4, rtol=1e-4)


def test_steps_may_differ_between_pairs(policy: Policy, encoded: Encoded, schedule: Schedule) -> None:
    latents, recorded = sample_pairs(policy, encoded, schedule, SEEDS, torch.float32)
    steps = torch.tensor([3, 0, 4])
    conditioning = doubled(policy.conditioning(encoded))
    with torch.no_grad():
        found = log_probs(policy, conditioning, latents, schedule, steps)
    expected = torch.stack([recorded[i, :, step] for i, step in enumerate(steps)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_storage_rounds_each_latent_before_the_next_step_starts_from_it() -> None:
    schedule = samplers.euler_ancestral(torch.linspace(0.999, 0.01, 100), 4)
    seen: list[torch.Tensor] = []

    def model(x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(x)
        return 0.1 * x

    noise = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    trajectory = samplers.sample(model, 5 * noise[3], schedule, lambda i: noise[i], torch.bfloat16)
    assert trajectory.latents.dtype == torch.bfloat16
    for i, x in enumerate(seen):
        expected = trajectory.latents[:, i].float() * schedule.input_scale[i].float()
        torch.testing.assert_close(x, expected, atol=0, rtol=0)


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (1, 4, 2, 2), (3, 4, 1, 1), (3, 1, 2, 2)])
def test_pairs_lie_in_memory_as_files_hold_them(shape: tuple[int, ...]) -> None:
    n, image = shape[0], torch.rand(shape)
    pairs = Pairs(
        latents=torch.rand(2, n, 3, *shape[1:]).transpose(0, 1),
        log_probs=torch.rand(1, 2, n).permute(2, 1, 0),
        image=image.to(memory_format=torch.channels_last),
        wording=torch.arange(2 * n)[::2],
        style=torch.zeros(1, dtype=torch.int64).expand(n),
        structural=torch.rand(2, n).T,
        semantic=torch.rand(n, 2),
    )
    assert torch.equal(pairs.image, image)
    for value in vars(pairs).values():
        assert value.stride() == torch.empty(value.shape).stride()


def test_pairs_can_be_taken_apart_and_put_together() -> None:
    n = 5
    pairs = Pairs(
        latents=torch.rand(n, 2, 3, 4, 2, 2),
        log_probs=torch.rand(n, 2, 1),
        image=torch.rand(n, 4, 2, 2),
        wording=torch.arange(n),
        style=torch.arange(n),
        structural=torch.rand(n, 2),
        semantic=torch.rand(n, 2),
    )
    again = Pairs.cat([pairs[torch.arange(2)], pairs[torch.arange(2, n)]])
    assert len(again) == n
    assert (again.latents == pairs.latents).all()
    assert (again.wording == pairs.wording).all()
