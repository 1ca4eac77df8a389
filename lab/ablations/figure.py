"""The figure of an ablation: scores over training, and what the variants are worth on held-out frames."""

from __future__ import annotations

import textwrap
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from simedit.drafts import whole
from simedit.lab.ablations.report import BASE

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2")
_SCORES = {"structural": "structural score of samples", "semantic": "semantic score of samples"}
_UNITS = {"colour": "CIE Lab; 1 is hardly seen"}
"""Of metrics that have one."""
_COLUMNS = 4
_MARKS = ("o", "s", "^", "D", "v")
_TRADE = ("lite_patches", "edge_f1")
"""What the trade-off of a grid shows, style and frame, as figure 6 of the paper."""


def draw(path: Path, content: dict[str, Any]) -> None:
    """Write the figure of a report's content as PNG."""
    from matplotlib.figure import Figure

    panels: list[Any] = []
    grid = len(content["plan"]["vary"]) == 2
    if content["curves"]:
        panels += [("curve", score) for score in _SCORES]
    if grid and set(_TRADE) <= content["metrics"].keys():
        panels.append(("trade", None))
    kind = "grid" if grid else "steps" if content["at"] else "bars"
    panels += [(kind, metric) for metric in content["metrics"]]
    across = _COLUMNS if len(panels) > 6 else 3
    down = -(-len(panels) // across)
    figure = Figure(figsize=(3.6 * across, 3.0 * down + 0.6), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axis, (panel, name) in zip(axes, panels, strict=False):
        _PANELS[panel](axis, content, name)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    if content["curves"]:
        axes[0].legend(fontsize=7)
    plan = content["plan"]
    what = f"{plan['seeds']} {'trainings' if plan['kind'] == 'training' else 'noises'} of each"
    lines = [f"{plan['title']} ({what}, {plan['frames']} frames that no training saw)"]
    if kind == "bars":
        bars = f"bars: 95 % interval of the difference from {plan['reference']}; ticks: each of them"
        started = "; hollow: before the training" if content["starts"] else ""
        lines.append(bars + started)
    if kind == "steps":
        lines.append("bands: 95 % interval of the change since the start")
    if content["left_out"]:
        lines.append(f"left out, for their weights are not here: {', '.join(content['left_out'])}")
    figure.suptitle("\n".join(lines), fontsize=10)
    with whole(path) as draft:
        figure.savefig(draft, dpi=80, format="png")


def _curve(axis: Any, content: dict[str, Any], score: str) -> None:
    for (key, of), colour in zip(content["curves"].items(), _colours(), strict=False):
        rows = np.array(of[score], np.float64)
        rows = rows / rows[:, :1]  # scores of different kinds have different sizes
        steps = np.arange(1, rows.shape[1] + 1)
        for row in rows:
            axis.plot(steps, row, color=colour, alpha=0.3, linewidth=0.8)
        axis.plot(steps, rows.mean(0), color=colour, label=key)
    axis.set_title(f"{_SCORES[score]}, lower is better", fontsize=9)
    axis.set_xlabel("training step", fontsize=8)
    axis.set_ylabel("of the first step's", fontsize=8)
    axis.tick_params(labelsize=8)


def _bars(axis: Any, content: dict[str, Any], metric: str) -> None:
    reference = content["plan"]["reference"]
    means = {key: of[metric]["mean"] for key, of in content["means"].items() if key != BASE}
    if reference in means:
        axis.axhline(means[reference], color="#bbbbbb", linewidth=1)
    for i, (key, mean) in enumerate(means.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        axis.plot([i], [mean], "o", color=colour)
        if key in content["less"]:
            apart, at = content["less"][key][metric], means[reference]
            axis.plot([i, i], [at + apart["low"], at + apart["high"]], color=colour, linewidth=1.5)
        seeds = np.nanmean(np.array(content["values"][key][metric], np.float64), 1)
        axis.plot([i + 0.2] * len(seeds), seeds, "_", color=colour, markersize=8)
        if key in content["starts"]:
            axis.plot(
                [i - 0.2], [content["starts"][key][metric]["mean"]], "o", color=colour, fillstyle="none"
            )
    axis.set_xticks(range(len(means)), list(means), fontsize=8)
    axis.set_xlim(-0.5, len(means) - 0.5)
    axis.set_xlabel(textwrap.fill(content["plan"]["axis"], 44), fontsize=8)
    _titled(axis, content, metric)


def _steps(axis: Any, content: dict[str, Any], metric: str) -> None:
    for (_, of), colour in zip(content["at"].items(), _colours(), strict=False):
        steps = [int(step) for step in of]
        mean, low, high = (
            np.array([one[metric][part] for one in of.values()]) for part in ("mean", "low", "high")
        )
        axis.plot(steps, mean, color=colour)
        axis.fill_between(steps, low, high, color=colour, alpha=0.15)
    axis.set_xlabel("training steps", fontsize=8)
    _titled(axis, content, metric)


def _grid(axis: Any, content: dict[str, Any], metric: str) -> None:
    (first, rows), (second, columns) = _named(content)
    values = np.array([[content["means"][f"{a} / {b}"][metric]["mean"] for b in columns] for a in rows])
    better = content["metrics"][metric]["better"]
    axis.imshow(values, cmap="viridis" if better == "higher" else "viridis_r", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for i, j in product(range(len(rows)), range(len(columns))):
        bright = (values[i, j] > middle) == (better == "higher")
        axis.text(
            j, i, f"{values[i, j]:.3g}", ha="center", va="center", fontsize=7, color="k" if bright else "w"
        )
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xlabel(second, fontsize=8)
    _titled(axis, content, metric)
    axis.set_ylabel(first, fontsize=8)


def _trade(axis: Any, content: dict[str, Any], _: None) -> None:
    (first, rows), (second, columns) = _named(content)
    style, frame = _TRADE
    for row, colour, mark in zip(rows, _colours(), _MARKS, strict=False):
        of = [content["means"][f"{row} / {column}"] for column in columns]
        points = [(one[style]["mean"], one[frame]["mean"]) for one in of]
        axis.plot(*zip(*points, strict=True), color=colour, marker=mark, markersize=4, label=f"{first} {row}")
        for column, point in zip(columns, points, strict=True):
            axis.annotate(column, point, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axis.legend(fontsize=7)
    axis.set_title(f"frame against style; numbers: {second}", fontsize=9)
    axis.set_xlabel(f"{style}: the style, higher is better", fontsize=8)
    axis.set_ylabel(f"{frame}: the frame, higher is better", fontsize=8)
    axis.locator_params(nbins=5)
    axis.tick_params(labelsize=8)


def _titled(axis: Any, content: dict[str, Any], metric: str) -> None:
    of = content["metrics"][metric]
    low, high = of["range"]
    axis.set_title(f"{metric}, {of['better']} is better", fontsize=9)
    spans = f"{low:g} to {high:g}" if high is not None else f"{low:g} and up"
    axis.set_ylabel(_UNITS.get(metric, spans), fontsize=8)
    axis.tick_params(labelsize=8)


def _named(content: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(key, [str(value) for value in values]) for key, values in content["plan"]["vary"].items()]


def _colours() -> list[str]:
    return [*_COLOURS]


_PANELS = {"curve": _curve, "bars": _bars, "steps": _steps, "grid": _grid, "trade": _trade}
