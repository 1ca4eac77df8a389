from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binomtest, kstest, pearsonr

from simedit.eval.metrics import (
    draw_counted,
    draw_rates,
    interval,
    mean_interval,
    mmrv,
    pearson_r,
    pearson_r_simpler,
    wilson,
)


@pytest.mark.parametrize(
    ("sim", "real", "expected"),
    [
        ([0.1, 0.5, 0.9], [0.2, 0.3, 0.4], 0.0),
        # Only the last two are swapped: each of them is off by 0.1, the first by nothing.
        ([0.1, 0.9, 0.5], [0.2, 0.3, 0.4], (0 + 0.1 + 0.1) / 3),
        # Wholly reversed: the largest real difference of each policy.
        ([0.9, 0.5, 0.1], [0.0, 0.3, 1.0], (1.0 + 0.7 + 1.0) / 3),
        # A tie in simulation alone counts for the policy that is really above the other.
        ([0.5, 0.5], [0.2, 0.8], 0.6 / 2),
        # A tie in reality costs nothing, for the real rates do not differ.
        ([0.2, 0.8], [0.5, 0.5], 0.0),
        ([0.5, 0.5], [0.5, 0.5], 0.0),
    ],
)
def test_mmrv_by_hand(sim, real, expected):
    assert mmrv(np.array(sim), np.array(real)) == pytest.approx(expected, abs=1e-12)


def test_pearson_r_is_the_usual_one_where_that_is_defined():
    sim, real = np.random.default_rng(0).random((2, 6))
    assert pearson_r(sim, real) == pytest.approx(pearsonr(sim, real).statistic, abs=1e-12)
    assert pearson_r_simpler(sim, real) == pytest.approx(pearsonr(sim, real).statistic, abs=1e-6)


@pytest.mark.parametrize(
    ("sim", "real", "expected"),
    [
        ([0.5, 0.5], [0.2, 0.8], 0.0),  # one side constant
        ([0.2, 0.8], [0.5, 0.5], 0.0),
        ([0.25, 0.25], [0.75, 0.75], 1.0),  # both constant: equal once centred
    ],
)
def test_r_of_constant_rates_is_undefined_and_simplers_has_a_name_of_its_own(sim, real, expected):
    assert np.isnan(pearson_r(np.array(sim), np.array(real)))
    assert pearson_r_simpler(np.array(sim), np.array(real)) == expected


def test_simplers_r_has_its_denominators_small_number():
    # 2e-8 / (2e-8 + 1e-8)
    found = pearson_r_simpler(np.array([0.0, 2e-4]), np.array([0.0, 2e-4 * 1.0000001]))
    assert found == pytest.approx(2 / 3, abs=1e-6)


def test_metrics_of_many_samples_equal_those_of_each():
    sim, real = np.random.default_rng(1).random((2, 5, 4)).round(1)
    sim[2] = 0.5
    for metric in (mmrv, pearson_r):
        rows = [float(metric(*pair)) for pair in zip(sim, real, strict=True)]
        assert metric(sim, real) == pytest.approx(rows, nan_ok=True)
        rows = [float(metric(row, real[0])) for row in sim]
        assert metric(sim, real[0]) == pytest.approx(rows, nan_ok=True)


def test_weights_of_policies_are_shares_of_them():
    sim, real = np.random.default_rng(2).random((2, 4))
    again = [0, 0, 1, 2, 3, 3]
    weights = np.array([2, 1, 1, 2]) / 6
    # A policy that stands there twice ties with itself on both sides, which violates nothing.
    for metric in (mmrv, pearson_r):
        assert metric(sim, real, weights) == pytest.approx(float(metric(sim[again], real[again])), abs=1e-12)
        assert metric(sim, real, np.full(4, 0.25)) == pytest.approx(float(metric(sim, real)), abs=1e-12)
    many = np.random.default_rng(3).dirichlet(np.ones(4), 5)
    rows = [float(mmrv(sim, real, row)) for row in many]
    assert mmrv(sim, real, many) == pytest.approx(rows)


@pytest.mark.parametrize(("successes", "n"), [(8, 10), (0, 5), (5, 5), (1, 27)])
def test_wilson_of_single_trials_is_the_plain_one(successes, n):
    plain = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = wilson([1] * successes + [0] * (n - successes), [1] * n)
    assert found == pytest.approx((plain.low, plain.high), abs=1e-12)


