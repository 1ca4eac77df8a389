from __future__ import annotations

import numpy as np
import pytest

from simedit.eval.metrics import mmrv, pearson_r
from simedit.eval.published import Rates, TaskRates
from simedit.eval.rates_file import Counts
from simedit.eval.worth import SIZES, RealTrials, losses

TASKS = ("open", "close")


def evaluation(won, n, *, exact=False):
    """Real rates of policies 0, 1, ...: int [P, 2] successes of n."""
    policies = {
        str(p): TaskRates(
            {
                t: int(k) / n if exact else Counts(successes=int(k), n=n)
                for t, k in zip(TASKS, row, strict=True)
            }
        )
        for p, row in enumerate(won)
    }
    return Rates(source="test", policies=policies), list(policies)


def worth(real, policies, sim, draws=300):
    alike = np.full((1, len(policies)), 1 / len(policies))
    return RealTrials(real, policies, TASKS, draws=draws, seed=0).worth(sim[None, None], alike)[0, 0]


def test_losses_are_the_metrics():
    sim, real = np.random.default_rng(0).random((2, 6))
    alike = np.full(6, 1 / 6)
    expected = [mmrv(sim, real), -pearson_r(sim, real), np.abs(sim - real).mean()]
    assert losses(sim, real, alike) == pytest.approx(np.array(expected, float))
    assert losses(np.full(6, 0.5), real, alike)[1] == 0  # undefined


@pytest.mark.parametrize("thrown", [8, 30])
@pytest.mark.parametrize("exact", [False, True])
def test_a_coin_with_the_real_chances_is_worth_as_many_trials_as_it_was_thrown(thrown, exact):
    random = np.random.default_rng(1)
    found = []
    for _ in range(25):
        chances = random.random((10, 2))
        n = 10**6 if exact else 100
        real, policies = evaluation(random.binomial(n, chances), n, exact=exact)
        sim = (random.binomial(thrown, chances) / thrown).mean(1).round(12)
        found.append(worth(real, policies, sim, draws=150))
    assert np.median(found, 0) == pytest.approx(np.full(3, thrown), rel=0.45)


def test_of_more_error_it_is_worth_less_and_of_none_more_than_can_be_told():
    won = np.array([[2, 5], [20, 25], [38, 40], [50, 52]])
    real, policies = evaluation(won, 54)
    rates = (won / 54).mean(1)
    worths = np.array([worth(real, policies, rates + shift) for shift in (0.0, 0.05, 0.1, 0.2, 0.4)])
    level = worths[:, 2]
    assert level[0] == np.inf
    assert (np.diff(level[1:]) < 0).all()
    # Of the mean squared error sum R (1 - R) / error^2 trials of each task, halved by the mean of two tasks.
    variance = (won / 54 * (1 - won / 54)).sum(1).mean() / 4
    assert level[3] == pytest.approx(variance / 0.2**2, rel=0.5)
    assert (worths[:, 1] == np.inf).all()  # a shift correlates
    reverse = worth(real, policies, rates[::-1].copy())
    assert (reverse[:2] <= 2).all()
    assert reverse[2] == SIZES[0]


def test_worths_under_weights_are_those_of_the_metrics_under_weights():
    random = np.random.default_rng(2)
    real, policies = evaluation(random.integers(0, 55, (5, 2)), 54)
    trials = RealTrials(real, policies, TASKS, draws=40, seed=3)
    for share in random.dirichlet(np.ones(5), 4):
        expected = losses(trials._again, trials.rates, share)
        assert trials._losses(share) == pytest.approx(expected, abs=1e-9)
    sims, weights = random.random((3, 2, 5)), random.dirichlet(np.ones(5), 3)
    each = [
        [trials.worth(sims[b, a][None, None], weights[b][None])[0, 0] for a in range(2)] for b in range(3)
    ]
    assert np.array_equal(trials.worth(sims, weights), np.array(each))


def test_a_perfect_simulation_still_shows_the_noise_of_the_real_rates():
    won = np.array([[5, 9], [15, 12], [22, 25]])
    real, policies = evaluation(won, 27)
    exact, _ = evaluation(won, 27, exact=True)
    noisy, clean = (RealTrials(each, policies, TASKS, draws=400, seed=0).perfect for each in (real, exact))
    assert noisy[2] == pytest.approx(0.05, abs=0.02)
    assert clean == pytest.approx([0, -1, 0], abs=1e-9)
