"""The report's scatter plot, as an SVG that takes the page's text colour."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Stands for the page's own text colour, so that one drawing serves light and dark pages.
_INK = "#010203"
PALETTE = ("#2f7ed8", "#e0792b", "#2ca05a", "#b05bc4", "#c9a227", "#d1495b", "#3aa6a6", "#8a8f98")
_MARKERS = "osD^vP*X"


def scatter(block: Mapping[str, Any], *, name: str) -> str:
    """Simulated against real success rates: a mark for each policy, a line for its Wilson interval.

    Args:
        block: one block of the report's JSON ("open", "close" or "average" of a domain).
        name: unlike that of any other drawing on the page; it keeps their inner ids apart.

    Returns:
        an `<svg>` element.
    """
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 9,
        **{f"{part}.color": _INK for part in ("text", "xtick", "ytick")},
        **{f"axes.{part}color": _INK for part in ("edge", "label")},
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(3.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.3, linewidth=1, linestyle=(0, (3, 3)))
        for index, (policy, entry) in enumerate(block["policies"].items()):
            if entry["sim"] is None or entry["real"] is None:
                continue
            style: dict[str, Any] = {
                "color": PALETTE[index % len(PALETTE)],
                "marker": _MARKERS[index % len(_MARKERS)],
            }
            if entry["wilson"] is not None:
                axes.plot(
                    [entry["real"]] * 2, entry["wilson"], color=style["color"], alpha=0.6, linewidth=1.2
                )
            axes.plot(entry["real"], entry["sim"], linestyle="none", markersize=7, label=policy, **style)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xlabel="real", ylabel="simulated")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside lower center", frameon=False, ncols=2, fontsize=8)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
