"""The report's drawings, as SVG that takes the page's text colour; its legends are HTML."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

# Stands for the page's own text colour, so that one drawing serves light and dark pages.
_INK = "#010203"
PALETTE = ("#2f7ed8", "#e0792b", "#2ca05a", "#b05bc4", "#c9a227", "#d1495b", "#3aa6a6", "#8a8f98")
_MARKERS = "osD^vP*X"


def look(index: int) -> tuple[str, str]:
    """The colour and matplotlib's marker of a study's policy `index`; no two of the first 64 share both."""
    return PALETTE[index % len(PALETTE)], _MARKERS[(index + index // len(PALETTE)) % len(_MARKERS)]


def mark(index: int) -> str:
    """The marker of a policy as a small `<svg>` element, for legends."""
    colour, marker = look(index)
    style = MarkerStyle(marker)
    outline = np.array(style.get_path().transformed(style.get_transform()).to_polygons()[0])
    size = np.abs(outline).max()
    points = " ".join(f"{5 + 4.5 * x / size:.1f},{5 - 4.5 * y / size:.1f}" for x, y in outline)
    return f'<svg class="mark" viewBox="0 0 10 10"><polygon points="{points}" fill="{colour}"/></svg>'


def scatter(block: Mapping[str, Any], *, real: str, name: str) -> str:
    """Simulated against real success rates: a mark for each policy, a line for its interval.

    Args:
        block: one block of the report's JSON ("open", "close" or "average" of a domain).
        real: what the real rates are called.
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
        for index, entry in enumerate(block["policies"].values()):
            if entry["sim"] is None or entry["real"] is None:
                continue
            colour, marker = look(index)
            if entry["wilson"] is not None:
                axes.plot([entry["real"]] * 2, entry["wilson"], color=colour, alpha=0.6, linewidth=1.2)
            axes.plot(
                entry["real"], entry["sim"], linestyle="none", markersize=7, color=colour, marker=marker
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", ylabel="simulated")
        # A name is no formula.
        axes.set_xlabel(textwrap.shorten(real, 44, placeholder=" ..."), parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # browsers have fonts
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
