"""What to look at while a specialist is trained: a grid of edits for each step, and curves over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from simedit.files import whole

_CELL, _GAP, _FRAME, _FONT = 224, 12, 5, 15
_PAPER, _INK, _WON, _LOST = (255, 255, 255), (40, 40, 40), (30, 160, 70), (190, 190, 190)
_BLUE, _GREEN = "#2f7ed8", "#2ca05a"
_PHASES = {"sample": "#2f7ed8", "score": "#c9a227", "reference": "#8a8f98", "update": "#e0792b"}


def save_grid(
    path: str | Path,
    inputs: np.ndarray,
    edits: np.ndarray,
    winners: np.ndarray,
    styles: np.ndarray,
    labels: Sequence[Sequence[str]] | None = None,
) -> None:
    """A picture with a row for each of N inputs: input, its G edits, style image.

    The best edit has a green frame, the others grey ones. Small frames are shown enlarged.

    Args:
        path: the PNG to write.
        inputs: uint8 [N, H, W, 3].
        edits: uint8 [N, G, H, W, 3].
        winners: int [N], the best edit, or -1 for an input that is not learned from.
        styles: uint8 [N, H, W, 3].
        labels: N times a caption for each edit, of one line or more, shown below it.

    Raises:
        SimeditError: the path cannot be written.
    """
    height, width = inputs.shape[1:3]
    scale = -(-_CELL // width)
    size = (width * scale, height * scale)
    font = ImageFont.load_default(_FONT)
    line = _FONT + 4
    lines = max((label.count("\n") + 1 for row in labels or () for label in row), default=0)
    count = edits.shape[1]
    step_x, step_y = size[0] + 2 * _FRAME + _GAP, size[1] + 2 * _FRAME + _GAP + lines * line
    top = _GAP + line
    sheet = Image.new("RGB", (_GAP + (2 + count) * step_x, top + _GAP + len(inputs) * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)

    def left(column: float) -> int:
        return round(_GAP + column * step_x)

    def text(column: float, y: int, words: str) -> None:
        middle = left(column) + (step_x - _GAP) / 2
        draw.multiline_text((middle, y), words, _INK, font, anchor="ma", spacing=4, align="center")

    for column, words in enumerate(("input", *(f"edit {g + 1}" for g in range(count)), "style")):
        text(column, _GAP, words)
    for i, winner in enumerate(winners):
        y = top + _GAP + i * step_y
        frames = (inputs[i], *edits[i], styles[i])
        colours = [_PAPER, *(_WON if winner == edit else _LOST for edit in range(count)), _PAPER]
        for column, (frame, colour) in enumerate(zip(frames, colours, strict=True)):
            box = (left(column), y, left(column) + size[0] + 2 * _FRAME - 1, y + size[1] + 2 * _FRAME - 1)
            draw.rectangle(box, outline=colour, width=_FRAME)
            picture = Image.fromarray(frame).resize(size, Image.Resampling.NEAREST)
            sheet.paste(picture, (left(column) + _FRAME, y + _FRAME))
        for column, label in enumerate(labels[i] if labels is not None else (), 1):
            text(column, y + size[1] + 2 * _FRAME + 4, label)
        if winner < 0:
            text(0, y + size[1] + 2 * _FRAME + 4, "not learned from")
    with whole(Path(path)) as draft:
        sheet.save(draft)


def save_curves(
    path: str | Path,
    records: Sequence[Mapping[str, Any]],
    scores: Sequence[str],
    loss: tuple[str, float],
    watched: Mapping[str, str],
) -> None:
    """A picture of small plots over the training steps.

    Args:
        path: the PNG to write.
        records: one or more, as `simedit.training.trainer.Trainer` writes them into metrics.jsonl; any value
            but the step may be missing.
        scores: their names.
        loss: the title of its curve, and what is taken from it.
        watched: what an objective tells beside the loss, with the curves' titles.

    Raises:
        SimeditError: the path cannot be written.
    """
    steps = [record["step"] for record in records]
    style: dict[str, Any] = {
        "linewidth": 1.4,
        "clip_on": False,
        "marker": "o",
        "markersize": 4 if len(steps) <= 40 else 0,
    }

    def plot(axes: Axes, title: str, *series: tuple[str, str, str], above: float = 0.0) -> None:
        for key, colour, label in series:
            values = [np.nan if record.get(key) is None else record[key] - above for record in records]
            axes.plot(steps, values, color=colour, label=label, **style)
        axes.set_title(title, fontsize=10, loc="left")
        if len(series) > 1:
            axes.legend(fontsize=8, frameon=False)

    count = len(scores) + len(watched) + 5
    rows = -(-count // 4)
    figure = Figure(figsize=(13, 2.8 * rows), layout="constrained")
    plots = list(figure.subplots(rows, 4).flat)
    for spare in plots[count:]:
        spare.remove()
    panels = iter(plots[:count])
    for name in scores:
        both = ((name, _BLUE, "all edits"), (f"{name}_winner", _GREEN, "winners"))
        plot(next(panels), f"{name} score (lower is better)", *both)
    plot(next(panels), "win margin", ("total_margin", _BLUE, ""))
    unused, title = next(panels), "inputs not learned from"
    plot(unused, title, ("dropped", "#d1495b", "no score"), ("tied", "#8a8f98", "tied"))
    unused.set_ylim(0, max(1, unused.get_ylim()[1]))
    plot(next(panels), loss[0], ("loss", _BLUE, ""), above=loss[1])
    for name, title in watched.items():
        plot(axes := next(panels), title, (name, _BLUE, ""))
        axes.set_ylim(bottom=0)
    plot(next(panels), "gradient norm before clipping", ("gradient_norm", _BLUE, ""))
    _stack_seconds(next(panels), steps, records)
    for axes in plots[:count]:
        axes.set_xlim(min(steps) - 0.6, max(steps) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
    for axes in plots[count - 4 : count]:
        axes.set_xlabel("training step", fontsize=9)
    with whole(Path(path)) as draft:
        figure.savefig(draft, dpi=110)


def _stack_seconds(axes: Axes, steps: Sequence[int], records: Sequence[Mapping[str, Any]]) -> None:
    below = np.zeros(len(steps))
    for phase, colour in _PHASES.items():
        seconds = np.array([(record.get("seconds") or {}).get(phase) or 0.0 for record in records])
        axes.bar(steps, seconds, 0.8 if len(steps) <= 40 else 1, below, color=colour, label=phase)
        below += seconds
    axes.set_title("seconds", fontsize=10, loc="left")
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.08))
