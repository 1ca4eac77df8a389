"""How well simulated success rates predict real ones: MMRV, Pearson r, the intervals of both and of rates.

MMRV follows SIMPLER (arXiv 2405.05941, section IV) to the letter of its public code, ties included; so does
`pearson_r_simpler`. What is uncertain is the situation, one task and scene: its seeds, styles and
variants are one cluster, for they share what makes it hard, and a deterministic policy only repeats itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, t

LEVEL = 0.95
_Z = float(norm.ppf((1 + LEVEL) / 2))


def rank_violations(sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Each policy's maximum rank violation, of which MMRV is the mean.

    A pair violates the rank when "i strictly above j" differs between simulation and reality; it weighs the
    difference of the real rates. A tie on one side alone therefore counts, but only for the policy that is
    above the other where they differ. Where all real rates are equal it is 0, whatever simulation says.

    Args:
        sim: simulated rates, float [..., P] for P policies.
        real: real rates, float [..., P].

    Returns:
        float [..., P].
    """
    sim, real = np.asarray(sim, float), np.asarray(real, float)
    worst = []
    for i in range(real.shape[-1]):  # one policy at a time: all pairs of many draws would not fit into memory
        violated = (sim[..., i, None] > sim) != (real[..., i, None] > real)
        worst.append((violated * np.abs(real[..., i, None] - real)).max(-1))
    return np.stack(worst, -1)


def mmrv(sim: np.ndarray, real: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean maximum rank violation: 0 where simulation ranks the policies as reality does; lower is better.

    Args:
        sim: simulated rates, float [..., P] for P policies.
        real: real rates, float [..., P].
        weights: of the policies in the mean, float [..., P], each sum 1; None weighs all alike.

    Returns:
        float [...].
    """
    worst = rank_violations(sim, real)
    return worst.mean(-1) if weights is None else (worst * weights).sum(-1)


def pearson_r(sim: np.ndarray, real: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Pearson correlation; NaN, for it is undefined, where the rates of one side are all equal.

    Args:
        sim: simulated rates, float [..., P].
        real: real rates, float [..., P].
        weights: of the policies, float [..., P], each sum 1; None weighs all alike.

    Returns:
        float [...].
    """
    sim, real = np.asarray(sim, float), np.asarray(real, float)
    constant = (np.ptp(sim, axis=-1) == 0) | (np.ptp(real, axis=-1) == 0)
    share = np.float64(1 / sim.shape[-1]) if weights is None else weights
    sim, real = (side - (share * side).sum(-1, keepdims=True) for side in (sim, real))
    norms = np.sqrt((share * sim**2).sum(-1) * (share * real**2).sum(-1))
    r = np.divide(
        (share * sim * real).sum(-1), norms, out=np.full(norms.shape, np.nan), where=~constant & (norms > 0)
    )
    return np.clip(r, -1, 1)


def pearson_r_simpler(sim: np.ndarray, real: np.ndarray) -> float:
    """Pearson correlation as SIMPLER computes it: where one side alone is constant it is 0, where both are 1.

    Args:
        sim: simulated rates, float [P].
        real: real rates, float [P].
    """
    sim, real = np.asarray(sim, float), np.asarray(real, float)
    sim, real = sim - sim.mean(), real - real.mean()
    if (sim == real).all():
        return 1.0
    return float((sim * real).sum() / (np.sqrt((sim**2).sum() * (real**2).sum()) + 1e-8))


def wilson(successes: Sequence[int], counts: Sequence[int]) -> list[float] | None:
    """The 95 % Wilson score interval of the rate of clustered trials; None without trials.

    Its n is the effective one of Dean and Pagano (J. Surv. Stat. Methodol. 3, 2015, after Korn and Graubard
    1998): the trials over the design effect that the clusters show, corrected for their number by
    Student's t, but no less than the clusters (Kish's effective number of them) and no more than the trials.
    So clusters of one trial each give the plain interval, and repeats of one trial that of a single one.

    Args:
        successes: of each cluster.
        counts: trials of each cluster; those with none are left out.
    """
    won, sizes = (np.asarray(values, float)[np.asarray(counts) > 0] for values in (successes, counts))
    n = sizes.sum()
    if n == 0:
        return None
    rate = won.sum() / n
    effective = clusters = n**2 / (sizes**2).sum()
    if clusters > 1:
        variance = clusters / (clusters - 1) * ((won - rate * sizes) ** 2).sum() / n**2
        if variance > 0:
            few = _Z / float(t.ppf((1 + LEVEL) / 2, clusters - 1))
            effective = min(max(rate * (1 - rate) / variance * few**2, clusters), n)
    middle = rate + _Z**2 / (2 * effective)
    half = _Z * math.sqrt(rate * (1 - rate) / effective + _Z**2 / (4 * effective**2))
    ends = [(middle + sign * half) / (1 + _Z**2 / effective) for sign in (-1, 1)]
    # Rounding could put the rate itself a last bit outside.
    return [float(max(0, min(ends[0], rate))), float(min(1, max(ends[1], rate)))]


def mean_interval(rates: Sequence[float], intervals: Sequence[Sequence[float]]) -> list[float]:
    """The 95 % interval of the mean of independent rates from the interval of each.

    By recovering variances from the limits (MOVER: Zou and Donner, Stat. Med. 27, 2008; Newcombe 1998 for
    differences of rates).
    """
    mean = sum(rates) / len(rates)
    below, above = (
        math.sqrt(sum((rate - ends[side]) ** 2 for rate, ends in zip(rates, intervals, strict=True)))
        / len(rates)
        for side in (0, 1)
    )
    return [max(0.0, mean - below), min(1.0, mean + above)]


def draw_rates(successes: np.ndarray, counts: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Success rates that the trials leave possible: the Bayesian bootstrap (Rubin, Ann. Stat. 9, 1981).

    Each draw weighs the clusters anew, the SAME for every domain and policy, so differences between them stay
    paired. Half a success and half a failure, each of a cluster's weight, are added for each policy
    (Jeffreys' prior): with one trial a cluster the rates are distributed as Jeffreys' Beta(successes + 1/2,
    failures + 1/2), and 0 of n is not taken for certain.

    Args:
        successes: int [D, P, U], successes of policy p in domain d and cluster u.
        counts: int [D, P, U], the trials there; 0 where there are none.
        draws: how many.
        seed: of the draws.

    Returns:
        float [draws, D, P]; NaN where a policy has no trial in a domain.
    """
    random = np.random.default_rng(seed)
    _, policies, clusters = counts.shape
    weights = random.standard_gamma(1.0, (draws, clusters))
    prior = random.standard_gamma(0.5, (2, draws, 1, policies))
    held = (counts > 0).sum(-1)
    size = np.divide(counts.sum(-1), held, out=np.full(held.shape, np.nan), where=held > 0)
    won = np.einsum("bu,dpu->bdp", weights, successes) + size * prior[0]
    return won / (np.einsum("bu,dpu->bdp", weights, counts) + size * prior.sum(0))


def draw_counted(successes: int, n: int, *, draws: int, seed: Sequence[int]) -> np.ndarray:
    """Rates that `n` independent trials leave possible, float [draws]: Jeffreys' Beta, as in `draw_rates`."""
    return np.random.default_rng(seed).beta(successes + 0.5, n - successes + 0.5, draws)


def interval(values: np.ndarray, estimate: float) -> list[float]:
    """The central 95 % of `values`, float [B], widened to the estimate where that lies outside."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [min(float(low), estimate), max(float(high), estimate)]
