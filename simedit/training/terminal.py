"""What simedit-train shows while it works: bars on a terminal, lines in a log, warnings about masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from simedit.training.config import StyleConfig
from simedit.training.regions import Regions

LOG_EVERY_S = 60.0

Show = Callable[[str, int, int], None]
"""(phase, done, of how many); the phase "step" counts training steps, "stopping" counts nothing."""


@contextmanager
def shown(console: Console) -> Iterator[Show]:
    """Show progress: live on a terminal, else a line at each step and at most every minute."""
    if not console.is_terminal:
        yield _logged(console)
        return
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        steps, phase_bar = bars.add_task("step", total=None), bars.add_task("", total=None)

        def show(phase: str, done: int, of: int) -> None:
            if phase == "stopping":
                bars.console.print("stopping at the next safe point (Ctrl-C again: at once, without saving)")
            elif phase == "step":
                bars.update(steps, completed=done, total=of)
            elif phase != bars.tasks[phase_bar].description:  # its time counts from here
                bars.reset(phase_bar, description=phase, completed=done, total=of)
            else:
                bars.update(phase_bar, completed=done, total=of)

        yield show


def silent(phase: str, done: int, of: int) -> None:
    """Show nothing: the main process does."""


def _logged(console: Console) -> Show:
    last = time.monotonic()

    def show(phase: str, done: int, of: int) -> None:
        nonlocal last
        if phase in ("step", "stopping") or time.monotonic() - last > LOG_EVERY_S:
            last = time.monotonic()
            console.print(phase if phase == "stopping" else f"{phase} {done} of {of}")

    return show


def warning_masks(
    regions: Regions, style: StyleConfig, console: Console
) -> Callable[[Sequence[int], np.ndarray, Sequence[np.ndarray | None]], np.ndarray]:
    """`regions.inputs`, with a warning where nouns are not found."""
    if regions.styles_found and not all(regions.styles_found):
        count = regions.styles_found.count(False)
        console.print(
            f"warning: {style.style_noun!r} was not found in {count} of {len(regions.styles_found)} style "
            f"images: there the whole image counts as style (see style_noun and regions.box_threshold)",
            markup=False,
        )
    warned = False

    def masks(indices: Sequence[int], frames: np.ndarray, own: Sequence[np.ndarray | None]) -> np.ndarray:
        nonlocal warned
        found = regions.inputs(indices, frames, own)
        if not warned and regions.found and not any(regions.found.values()):
            warned = True
            console.print(
                f"warning: {style.noun!r} was found in none of the first {len(regions.found)} inputs: their "
                f"whole frames are edited (see noun and regions.box_threshold)",
                markup=False,
            )
        return found

    return masks
