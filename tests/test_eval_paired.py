from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from simedit.eval.paired import by_situations, difference_interval, holm, mcnemar


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (8, 2), (3, 3), (1, 12), (40, 20)])
def test_mcnemars_test_is_the_sign_test_of_discordant_pairs(gained, lost):
    # By hand: twice the smaller tail of fair coins, at most 1.
    fewer, n = min(gained, lost), gained + lost
    tail = sum(np.prod([(n - k) / (k + 1) for k in range(i)]) for i in range(fewer + 1)) / 2**n
    assert mcnemar(gained, lost) == pytest.approx(min(1, 2 * tail))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (8, 2), (3, 3), (1, 12), (40, 20)])
def test_with_a_trial_a_situation_the_test_over_situations_is_mcnemars(gained, lost):
    nets = [1] * gained + [0] * 7 + [-1] * lost
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1
    assert by_situations(nets) == pytest.approx(expected)


def test_the_test_over_situations_counts_every_assignment_of_signs():
    nets = [3, -1, 2, 0, 7, -2, 1]
    sums = [np.dot(signs, nets) for signs in itertools.product((1, -1), repeat=len(nets))]
    assert by_situations(nets) == pytest.approx(np.mean([abs(total) >= 10 for total in sums]))
    assert by_situations([-net for net in nets]) == by_situations(nets)


def test_repeats_of_one_situation_show_nothing():
    assert by_situations([20]) == 1
    assert mcnemar(20, 0) < 1e-5
    assert by_situations([10, 10]) == 0.5


def test_no_p_is_above_one_and_many_trials_are_no_trouble():
    random = np.random.default_rng(0)
    assert 0 < by_situations(random.integers(-200, 201, 60)) <= 1
    assert by_situations([]) == 1


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([]) == []


def test_the_interval_of_a_difference():
    ones = np.ones(54, int)
    up, down = np.zeros(54, int), np.zeros(54, int)
    low, high = difference_interval(up, down, ones, draws=20_000, seed=0)
    assert -0.06 < low < 0 < high < 0.06  # nothing changed in 54 pairs: nearly nothing, yet not for certain
    up[:12], down[12:15] = 1, 1
    low, high = difference_interval(up, down, ones, draws=20_000, seed=0)
    # Wald's of paired rates, by hand: 9/54 with the standard error sqrt(15 - 81/54) / 54.
    assert (low, high) == pytest.approx((9 / 54 - 1.96 * 0.0680, 9 / 54 + 1.96 * 0.0680), abs=0.02)
    mirrored = difference_interval(down, up, ones, draws=20_000, seed=0)
    assert mirrored == pytest.approx([-high, -low], abs=0.01)
    # Seven styles of each situation that do the same narrow nothing.
    same = difference_interval(7 * up, 7 * down, 7 * ones, draws=20_000, seed=0)
    assert same == pytest.approx([low, high])


def test_the_interval_of_a_difference_holds_it_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        up = random.random(27) < 0.3
        down = ~up & (random.random(27) < 1 / 7)  # 0.1 of all
        low, high = difference_interval(up, down, np.ones(27), draws=400, seed=0)
        held += low <= 0.2 <= high
    assert 0.9 < held / 300 < 0.99
