"""Statistics of trials that two runs share: what chance alone would have changed.

What is uncertain is the situation, one task and scene, here as in `simedit.eval.metrics`: ten seeds of
one situation that all end otherwise are one event. McNemar's test takes them for ten; it stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from simedit.eval.metrics import interval


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact two-sided p of trials that failed before and succeed now, and the other way round.

    It is the sign test of these, the discordant pairs; 1 without any. It takes them for independent.
    """
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def by_situations(nets: ArrayLike) -> float:
    """The exact two-sided p of the sum of the situations' changes, were each as likely to be its opposite.

    Fisher's randomisation test of paired differences, all assignments of signs counted. Where no situation
    changes by more than one trial it is McNemar's.

    Args:
        nets: of each situation, the trials gained less those lost.
    """
    found = np.asarray(nets, int)
    sizes = np.abs(found[found != 0])
    chances = np.ones(1)  # of each sum from -total to total in steps of 2
    for size in sizes:
        grown = np.zeros(len(chances) + size)
        grown[: len(chances)] += chances / 2
        grown[size:] += chances / 2
        chances = grown
    sums = np.abs(2 * np.arange(len(chances)) - sizes.sum())
    return float(min(1.0, chances[sums >= abs(found.sum())].sum()))


def holm(values: Sequence[float]) -> list[float]:
    """Each p after Holm's correction for all of them (Scand. J. Stat. 6, 1979)."""
    found, worst = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        worst = max(worst, min(1.0, (len(values) - rank) * values[index]))
        found[index] = worst
    return found


def difference_interval(
    gained: ArrayLike, lost: ArrayLike, counts: ArrayLike, *, draws: int, seed: int
) -> list[float]:
    """The 95 % interval of the second rate less the first, over the same trials.

    The Bayesian bootstrap of `simedit.eval.metrics.draw_rates`, with Jeffreys' prior on the four ends of a
    pair: half a pair each of gained, lost, twice failed and twice succeeded, of a situation's weight.

    Args:
        gained, lost: trials of each situation.
        counts: pairs of each, 1 or more.
        draws: how many.
        seed: of the draws.
    """
    up, down, held = (np.asarray(values, float) for values in (gained, lost, counts))
    random = np.random.default_rng(seed)
    weights = random.standard_gamma(1.0, (draws, len(held)))
    prior = random.standard_gamma(0.5, (4, draws)) * held.mean()
    change = weights @ (up - down) + prior[0] - prior[1]
    return interval(change / (weights @ held + prior.sum(0)), float((up - down).sum() / held.sum()))
