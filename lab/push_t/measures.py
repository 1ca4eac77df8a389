"""What policies are worth on pictures of proxy-real that none of them learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

_DRAWS = 9999


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def estimate(values: np.ndarray) -> Estimate:
    """The mean of what policies of P seeds did in E episodes, float [P, E]: both are drawn anew.

    Uncertain are the episodes, by the bootstrap, and the trainings: their spread is added, for three of them
    are too few to draw from.
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    mean, by_episode = float(values.mean()), values.mean(0)
    if np.ptp(by_episode) == 0:
        low = high = mean
    else:
        drawn = bootstrap(
            (by_episode,),
            np.mean,
            n_resamples=_DRAWS,
            method="percentile",
            random_state=np.random.default_rng(0),
        ).confidence_interval
        low, high = float(drawn.low), float(drawn.high)
    spread = 1.96 * values.mean(1).std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(
        mean, mean - float(np.hypot(mean - low, spread)), mean + float(np.hypot(high - mean, spread))
    )


def crossing(seen: Sequence[int], errors: Sequence[float], level: float) -> float | None:
    """After how many samples a falling curve first reaches a level, on straight lines; None if never."""
    for i, (count, error) in enumerate(zip(seen, errors, strict=True)):
        if error <= level:
            if i == 0:
                return float(count)
            share = (errors[i - 1] - level) / (errors[i - 1] - error)
            return float(seen[i - 1] + share * (count - seen[i - 1]))
    return None


def table(errors: Mapping[str, np.ndarray], baseline: str) -> dict[str, dict[str, Estimate]]:
    """For each arm, of float [P, E], its error, and how much less it is than the baseline's, paired by
    episode and seed."""
    return {
        arm: {"error": estimate(values)}
        | ({} if arm == baseline else {"less": estimate(errors[baseline] - values)})
        for arm, values in errors.items()
    }
