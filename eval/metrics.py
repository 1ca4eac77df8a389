"""How well simulated success rates predict real ones: MMRV, Pearson r, and their intervals.

Both metrics follow SIMPLER (arXiv 2405.05941, section IV) to the letter of its public code, ties included.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest


def mmrv(sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean maximum rank violation: 0 where simulation ranks the policies as reality does; lower is better.

    A pair violates the rank when "i strictly above j" differs between simulation and reality; it weighs the
    difference of the real rates. A tie on one side alone therefore counts, but only for the policy that is
    above the other where they differ.

    Args:
        sim: simulated rates, float [..., P] for P policies.
        real: real rates, float [P].

    Returns:
        float [...].
    """
    sim, real = np.asarray(sim, float), np.asarray(real, float)
    violated = (sim[..., :, None] > sim[..., None, :]) != (real[:, None] > real[None, :])
    gap = np.abs(real[:, None] - real[None, :])
    return (violated * gap).max(-1).mean(-1)


def pearson_r(sim: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Pearson correlation as SIMPLER computes it.

    It is 1 where the centred rates are equal, and 0 where one side alone is constant.

    Args:
        sim: simulated rates, float [..., P].
        real: real rates, float [P].

    Returns:
        float [...].
    """
    sim, real = np.asarray(sim, float), np.asarray(real, float)
    sim = sim - sim.mean(-1, keepdims=True)
    real = real - real.mean()
    r = (sim * real).sum(-1) / (np.sqrt((sim**2).sum(-1) * (real**2).sum()) + 1e-8)
    return np.where((sim == real).all(-1), 1.0, r)


def wilson(successes: int, n: int) -> list[float] | None:
    """The 95 % Wilson score interval of a success rate; None without trials."""
    if n == 0:
        return None
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def bootstrap_rates(successes: np.ndarray, counts: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Success rates over resampled units, the SAME units for every row: differences between rows stay paired.

    Args:
        successes: int [R, U], successes of row r (a domain and a policy) in unit u.
        counts: int [R, U], trials of row r in unit u; 0 where there is none.
        resamples: how many times the U units are drawn with replacement.
        seed: of the draw.

    Returns:
        float [resamples, R]; NaN where a resample holds no trial of a row.
    """
    units = counts.shape[1]
    weights = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=resamples)
    drawn = weights @ counts.T
    return np.divide(weights @ successes.T, drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)


def interval(values: np.ndarray) -> list[float]:
    """The central 95 % of bootstrap `values`, float [B]."""
    low, high = np.quantile(values, [0.025, 0.975])
    return [float(low), float(high)]
