from __future__ import annotations

import itertools

import pytest
import torch

from simedit import samplers
from simedit.samplers import Schedule
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.policy import Encoded, Policy
from simedit.training.rollout import Rollout, chosen_steps, log_probs, repeated, sample_edits

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
    n, edits = latents.shape[:2]
    conditioning, every = repeated(policy.conditioning(encoded), edits), torch.arange(edits).expand(n, -1)
    steps = [torch.full((n,), step) for step in schedule.noisy_steps]
    with torch.no_grad():
        found = [log_probs(policy, conditioning, latents, schedule, every, one) for one in steps]
    return torch.stack(found, 2)


@pytest.mark.parametrize("storage", [torch.float32, torch.float16, torch.bfloat16])
def test_what_was_recorded_while_sampling_is_what_the_stored_trajectory_scores(
    policy: Policy, encoded: Encoded, schedule: Schedule, storage: torch.dtype
) -> None:
    latents, recorded = sample_edits(policy, encoded, schedule, SEEDS, storage, 3)
    assert latents.dtype == storage
    assert latents.shape == (3, 3, 7, 4, 2, 2)
    assert recorded.shape == (3, 3, 5)
    found = _rescored(policy, encoded, latents, schedule)
    torch.testing.assert_close(found, recorded, atol=1e-5, rtol=1e-5)


def test_edits_start_from_the_same_noise_and_part_at_the_first_step(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    latents, _ = sample_edits(policy, encoded, schedule, SEEDS, torch.float32, 4)
    for one, other in itertools.combinations(range(4), 2):
        assert (latents[:, one, 0] == latents[:, other, 0]).all()
        assert (latents[:, one, 1:] != latents[:, other, 1:]).flatten(2).any(2).all()


def test_the_first_edits_do_not_depend_on_how_many_follow(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    two, four = (sample_edits(policy, encoded, schedule, SEEDS, torch.float32, edits)[0] for edits in (2, 4))
    torch.testing.assert_close(two, four[:, :2], atol=1e-4, rtol=1e-4)


def test_an_input_depends_neither_on_its_batch_nor_on_the_global_generator(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    together, _ = sample_edits(policy, encoded, schedule, SEEDS, torch.float32, 2)
    for i, seed in enumerate(SEEDS):
        alone = Encoded(*(v[i : i + 1] for v in (encoded.text, encoded.image, encoded.style)))
        torch.manual_seed(i)
        found, _ = sample_edits(policy, alone, schedule, [seed], torch.float32, 2)
        torch.testing.assert_close(found[0], together[i], atol=1e-4, rtol=1e-4)


def test_steps_and_edits_may_differ_between_inputs(
    policy: Policy, encoded: Encoded, schedule: Schedule
) -> None:
    latents, recorded = sample_edits(policy, encoded, schedule, SEEDS, torch.float32, 2)
    steps, edits = torch.tensor([3, 0, 4]), torch.tensor([[0, 1], [1, 0], [1, 1]])
    conditioning = repeated(policy.conditioning(encoded), 2)
    with torch.no_grad():
        found = log_probs(policy, conditioning, latents, schedule, edits, steps)
    expected = torch.stack([recorded[i, edits[i], step] for i, step in enumerate(steps)])
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
def test_rollouts_lie_in_memory_as_files_hold_them(shape: tuple[int, ...]) -> None:
    n, image = shape[0], torch.rand(shape)
    rollout = Rollout(
        latents=torch.rand(2, n, 3, *shape[1:]).transpose(0, 1),
        log_probs=torch.rand(1, 2, n).permute(2, 1, 0),
        image=image.to(memory_format=torch.channels_last),
        input=torch.arange(3 * n)[::3],
        wording=torch.arange(2 * n)[::2],
        style=torch.zeros(1, dtype=torch.int64).expand(n),
        scores={"structural": torch.rand(2, n).T, "semantic": torch.rand(n, 2)},
    )
    assert torch.equal(rollout.image, image)
    for value in rollout.tensors().values():
        assert value.stride() == torch.empty(value.shape).stride()


def test_rollouts_can_be_taken_apart_and_put_together() -> None:
    n = 5
    rollout = Rollout(
        latents=torch.rand(n, 2, 3, 4, 2, 2),
        log_probs=torch.rand(n, 2, 1),
        image=torch.rand(n, 4, 2, 2),
        input=torch.arange(n),
        wording=torch.arange(n),
        style=torch.arange(n),
        scores={"structural": torch.rand(n, 2), "semantic": torch.rand(n, 2)},
    )
    again = Rollout.cat([rollout[torch.arange(2)], rollout[torch.arange(2, n)]])
    assert len(again) == n
    found, expected = again.tensors(), rollout.tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert again.scores.keys() == {"structural", "semantic"}


def test_chosen_steps_are_the_inputs_own() -> None:
    every = chosen_steps([7, 8, 9], 20, 20)
    assert (every.sort(1).values == torch.arange(20)).all()
    few = chosen_steps([7, 8, 9], 20, 5)
    assert few.shape == (3, 5)
    assert (few == chosen_steps([7, 8, 9], 20, 5)).all()
    assert (few[1:2] == chosen_steps([8], 20, 5)).all()
    assert len({tuple(sorted(row.tolist())) for row in few}) == 3
