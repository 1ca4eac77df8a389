"""A picture of what `simedit.eval.evidence` finds: the errors of each policy's rates, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from simedit.files import whole

_BAND = 0.36
"""Half the height of an arm's band in which its policies lie, of the distance between two arms."""


def save_evidence(path: str | Path, found: Mapping[str, Any]) -> None:
    """Draw a panel for each task and the average: a row for each arm, a point for each policy at its
    simulated less its real rate, its 95 % interval, and behind them the mean absolute error, to both sides.

    Args:
        path: the PNG to write.
        found: from `simedit.eval.evidence.evidence`.

    Raises:
        SimeditError: the path cannot be written.
    """
    arms, blocks = found["arms"], list(found["arms"][0]["blocks"])
    last = arms[0]["blocks"][blocks[-1]]["policies"]
    policies = sorted(last, key=lambda policy: -last[policy]["real"])
    colours = {
        policy: colormaps["viridis"](0.93 * rank / (len(policies) - 1))
        for rank, policy in enumerate(policies)
    }
    height = 1.5 + len(arms) * max(0.55, 0.13 * len(policies))
    figure = Figure(figsize=(2.2 + 3.4 * len(blocks), height), layout="constrained")
    grid = figure.subplots(1, len(blocks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, block in zip(grid, blocks, strict=True):
        _panel(axes, block, [arm["blocks"][block] for arm in arms], policies, colours)
    grid[0].set_yticks(range(len(arms)), [arm["name"] for arm in arms])
    grid[0].set_ylim(len(arms) - 0.5, -0.5)
    low, high = grid[0].get_xlim()
    grid[0].set_xlim(low, high + 0.15 * (high - low))  # room for the numbers
    points = [
        Line2D([], [], color=colours[p], marker="o", linestyle="none", label=f"{p} ({last[p]['real']:.2f})")
        for p in policies
    ]
    figure.legend(
        handles=points,
        loc="outside lower center",
        ncols=min(len(policies), 3 * len(blocks)),
        frameon=False,
        fontsize=8,
        title=f"policy (rate in {found['real']['name']})",
        title_fontsize=8,
    )
    with whole(Path(path)) as draft:
        figure.savefig(draft, dpi=110)


def _panel(
    axes: Axes,
    block: str,
    arms: list[Mapping[str, Any]],
    policies: list[str],
    colours: Mapping[str, Any],
) -> None:
    axes.axvline(0, color="0.45", linewidth=1)
    for row, arm in enumerate(arms):
        axes.barh(row, 2 * arm["mae"], 2 * _BAND + 0.12, -arm["mae"], color="0.92", zorder=0)
        axes.annotate(
            f"{arm['mae']:.2f}",
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color="0.35",
        )
        for p, policy in enumerate(policies):
            entry = arm["policies"][policy]
            at = row + _BAND * (2 * p / (len(policies) - 1) - 1)
            axes.plot(entry["error_ci"], [at, at], color=colours[policy], linewidth=1.1, alpha=0.75)
            axes.plot(entry["error"], at, color=colours[policy], marker="o", markersize=4)
    axes.set_title(block, fontsize=10, loc="left")
    axes.set_title("mean abs. error", fontsize=8, loc="right", color="0.35")
    axes.set_xlabel("simulated less real success rate", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
