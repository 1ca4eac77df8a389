"""simedit.training.remaining: how long a training still takes, with a clock of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clock import Clock

from simedit.training.remaining import Remaining

STEPS = 6
SECONDS = {"sample": (4, 10.0), "reference": (4, 6.0), "update": (2, 50.0)}
"""Of each phase how many parts are told, and how long one takes."""
STEP = sum(parts * each for parts, each in SECONDS.values())
WEIGHTS = {"sample": 1.0, "reference": 1.0, "update": 3.0}


def training(clock: Clock, first: int = 0, sampled: int = 0) -> Iterator[tuple[str, int, int, float]]:
    """What a training tells that goes on within step `first`, and the seconds left at each moment."""
    left = (STEPS - first) * STEP - 24 * (first == 0) - sampled * 10.0
    for step in range(first, STEPS):
        yield "step", step, STEPS, left
        for phase, (parts, each) in SECONDS.items():
            if phase == "reference" and step == 0:
                continue
            for part in range(sampled if phase == "sample" and step == first else 0, parts):
                clock.now += each
                left -= each
                yield phase, 16 * (part + 1), 16 * parts, left
    yield "step", STEPS, STEPS, 0.0


@pytest.mark.parametrize(("first", "sampled"), [(0, 0), (0, 2), (3, 0), (3, 2)])
def test_the_time_left(clock: Clock, first: int, sampled: int) -> None:
    remaining = Remaining(WEIGHTS, "reference")
    for told, (phase, done, of, left) in enumerate(training(clock, first, sampled)):
        remaining.reached(phase, done, of)
        found = remaining.left()
        if told < 2:  # what came before the first part is not known
            assert found is None
        elif remaining.step < first + 1:  # guessed from what phases usually cost
            assert 0.3 * left <= found <= 3 * left
        elif remaining.step == first + 1:
            assert found == pytest.approx(left, rel=0.15)
        else:
            assert found == pytest.approx(left)


def test_time_goes_on_between_what_is_told(clock: Clock) -> None:
    remaining = Remaining(WEIGHTS, "reference")
    told = training(clock)
    while (remaining.step, remaining.phase) != (3, "update"):
        phase, done, of, left = next(told)
        remaining.reached(phase, done, of)
    assert remaining.left() == pytest.approx(left)
    assert remaining.left_of_phase() == pytest.approx(50)
    clock.now += 20
    assert remaining.left() == pytest.approx(left - 20)
    assert remaining.left_of_phase() == pytest.approx(30)
    clock.now += 2000
    assert (remaining.left(), remaining.left_of_phase()) == (0, 0)


def test_the_share_of_a_step_grows_to_one(clock: Clock) -> None:
    remaining, shares = Remaining(WEIGHTS, "reference"), []
    for phase, done, of, _ in training(clock):
        remaining.reached(phase, done, of)
        if remaining.step == 2:
            shares.append(remaining.steps_done())
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (2, 3)
    assert shares[4] == pytest.approx(2 + 40 / STEP)


def test_a_phase_before_the_steps_has_a_time_of_its_own(clock: Clock) -> None:
    remaining = Remaining(WEIGHTS, "reference")
    for done in range(1, 11):
        clock.now += 3
        remaining.reached("warm start", done, 20)
        assert remaining.left() is None
        assert remaining.steps_done() == 0
    assert remaining.left_of_phase() == pytest.approx(30)
    for phase, done, of, left in training(clock):
        remaining.reached(phase, done, of)
        if remaining.step >= 2:
            assert remaining.left() == pytest.approx(left)


def test_no_time_at_all(clock: Clock) -> None:
    """A tiny training on a coarse clock."""
    remaining = Remaining(WEIGHTS, "reference")
    for phase, done, of in (("step", 0, 2), ("sample", 4, 4), ("update", 1, 2), ("update", 2, 2)):
        remaining.reached(phase, done, of)
    assert remaining.left() == 0
    assert remaining.steps_done() == 1
    remaining.reached("step", 2, 2)
    assert remaining.left() == 0
    assert remaining.steps_done() == 2
