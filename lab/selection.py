"""Which of a training's checkpoints ships: the last whose edits still look like their own style.

The scores that train a specialist do not see everything: edits that score better and better can drift
towards the look of another material. So each step's specialist is judged on frames that neither training nor
the final measurement (`simedit.lab.quality.measure`) sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from simedit.errors import SimeditError
from simedit.lab.quality import StyleJudge, held_out, lit_boards
from simedit.library import SpecialistLibrary
from simedit.specialist import Specialist
from simedit.training.checkpoint import step_folders

VALIDATION = 6_000_000
"""The seed of the frames that checkpoints are judged on."""
ENOUGH = 0.9
"""The share of the frames whose edits are to be nearest to their own style's photographs."""


def select(runs: Sequence[Path]) -> dict[str, tuple[Path, dict[int, float]]]:
    """Of each training, the last step at which enough edits look like their style, or at which most do.

    Args:
        runs: folders of trainings on one base, with a checkpoint for each step; together all styles that
            edits are to be told from.

    Returns:
        for each style the chosen checkpoint's folder, and the share for each step.

    Raises:
        SimeditError: a training has no checkpoint, or a broken one.
    """
    frames, masks = held_out(seed=VALIDATION)
    boards = np.stack([lit_boards(*pair) for pair in zip(frames, masks, strict=True)])
    steps = [step_folders(run / "checkpoints") for run in runs]
    for run, folders in zip(runs, steps, strict=True):
        if not folders:
            raise SimeditError(f"{run} has no checkpoint to choose: train it again")
    firsts = [Specialist.load(next(iter(folders.values()))) for folders in steps]
    judge = StyleJudge([first.style_images for first in firsts], boards)
    chosen = {}
    for i, folders in enumerate(track(steps, "choosing checkpoints")):
        own = {}
        for step, folder in folders.items():
            library = SpecialistLibrary.load(folder)
            seeds = list(range(len(frames)))
            edits = library.edit(frames, styles=[*library.styles] * len(frames), masks=masks, seeds=seeds)
            own[step] = float((judge.distances(edits, boards).argmin(1) == i).mean())
        chosen[firsts[i].card.style] = folders[choose(own)], own
    return chosen


def choose(own: Mapping[int, float]) -> int:
    """The last step whose share is ENOUGH, else the last of those with the greatest share."""
    return max(own, key=lambda step: (min(own[step], ENOUGH), step))
