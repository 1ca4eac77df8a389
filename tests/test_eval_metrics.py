from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from simedit.eval.metrics import bootstrap_rates, interval, mmrv, pearson_r, wilson


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
    assert pearson_r(sim, real) == pytest.approx(pearsonr(sim, real).statistic, abs=1e-6)


@pytest.mark.parametrize(
    ("sim", "real", "expected"),
    [
        ([0.5, 0.5], [0.2, 0.8], 0.0),  # one side constant
        ([0.25, 0.25], [0.75, 0.75], 1.0),  # both constant: equal once centred
        ([0.5, 1.0], [0.0, 0.5], 1.0),  # equal once centred
        # The 1e-8 in the denominator: 2e-8 / (2e-8 + 1e-8).
        ([0.0, 2e-4], [0.0, 2e-4 * 1.0000001], 2 / 3),
    ],
)
def test_pearson_r_in_simplers_special_cases(sim, real, expected):
    assert pearson_r(np.array(sim), np.array(real)) == pytest.approx(expected, abs=1e-6)


def test_metrics_of_many_samples_equal_those_of_each():
    sim, real = np.random.default_rng(1).random((5, 4)).round(1), np.array([0.1, 0.4, 0.4, 0.9])
    for metric in (mmrv, pearson_r):
        assert metric(sim, real) == pytest.approx([float(metric(row, real)) for row in sim])


def test_wilson_by_hand():
    # (p + z2/2n +- z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n) for 8 of 10, z = 1.959964
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    low, high = wilson(0, 5)
    assert low == 0
    assert high < 1
    assert wilson(0, 0) is None


def test_bootstrap_is_paired_and_seeded():
    successes = np.random.default_rng(0).integers(0, 2, (2, 20))
    successes[1] = successes[0]  # two domains with the same results
    counts = np.ones_like(successes)
    rates = bootstrap_rates(successes, counts, resamples=50, seed=3)
    assert rates.shape == (50, 2)
    assert np.array_equal(rates[:, 0], rates[:, 1])
    assert len(np.unique(rates[:, 0])) > 5
    assert np.array_equal(rates, bootstrap_rates(successes, counts, resamples=50, seed=3))
    assert rates.mean() == pytest.approx(successes.mean(), abs=0.05)


def test_bootstrap_interval_has_the_binomial_width():
    successes = (np.arange(400) < 100)[None].astype(int)
    low, high = interval(bootstrap_rates(successes, np.ones_like(successes), resamples=4000, seed=0)[:, 0])
    half = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert (low, high) == pytest.approx((0.25 - half, 0.25 + half), abs=0.006)


def test_bootstrap_leaves_missing_units_out():
    successes, counts = np.array([[1, 0, 1]]), np.array([[1, 0, 1]])
    rates = bootstrap_rates(successes, counts, resamples=200, seed=0)
    assert set(rates[np.isfinite(rates)]) == {1.0}
    assert np.isnan(rates).any()