def test_wilson_by_hand():
    # (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) for 8 of 10, z = 1.959964
    assert wilson([1] * 8 + [0] * 2, [1] * 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert wilson([], []) is None
    assert wilson([0], [0]) is None


@pytest.mark.parametrize("repeats", [2, 7, 100])
@pytest.mark.parametrize("successes", [[1, 0, 1, 1, 0, 0, 0], [0] * 7, [1] * 7])
def test_repeats_do_not_narrow_wilson(successes, repeats):
    once = wilson(successes, [1] * 7)
    assert wilson([repeats * won for won in successes], [repeats] * 7) == pytest.approx(once, abs=1e-9)


def test_trials_that_differ_within_clusters_narrow_wilson_but_not_as_if_independent():
    won, sizes = [1, 2, 3, 0, 2, 3, 1, 2, 3], [4] * 9
    low, high = wilson(won, sizes)
    plain = binomtest(sum(won), 36).proportion_ci(0.95, method="wilson")
    clusters = binomtest(round(sum(won) / 4), 9).proportion_ci(0.95, method="wilson")
    assert plain.high - plain.low <= high - low < clusters.high - clusters.low


def test_one_large_cluster_counts_as_few():
    low, high = wilson([50, 1, 0], [100, 1, 1])
    assert high - low > 0.6


@pytest.mark.parametrize("seed", range(50))
def test_intervals_hold_their_estimate(seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 6, (2, random.integers(1, 12)))
    sizes[:, 0] += 1
    won = random.binomial(sizes, random.choice([0, 0.1, 0.9, 1, random.random()]))
    intervals = [wilson(*pair) for pair in zip(won, sizes, strict=True)]
    rates = [float(w.sum() / s.sum()) for w, s in zip(won, sizes, strict=True)]
    for rate, (low, high) in zip(rates, intervals, strict=True):
        assert 0 <= low <= rate <= high <= 1
        assert low < high
    low, high = mean_interval(rates, intervals)
    assert 0 <= low <= sum(rates) / 2 <= high <= 1
    assert low < high


def test_the_interval_of_a_mean_by_hand():
    # sqrt(0.3^2 + 0.4^2) / 2 below, sqrt(0.06^2 + 0.08^2) / 2 above
    assert mean_interval([0.5, 0.7], [(0.2, 0.56), (0.3, 0.78)]) == pytest.approx((0.35, 0.65))
    # 0 of 27 and 1 of 1: their mean lies within.
    low, high = mean_interval([0.0, 1.0], [wilson([0] * 27, [1] * 27), wilson([1], [1])])
    assert low < 0.5 < high


@pytest.mark.parametrize(("successes", "n"), [(0, 9), (3, 9), (9, 9)])
@pytest.mark.parametrize("repeats", [1, 5])
def test_draws_of_single_trials_and_of_repeats_are_jeffreys(successes, n, repeats):
    won = repeats * np.array([1] * successes + [0] * (n - successes))[None, None]
    drawn = draw_rates(won, np.full((1, 1, n), repeats), draws=4000, seed=1)[:, 0, 0]
    assert kstest(drawn, beta(successes + 0.5, n - successes + 0.5).cdf).pvalue > 0.001
    counted = draw_counted(successes, n, draws=4000, seed=(0,))
    assert kstest(counted, beta(successes + 0.5, n - successes + 0.5).cdf).pvalue > 0.001


def test_draws_are_paired_and_seeded():
    won = np.random.default_rng(0).integers(0, 2, (2, 3, 20))
    won[1] = won[0]  # two domains with the same results
    drawn = draw_rates(won, np.ones_like(won), draws=50, seed=3)
    assert drawn.shape == (50, 2, 3)
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    assert np.array_equal(drawn, draw_rates(won, np.ones_like(won), draws=50, seed=3))
    assert not np.array_equal(drawn, draw_rates(won, np.ones_like(won), draws=50, seed=4))
    # Policies that fail and succeed in the same situations rise and fall together.
    assert draw_rates(won[:1, [0, 0]], np.ones((1, 2, 20)), draws=2000, seed=0)[:, 0].std(0) == pytest.approx(
        0.11, abs=0.02
    )


def test_draws_leave_missing_clusters_out():
    held = np.array([[[1, 0, 1]], [[0, 0, 0]]])
    drawn = draw_rates(held, held, draws=200, seed=0)
    assert np.isfinite(drawn[:, 0]).all()
    assert np.isnan(drawn[:, 1]).all()


def test_an_interval_holds_its_estimate_and_the_central_part():
    values = np.linspace(0, 1, 1001)
    assert interval(values, 0.5) == pytest.approx((0.025, 0.975))
    assert interval(values, 0.0) == pytest.approx((0.0, 0.975))


def test_intervals_cover():
    """Of rates that vary between situations, 95 % intervals miss some 5 %."""
    random = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        chances = random.beta(0.3 * 2, 0.7 * 2, 27)  # an intraclass correlation of a third
        low, high = wilson(random.binomial(7, chances), [7] * 27)
        hits.append(low <= 0.3 <= high)
    assert 0.91 <= np.mean(hits) <= 0.98
