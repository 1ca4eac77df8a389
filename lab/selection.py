"""Which of a training's checkpoints ships: the last before its edits drift from their own style.

The scores that train a specialist do not see everything: edits that score better and better can drift
towards the look of another material. So each step's specialist is judged on frames that neither training nor
the final measurement (`simedit.lab.quality.measure`) sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simedit.errors import SimeditError
from simedit.lab.quality import StyleJudge, held_out, lit_boards
from simedit.library import SpecialistLibrary
from simedit.progress import tracked
from simedit.specialist import Specialist
from simedit.training.checkpoint import step_folders

VALIDATION = 6_000_000
"""The seed of the frames that checkpoints are judged on."""
ENOUGH = 0.9
"""The share of the frames whose edits are to be nearest to their own style's photographs."""
NEARLY = 1.1
"""How far from them edits may be, as a multiple of the nearest step's distance."""


class Likeness(NamedTuple):
    """How much edits look like their own style.

    Attributes:
        own: the share of them that are nearer to its photographs than to any other style's.
        distance: their median distance to its photographs, see `simedit.lab.quality.StyleJudge`.
    """

    own: float
    distance: float


def select(runs: Sequence[Path]) -> dict[str, tuple[Path, dict[int, Likeness]]]:
    """Of each training, the last step whose edits have not drifted from their style, see `choose`.

    Args:
        runs: folders of trainings on one base, with a checkpoint for each step; together all styles that
            edits are to be told from.

    Returns:
        for each style the chosen checkpoint's folder, and what was seen at each step.

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
    for i, folders in enumerate(tracked(steps, "choosing checkpoints", len(steps))):
        seen = {}
        for step, folder in folders.items():
            library = SpecialistLibrary.load(folder)
            seeds = list(range(len(frames)))
            edits = library.edit(frames, styles=[*library.styles] * len(frames), masks=masks, seeds=seeds)
            apart = judge.distances(edits, boards)
            own, distance = (apart.argmin(1) == i).mean(), np.median(apart[:, i])
            seen[step] = Likeness(own=float(own), distance=float(distance))
        chosen[firsts[i].card.style] = folders[choose(seen)], seen
    return chosen


def choose(seen: Mapping[int, Likeness]) -> int:
    """Of the steps whose share is ENOUGH, or the greatest, the last that is NEARLY as near as the nearest."""
    most = min(ENOUGH, max(likeness.own for likeness in seen.values()))
    distances = {step: likeness.distance for step, likeness in seen.items() if likeness.own >= most}
    return max(step for step, far in distances.items() if far <= NEARLY * min(distances.values()))
