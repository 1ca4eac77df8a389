"""The picture of which_metric.py: every metric's correlation, and four metrics against the error of rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simedit.files import whole

SHOWN = ("edge_f1", "handles", "real_lite", "real_colour")
"""Metrics with a panel of their own: one of the frame before, one of details, two of the real world."""
_NAMES = {"mmrv": "MMRV", "pearson_r": "r", "mae": "mean absolute error"}
_COLOURS = {"mmrv": "C0", "pearson_r": "C1", "mae": "C2"}
_MARKS = {"vismatch": "o", "raw": "s"}


def save_picture(path: Path, sets: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """Write the PNG; of the sets that `which_metric.predicted` gives the first has panels of its own."""
    figure = Figure(figsize=(14, 8.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(0.42 + 0.1 * len(sets), 0.6))
    columns = left.subplots(1, len(sets), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, found) in zip(columns, sets.items(), strict=True):
        _correlations(axes, found["groups"]["all"], metrics)
        axes.set_title(f"{name}, {len(found['arms'])} arms", fontsize=10)
    columns[0].set_ylim(len(metrics) - 0.5, -0.5)
    handles, labels = columns[0].get_legend_handles_labels()
    left.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    arms = next(iter(sets.values()))["arms"]
    for axes, metric in zip(right.subplots(2, 2, sharey=True).flat, SHOWN, strict=True):
        _arms(axes, arms, metric)
    named = [f"{i + 1} {arm['name']}" for i, arm in enumerate(arms)]
    right.supxlabel("\n".join("    ".join(named[i : i + 5]) for i in range(0, len(named), 5)), fontsize=8)
    with whole(path) as draft:
        figure.savefig(draft, dpi=100, format="png")


def _correlations(axes: Axes, found: Mapping[str, Any], metrics: Sequence[str]) -> None:
    axes.axvline(0, color="0.5", linewidth=1)
    for k, (of, colour) in enumerate(_COLOURS.items()):
        rows = [(i + 0.24 * (k - 1), found[m][of]) for i, m in enumerate(metrics) if m in found]
        at, values = [row for row, _ in rows], [entry["spearman"] for _, entry in rows]
        ends = [[abs(e["spearman"] - e["spearman_ci"][side]) for _, e in rows] for side in (0, 1)]
        axes.errorbar(
            values, at, xerr=ends, fmt="o", color=colour, markersize=4, linewidth=1, label=_NAMES[of]
        )
    axes.set_yticks(range(len(metrics)), list(metrics))
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("Spearman: better by the metric, better simulation", fontsize=8)
    axes.grid(axis="y", color="0.93")


def _arms(axes: Axes, arms: Sequence[Mapping[str, Any]], metric: str) -> None:
    for i, arm in enumerate(arms):
        axes.plot(arm[metric], arm["mae"], _MARKS[arm["under"]], color="0.8", markersize=14)
        axes.annotate(str(i + 1), (arm[metric], arm["mae"]), ha="center", va="center", fontsize=8)
    axes.set_xlabel(metric)
    axes.set_ylabel("mean absolute error of rates", fontsize=8)
    axes.margins(0.1)
