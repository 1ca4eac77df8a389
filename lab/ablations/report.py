"""What an ablation found: every value, means with intervals, differences from one variant, in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from simedit.lab.ablations.config import Ablation
from simedit.lab.ablations.study import jobs, seconds
from simedit.lab.push_t.measures import Estimate, estimate
from simedit.lab.stages import read_json, write_json
from simedit.metrics.catalogue import KINDS

BASE = "base alone"
_UNTOLD = {"canny"}
"""`edge_f1` tells the same of the mask alone."""


def report(out: Path, name: str, ablation: Ablation) -> dict[str, Any]:
    """Write OUT/NAME/report.json; what it holds.

    "values" has of each variant and metric a number for each seed and frame; "means" their mean and 95 %
    interval over frames and seeds; "less" the same of the differences from the reference, seed by seed and
    frame by frame; "starts" the means before the training, which are the base's with the variant's
    photographs; "curves" of each variant and training score a row for each seed, a number for each step;
    "at", with `curves` in the config, the means after each step, with the interval of the change till then;
    "seconds" what each took of one core (a training that ablations have in common counts in each).

    Raises:
        SimeditError: a job is not done, or a file is damaged.
    """
    wanted, left_out = jobs(out, ablation)
    groups = {key: list(found) for key, found in groupby(wanted, lambda job: job.variant.name)}
    found = {key: [read_json(job.found) for job in group] for key, group in groups.items()}
    everything = [one for several in found.values() for one in several]
    metrics = [
        name for name in KINDS if name not in _UNTOLD and all(name in _last(one) for one in everything)
    ]
    ends = {key: _values([_last(one) for one in several], metrics) for key, several in found.items()}
    starts: dict[str, dict[str, np.ndarray]] = {}
    if ablation.kind == "training":
        starts = {
            key: _values([one["at"]["0"] for one in several], metrics) for key, several in found.items()
        }
        ends = {BASE: starts.get(ablation.reference, next(iter(starts.values()))), **ends}
    reference = ends.get(ablation.reference)
    content = {
        "name": name,
        "plan": ablation.model_dump(mode="json"),
        "metrics": {
            metric: {
                "better": "higher" if KINDS[metric].higher else "lower",
                "measures": KINDS[metric].measures,
                "range": list(KINDS[metric].range),
            }
            for metric in metrics
        },
        "left_out": left_out,
        "metrics_left_out": everything[0]["left_out"],
        "values": {key: {m: each.tolist() for m, each in of.items()} for key, of in ends.items()},
        "means": {key: {m: _estimate(each) for m, each in of.items()} for key, of in ends.items()},
        "less": {
            key: {m: _estimate(each - reference[m]) for m, each in of.items()}
            for key, of in ends.items()
            if reference is not None and key != ablation.reference
        },
        "starts": {key: {m: _estimate(each) for m, each in of.items()} for key, of in starts.items()},
        "curves": {
            key: {score: [one["curves"][score] for one in several] for score in several[0]["curves"]}
            for key, several in found.items()
            if ablation.kind == "training"
        },
        "at": {key: _course(several, metrics) for key, several in found.items() if ablation.curves},
        "seconds": {key: [round(seconds(job)) for job in group] for key, group in groups.items()},
    }
    write_json(out / name / "report.json", content)
    return content


def rows(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's head and rows: means with intervals, a star where the difference from the reference is not
    chance."""
    heads = ["", *(f"{metric} {_ARROWS[of['better']]}" for metric, of in content["metrics"].items())]
    found = []
    for key, of in content["means"].items():
        apart = content["less"].get(key, {})
        cells = [
            told(one) + ("*" if metric in apart and sign(apart[metric]) else "") for metric, one in of.items()
        ]
        found.append([key, *cells])
    return heads, found


def sentences(content: dict[str, Any]) -> list[str]:
    """What may be said of it, and no more."""
    reference, said = content["plan"]["reference"], []
    for key, of in content["less"].items():
        verdicts: dict[str, list[str]] = {"better": [], "worse": []}
        for metric, apart in of.items():
            if direction := sign(apart):
                higher = content["metrics"][metric]["better"] == "higher"
                verdicts["better" if (direction > 0) == higher else "worse"].append(metric)
        told_apart = [f"{how} by {', '.join(names)}" for how, names in verdicts.items() if names]
        said.append(f"{key}: {'; '.join(told_apart) or 'not told apart'} (against {reference})")
    said += [f"left out: {key}: {reason}" for key, reason in content["left_out"].items()]
    if content["metrics_left_out"]:
        said.append(f"metrics left out, for they need a download: {', '.join(content['metrics_left_out'])}")
    return said


def told(one: dict[str, float]) -> str:
    """A mean and the longer half of its interval."""
    half = max(one["high"] - one["mean"], one["mean"] - one["low"])
    return f"{one['mean']:.3g}\N{PLUS-MINUS SIGN}{half:.1g}"


def sign(one: dict[str, float]) -> int:
    """Of a difference: 0 where its interval holds 0."""
    return int(one["low"] > 0) - int(one["high"] < 0)


_ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}


def _last(found: dict[str, Any]) -> dict[str, Any]:
    return found["at"][max(found["at"], key=int)]


def _course(several: Sequence[dict[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    """By step and metric, the mean, and the ends of the change's interval on top of the first mean."""
    values = {step: _values([one["at"][step] for one in several], metrics) for step in several[0]["at"]}
    found: dict[str, Any] = {}
    for step, of in values.items():
        found[step] = {}
        for metric, each in of.items():
            begun, change = _estimate(values["0"][metric]), _estimate(each - values["0"][metric])
            found[step][metric] = {key: begun["mean"] + end for key, end in change.items()}
    return found


def _values(several: Sequence[dict[str, Any]], metrics: Sequence[str]) -> dict[str, np.ndarray]:
    """By metric, float64 [seeds, frames], not a number where undefined."""
    return {metric: np.array([one[metric] for one in several], np.float64) for metric in metrics}


def _estimate(values: np.ndarray) -> dict[str, float]:
    """Over the frames that have a value for each seed."""
    found: Estimate = estimate(values[:, np.isfinite(values).all(0)])
    return vars(found)
