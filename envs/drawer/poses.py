"""The words of the drawer tasks: poses, tasks, drawers, and when a task counts as done (SIMPLER's values)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from simedit.errors import SimeditError, unknown


class Pose(NamedTuple):
    """Where the robot base stands: x and y in metres, and the yaw beyond facing the cabinet, in radians."""

    x: float
    y: float
    yaw: float


POSES: dict[str, Pose] = {
    "a0": Pose(0.644, -0.179, -0.03),
    "a1": Pose(0.765, -0.182, -0.02),
    "a2": Pose(0.889, -0.203, -0.06),
    "b0": Pose(0.652, 0.009, 0.0),
    "b1": Pose(0.752, 0.009, 0.0),
    "b2": Pose(0.851, 0.035, 0.0),
    "c0": Pose(0.665, 0.224, 0.0),
    "c1": Pose(0.765, 0.222, -0.025),
    "c2": Pose(0.865, 0.222, -0.025),
}
TASKS = ("open", "close")
DRAWERS = ("top", "middle", "bottom")

OPEN_AT = 0.15
"""An open task is done at this extension or more, metres."""
CLOSED_AT = 0.05
"""A close task is done at this extension or less, metres."""
CLOSE_START = 0.2
"""Where a close task's drawer starts, metres; every other drawer starts closed."""
HANDLE = (0.3425, 0.0, 0.02)
"""Where a drawer's handle is in the frame of its link, metres."""


def find_pose(pose: str | Sequence[float]) -> Pose:
    """The pose of that name, or the given (x, y, yaw) itself.

    Raises:
        SimeditError: an unknown name, or not three finite numbers.
    """
    if isinstance(pose, str):
        if pose not in POSES:
            raise unknown("pose", pose, POSES)
        return POSES[pose]
    try:
        found = Pose(*map(float, pose))
    except (TypeError, ValueError):
        raise SimeditError(
            f"a pose is a name such as 'a0' or three numbers (x, y, yaw), not {pose!r}"
        ) from None
    if not all(map(math.isfinite, found)):
        raise SimeditError(f"a pose must be finite, not {tuple(found)}")
    return found


def check_task(task: str, drawer: str) -> None:
    """Refuse a task or a drawer that there is not.

    Raises:
        SimeditError: an unknown name.
    """
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    if drawer not in DRAWERS:
        raise unknown("drawer", drawer, DRAWERS)


def instruction(task: str, drawer: str) -> str:
    """What a language-conditioned policy is told, e.g. "open top drawer"."""
    return f"{task} {drawer} drawer"


def succeeded(task: str, extension: float) -> bool:
    """Whether the target drawer's `extension` (metres) counts as success at `task`."""
    return extension >= OPEN_AT if task == "open" else extension <= CLOSED_AT
