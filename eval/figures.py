"""The report's drawings: SVG in the page's own colours, so that it follows light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from simedit.eval.page import link

PALETTE = ("#2f7ed8", "#e0792b", "#2ca05a", "#b05bc4", "#c9a227", "#d1495b", "#3aa6a6", "#8a8f98")
"""For pictures of their own; a page's are in its style sheet, one set for each theme."""

_LEFT, _TOP, _SIDE = 40, 8, 240
"""Where the plotted square lies in a scatter, in its own units."""


def _regular(corners: int, turn: float, *, inner: float = 1.0) -> list[tuple[float, float]]:
    """Corners on a circle of radius 1, the first at `turn` of a whole turn; every second one at `inner`."""
    angles = (2 * math.pi * (turn + k / corners) for k in range(corners))
    return [
        (math.cos(a) * (inner if k % 2 else 1), math.sin(a) * (inner if k % 2 else 1))
        for k, a in enumerate(angles)
    ]


def _cross(turn: float) -> list[tuple[float, float]]:
    arm = [(1.0, 0.32), (0.32, 0.32), (0.32, 1.0), (-0.32, 1.0), (-0.32, 0.32), (-1.0, 0.32)]
    outline = arm + [(-x, -y) for x, y in arm]
    c, s = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return [(c * x - s * y, s * x + c * y) for x, y in outline]


_SHAPES = (
    _regular(24, 0),
    _regular(4, 1 / 8),
    _regular(4, 0),
    _regular(3, -1 / 4),
    _regular(3, 1 / 4),
    _cross(0),
    _cross(1 / 8),
    _regular(10, -1 / 4, inner=0.45),
)


def colour(index: int) -> str:
    """The style sheet's class for the colour of a study's policy `index`."""
    return f"p{index % len(PALETTE)}"


def mark(index: int) -> str:
    """The marker of a policy as a small `<svg>` element, for legends."""
    return f'<svg class="mark" viewBox="0 0 10 10" aria-hidden="true">{_marker(index, 5, 5, 4.7)}</svg>'


def _marker(index: int, x: float, y: float, radius: float) -> str:
    """No two of the first 64 policies share both colour and shape."""
    shape = _SHAPES[(index + index // len(PALETTE)) % len(_SHAPES)]
    points = " ".join(f"{x + radius * dx:.1f},{y + radius * dy:.1f}" for dx, dy in shape)
    return f'<polygon class="{colour(index)}" points="{points}"/>'


def scatter(block: Mapping[str, Any], *, real: str, shows: Mapping[str, str]) -> str:
    """Simulated against real success rates: a mark for each policy, a line for its interval.

    Args:
        block: one block of the report's JSON (of a domain, a task's or "average").
        real: what the real rates are called.
        shows: the filters of the block's trials; a mark is a link that shows a policy's.

    Returns:
        an `<svg>` element.
    """
    bottom, right = _TOP + _SIDE, _LEFT + _SIDE
    parts = [
        f'<path class="ideal" d="M{_x(0):.1f} {_y(0):.1f}L{_x(1):.1f} {_y(1):.1f}"/>',
        f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>',
    ]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<path class="axis" d="M{_x(tick):.1f} {bottom}v4M{_LEFT} {_y(tick):.1f}h-4"/>')
        parts.append(f'<text x="{_x(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{_LEFT - 8}" y="{_y(tick) + 3.5:.1f}" text-anchor="end">{tick:g}</text>')
    name = real if len(real) <= 44 else f"{real[:40]} ..."
    middle = _TOP + _SIDE / 2
    parts.append(
        f'<text class="name" x="{_LEFT + _SIDE / 2}" y="{bottom + 33}">{escape(name)}</text>'
        f'<text class="name" transform="translate(11 {middle}) rotate(-90)">simulated</text>'
    )
    parts += [
        _point(index, policy, entry, real, shows)
        for index, (policy, entry) in enumerate(block["policies"].items())
        if entry["sim"] is not None and entry["real"] is not None
    ]
    label = escape(f"simulated against {real}, {', '.join(shows.values())}")
    size = f"0 0 {right + 8} {bottom + 40}"
    return f'<svg class="scatter" viewBox="{size}" role="group" aria-label="{label}">{"".join(parts)}</svg>'


def _x(rate: float) -> float:
    return _LEFT + _SIDE * (0.03 + 0.94 * rate)


def _y(rate: float) -> float:
    return _TOP + _SIDE * (0.97 - 0.94 * rate)


def _point(index: int, policy: str, entry: Mapping[str, Any], real: str, shows: Mapping[str, str]) -> str:
    x, y = _x(entry["real"]), _y(entry["sim"])
    text = f"{policy}: simulated {entry['sim']:.2f}"
    drawn = ""
    if entry["wilson"] is not None:
        low, high = entry["wilson"]
        text += f" [{low:.2f}, {high:.2f}]"
        drawn = f'<path class="whisker {colour(index)}" d="M{x:.1f} {_y(low):.1f}V{_y(high):.1f}"/>'
    text += f", {real} {entry['real']:.2f}"
    drawn += f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="10"/>{_marker(index, x, y, 5.5)}'
    return link(f"<title>{escape(text)}</title>{drawn}", {**shows, "policy": policy}, text)
