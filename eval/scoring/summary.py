"""What the values of metrics say: means with intervals, and each editor against the first, image by image.

Each draw of the Bayesian bootstrap (Rubin, Ann. Stat. 9, 1981) weighs the images anew, the same for all
editors and metrics, so that differences stay paired. What is uncertain is which images these are: one scene
from ten sides is ten images here, and so says more than it should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import permutation_test

from simedit.eval.metrics import interval
from simedit.eval.paired import holm
from simedit.metrics import Kind

SCHEMA = 1
DRAWS, PERMUTATIONS = 4000, 9999
FEWEST = 6
"""Images below which there is neither interval nor p: of five, no p could be below 0.05."""
LEVEL = 0.05
ROUNDING = 1e-5
"""Relative: of one picture at two places of a batch a network's values may differ by so much."""


def summarise(
    kinds: Sequence[Kind],
    editors: Sequence[str],
    images: Sequence[str],
    values: Mapping[str, np.ndarray],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """The content of scores.json.

    "metrics" tells of each what it measures, its source, range, and which is better; "left_out" why others
    are not there; "values" has of each metric and editor a number for each image, null where it is undefined.
    "means" has of each metric and editor the mean over the images with a value, their number `n` and the
    95 % interval `ci`; "differences" of each metric and editor but the first the mean of its values less the
    first's, the same images each time, with `n`, `ci`, a two-sided p of the sign-flip permutation test
    (Fisher's randomisation; exact up to 13 images), `p_holm` after Holm's correction for the editors, and the
    `verdict`: "better" or "worse" where that is below 0.05, else "open".

    Args:
        kinds: the metrics that were computed.
        values: by metric, float [editors, images], not a number where undefined.
        left_out: by metric, why it was not computed.
    """
    random = np.random.default_rng(0)
    weights = random.standard_gamma(1.0, (DRAWS, len(images)))
    means: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    for kind in kinds:
        found = values[kind.name]
        means[kind.name] = {editor: _mean(row, weights) for editor, row in zip(editors, found, strict=True)}
        against: dict[str, dict[str, Any]] = {
            editor: _mean(apart, weights) | {"p": _p(apart), "p_holm": None, "verdict": "open"}
            for editor, apart in zip(editors[1:], _apart(found), strict=True)
        }
        tested = [entry for entry in against.values() if entry["p"] is not None]
        for entry, p in zip(tested, holm([entry["p"] for entry in tested]), strict=True):
            better = (entry["mean"] > 0) == kind.higher
            entry |= {"p_holm": p, "verdict": ("better" if better else "worse") if p < LEVEL else "open"}
        differences[kind.name] = against
    return {
        "schema": SCHEMA,
        "editors": list(editors),
        "images": list(images),
        "metrics": {
            kind.name: {
                "measures": kind.measures,
                "source": kind.source,
                "range": list(kind.range),
                "better": "higher" if kind.higher else "lower",
            }
            for kind in kinds
        },
        "left_out": dict(left_out),
        "means": means,
        "differences": differences,
        "values": {
            kind.name: {
                editor: [float(value) if np.isfinite(value) else None for value in row]
                for editor, row in zip(editors, values[kind.name], strict=True)
            }
            for kind in kinds
        },
        "warnings": list(_warnings(kinds, images, values)),
    }


def _mean(values: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    held = np.isfinite(values)
    n = int(held.sum())
    if not n:
        return {"mean": None, "n": 0, "ci": None}
    mean, some = float(values[held].mean()), weights[:, held]
    ci = interval(some @ values[held] / some.sum(1), mean) if n >= FEWEST else None
    return {"mean": mean, "n": n, "ci": ci}


def _apart(values: np.ndarray) -> np.ndarray:
    """The others' values less the first's, [editors - 1, images]; what float32 rounds is no difference."""
    first, others = values[:1], values[1:]
    same = np.abs(others - first) <= ROUNDING * np.maximum(np.abs(others), np.abs(first))
    return np.where(same, 0.0, others - first)


def _p(differences: np.ndarray) -> float | None:
    """Two-sided, of differences with a mean of 0; None of too few."""
    found = differences[np.isfinite(differences)]
    if len(found) < FEWEST:
        return None
    if not found.any():
        return 1.0
    test: Any = permutation_test  # newer SciPy calls its random numbers `rng`, and takes the older name too
    result = test(
        (found,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        batch=500,
        random_state=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _warnings(kinds: Sequence[Kind], images: Sequence[str], values: Mapping[str, np.ndarray]) -> Any:
    if len(images) < FEWEST:
        yield f"Of fewer than {FEWEST} images there are no intervals and no p: these are {len(images)}."
    for kind in kinds:
        undefined = ~np.isfinite(values[kind.name])
        if undefined.any():
            first = images[int(undefined.any(0).argmax())]
            yield (
                f"{kind.name} is undefined for {undefined.sum()} of {undefined.size} edits, such as of "
                f"{first}: its mean leaves them out."
            )
