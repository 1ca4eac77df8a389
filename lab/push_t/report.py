"""What a Push-T study found: a table, the figure, a strip of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simedit.drafts import whole
from simedit.lab.push_t.edits import drawn_pairs, recorded_pairs, shown
from simedit.lab.push_t.measures import Estimate, crossing, estimate
from simedit.lab.push_t.plan import ARMS, Plan
from simedit.lab.stages import read_json, write_json

UNTRAINED = "untrained"
_SHOWN = 4
"""Rows of the strip."""
_NAMES = {UNTRAINED: "random weights"} | {arm: arm.replace("_", "-") for arm in ARMS}


def report(folder: Path, plan: Plan, recipe: Path) -> dict[str, Any]:
    """Write report.json, figure.png and strip.png; what the first holds.

    Args:
        recipe: that edits.

    Raises:
        SimeditError: the folder lacks what a stage leaves.
    """
    found = read_json(folder / "errors.found.json")
    curve = read_json(folder / "curve.found.json")
    arms: dict[str, Any] = {}
    raw = np.array(found["zero_shot"]["raw"])
    plays = {} if plan.data else played(folder, plan)
    for arm in found["zero_shot"]:
        zero_shot, tuned = (np.array(found[stage][arm]) for stage in ("zero_shot", "tuned"))
        arms[arm] = {"zero_shot": estimate(zero_shot), "tuned": estimate(tuned)}
        if arm not in (UNTRAINED, "raw"):
            arms[arm]["less_than_raw"] = estimate(raw - zero_shot)
        if arm in plays:
            arms[arm] |= {key: estimate(values) for key, values in plays[arm].items()}
    level = arms["edited"]["zero_shot"].mean
    crossings = [crossing(curve["seen"], one, level) for one in curve["errors"]]
    content = {
        "plan": plan.model_dump(mode="json"),
        "arms": {arm: {key: vars(one) for key, one in values.items()} for arm, values in arms.items()},
        "curve": curve,
        "edited_is_worth": crossings,
    }
    write_json(folder / "report.json", content)
    world = world_of(content)
    _figure(folder / "figure.png", arms, curve, world)
    real = plan.data and recorded_pairs(plan.data.raw, plan.data.held_out, _SHOWN)
    pairs = real or drawn_pairs(range(plan.seed, plan.seed + _SHOWN))
    _strip(folder / "strip.png", shown(recipe, pairs), world)
    return content


def world_of(content: dict[str, Any]) -> str:
    """What a report's real world is called."""
    return "proxy-real" if content["plan"]["data"] is None else "the real data"


def played(folder: Path, plan: Plan) -> dict[str, dict[str, np.ndarray]]:
    """For each arm "success" and "coverage", float64 [P, S], of its policies at each start; coverage is the
    best of an episode's last step."""
    from simedit.eval.store import Store

    with Store(folder / "trials", write=False) as store:
        results = store.results()
    found: dict[str, dict[str, np.ndarray]] = {}
    for trial, result in results.items():
        arm, seed = trial.policy.rsplit("_", 1)
        blank = {key: np.full((plan.policies, plan.starts), np.nan) for key in ("success", "coverage")}
        at = int(seed), int(trial.scene)
        values = found.setdefault(arm, blank)
        values["success"][at] = result.outcome == "success"
        values["coverage"][at] = result.measures["coverage"]
    return found


def rows(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The table's head and rows, of what `report` gives."""
    heads = ["learned from", "error", "less than raw", "after tuning", "successes", "coverage"]
    keys = ("zero_shot", "less_than_raw", "tuned", "success", "coverage")
    return heads, [
        [_NAMES[arm], *(str(Estimate(**values[key])) if key in values else "" for key in keys)]
        for arm, values in content["arms"].items()
    ]


def sentences(content: dict[str, Any]) -> list[str]:
    """What may be said of it, and no more."""
    arms, said, world = content["arms"], [], world_of(content)
    for arm, values in arms.items():
        if "less_than_raw" not in values:
            continue
        less = Estimate(**values["less_than_raw"])
        how = "less than" if less.low > 0 else "more than" if less.high < 0 else "not told apart from"
        said.append(f"{_NAMES[arm]}: the error is {how} that after raw pictures ({less})")
    worth = content["edited_is_worth"]
    known = [f"{count:,.0f}" for count in worth if count is not None]
    most = content["curve"]["seen"][-1]
    never = len(worth) - len(known)
    told = ", ".join(known + [f"over {most:,}"] * never)
    said.append(f"random weights reach the error after edited pictures with {told} samples of {world}")
    return said


def _figure(path: Path, arms: dict[str, Any], curve: dict[str, Any], world: str) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = [one["zero_shot"] for one in arms.values()]
    means = [one.mean for one in values]
    spans = [[one.mean - one.low for one in values], [one.high - one.mean for one in values]]
    left.barh([_NAMES[arm] for arm in arms], means, xerr=spans, color="#4c78a8", capsize=3)
    left.invert_yaxis()
    left.set_xscale("log")
    left.set_xlabel(f"mean squared error of actions on unseen {world}")
    for errors in curve["errors"]:
        right.plot(curve["seen"], errors, color="#888888")
    level = arms["edited"]["zero_shot"]
    right.axhline(level.mean, color="#d62728", label="after edited pictures, no sample")
    right.axhspan(level.low, level.high, color="#d62728", alpha=0.15)
    right.axhline(arms["raw"]["zero_shot"].mean, color="#4c78a8", linestyle="--", label="after raw ones")
    right.set_yscale("log")
    right.set_xlabel(f"samples of {world} learned from")
    right.set_ylabel("mean squared error")
    right.legend()
    for axis in (left.xaxis, right.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    with whole(path) as draft:
        figure.savefig(draft, dpi=150, format="png")


def _strip(path: Path, pictures: list[list[np.ndarray]], world: str) -> None:
    from matplotlib.figure import Figure

    titles = ["raw", "background edited", "and the block", "photographs laid on it", world]
    figure = Figure(figsize=(2.2 * len(titles), 2.2 * len(pictures) + 0.3), layout="constrained")
    axes = figure.subplots(len(pictures), len(titles), squeeze=False)
    for row, several in zip(axes, pictures, strict=True):
        for axis, picture in zip(row, several, strict=True):
            axis.imshow(picture)
            axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    with whole(path) as draft:
        figure.savefig(draft, dpi=120, format="png")
