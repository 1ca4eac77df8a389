"""What LeRobot's datasets say of their values' distribution: computed as its `compute_stats` does.

Minimum, maximum, mean, standard deviation, and quantiles read off histograms of 5000 bins. Of a camera they
are those of some of an episode's frames, thinned out where these are large, in 0..1, by channel. The standard
deviation alone differs from LeRobot 0.4.4's: of images it squares 8 bits in 8 bits, and gives 0 more often
than not (its issue 3682, mended since).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_BINS = 5000
NAMES = ("min", "max", "mean", "std", "count", *_QUANTILES)

Stats = dict[str, np.ndarray]
"""By one of NAMES."""


def sampled(frames: int) -> list[int]:
    """The numbers of an episode's frames that its statistics are those of."""
    count = max(min(100, frames), min(int(frames**0.75), 10_000))
    return np.round(np.linspace(0, frames - 1, count)).astype(int).tolist()


def tally(frame: np.ndarray) -> np.ndarray:
    """How often each value is in each channel of a frame, uint8 [H, W, 3], thinned out: int64 [3, 256]."""
    height, width = frame.shape[:2]
    if max(height, width) >= 300:
        step = max(height, width) // 150
        frame = frame[::step, ::step]
    return np.stack([np.bincount(frame[..., channel].ravel(), minlength=256) for channel in range(3)])


def of_frames(tallies: np.ndarray, frames: int) -> Stats:
    """Statistics of a camera in an episode: all but count are [3, 1, 1], in 0..1.

    Args:
        tallies: int64 [3, 256], the sum over the frames that are sampled.
        frames: how many these are.
    """
    channels = [_statistics(np.arange(256, dtype=np.uint8), counts) for counts in tallies]
    found = {name: np.array([one[name] for one in channels]).reshape(3, 1, 1) / 255 for name in channels[0]}
    return {**found, "count": np.array([frames])}


def of_values(values: np.ndarray) -> Stats:
    """Statistics of a column in an episode, [T] or [T, D]: each is [1] or [D]."""
    columns = values.reshape(len(values), -1).T
    found = [_statistics(column, np.ones(len(column), np.int64)) for column in columns]
    return {
        **{name: np.array([one[name] for one in found]) for name in found[0]},
        "count": np.array([len(values)]),
    }


def together(episodes: Sequence[Mapping[str, Any]]) -> Stats:
    """Statistics of a dataset from those of its episodes, all with the same names. Quantiles are the
    episodes' mean, as LeRobot 0.4.4 has it."""
    stacked = {name: np.stack([np.asarray(one[name]) for one in episodes]) for name in episodes[0]}
    counts = stacked["count"].astype(np.float64)
    weights = counts.reshape(len(counts), *[1] * (stacked["mean"].ndim - 1)) / counts.sum()
    found = {name: (values * weights).sum(axis=0) for name, values in stacked.items()}
    spread = ((stacked["std"] ** 2 + (stacked["mean"] - found["mean"]) ** 2) * weights).sum(axis=0)
    found |= {"min": stacked["min"].min(axis=0), "max": stacked["max"].max(axis=0), "std": np.sqrt(spread)}
    return {**found, "count": stacked["count"].sum(axis=0)}


def _statistics(values: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Of values [N], each of which is there so many times."""
    values, counts = values[counts > 0], counts[counts > 0]
    low, high = values.min(), values.max()
    exact = values.astype(np.float64)
    mean = np.average(exact, weights=counts)
    found = {
        "min": low,
        "max": high,
        "mean": mean,
        "std": np.sqrt(np.average((exact - mean) ** 2, weights=counts)),
    }
    if counts.sum() < 2:
        return {**found, **dict.fromkeys(_QUANTILES, mean)}
    edges = np.linspace(float(low) - 1e-10, float(high) + 1e-10, _BINS + 1)
    below = np.cumsum(np.histogram(exact, edges, weights=counts)[0])
    return found | {name: _quantile(below, edges, q * counts.sum()) for name, q in _QUANTILES.items()}


def _quantile(below: np.ndarray, edges: np.ndarray, wanted: float) -> float:
    """Between the edges of the bin that the wanted count falls into."""
    at = int(np.searchsorted(below, wanted))
    if at == 0:
        return edges[0]
    if at >= len(below):
        return edges[-1]
    share = (wanted - below[at - 1]) / (below[at] - below[at - 1])
    return edges[at] + share * (edges[at + 1] - edges[at])
