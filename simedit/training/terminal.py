"""What simedit-train shows while it works: bars on a terminal, lines in a log, warnings about masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simedit.progress import LeftColumn, Minute, left_in_words, log
from simedit.training.config import StyleConfig, TrainConfig
from simedit.training.regions import Regions
from simedit.training.remaining import Remaining

Show = Callable[[str, int, int], None]
"""(phase, done, of how many); the phase "step" counts training steps, "stopping" counts nothing."""


@contextmanager
def shown(console: Console, config: TrainConfig) -> Iterator[Show]:
    """Show progress and the time left: live on a terminal, else a line at each step and at most every minute.

    Args:
        config: phases are taken to cost what it asks for, until they were measured.
    """
    sampling, update, objective = config.sampling, config.update, config.objective
    work = objective.work(sampling.noisy, sampling.edits)
    branches = config.style.scales.branches
    share = (1.0 if objective.guided else 1 / branches) / (sampling.edits * sampling.steps)
    passes = 3 if update.gradient_checkpointing else 2  # of the U-Net, the one backward among them
    weights = {
        "sample": 1.0,
        "reference": share * work.reference,
        "update": share * passes * work.update * update.epochs,
    }
    skipped = "reference" if work.first == 0 else None
    remaining = Remaining({phase: weight for phase, weight in weights.items() if weight}, skipped)
    if not console.is_terminal:
        yield _logged(console, remaining)
        return
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, LeftColumn(), console=console) as bars:
        step_bar = bars.add_task("step", total=None, left=remaining.left)
        phase_bar = bars.add_task("", total=None, left=remaining.left_of_phase)

        def show(phase: str, done: int, of: int) -> None:
            if phase == "stopping":
                bars.console.print("stopping at the next safe point (Ctrl-C again: at once, without saving)")
                return
            remaining.reached(phase, done, of)
            bars.update(step_bar, completed=remaining.steps_done(), total=remaining.steps or None)
            if phase == "step":
                return
            if phase != bars.tasks[phase_bar].description:  # its time counts from here
                bars.reset(phase_bar, description=phase, completed=done, total=of)
            else:
                bars.update(phase_bar, completed=done, total=of)

        yield show


def silent(phase: str, done: int, of: int) -> None:
    """Show nothing: the main process does."""


def _logged(console: Console, remaining: Remaining) -> Show:
    minute = Minute()

    def show(phase: str, done: int, of: int) -> None:
        if phase == "stopping":
            log(console, phase)
            return
        remaining.reached(phase, done, of)
        if not minute.over(always=phase == "step"):
            return
        left = left_in_words(remaining.left())
        if phase == "step":
            log(console, f"step {done} of {of} done", left)
        elif phase in remaining.weights:
            at = f"step {remaining.step + 1} of {remaining.steps}"
            log(console, f"{phase} {done} of {of}", at, left)
        else:
            own = left_in_words(remaining.left_of_phase())
            log(console, f"{phase} {done} of {of}", own and f"{own} of it")

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
