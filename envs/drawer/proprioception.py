"""What the Google Robot knows of itself, the same from either simulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from simedit.protocols import Proprioception

JOINTS = (
    *("joint_torso", "joint_shoulder", "joint_bicep", "joint_elbow", "joint_forearm", "joint_wrist"),
    *("joint_gripper", "joint_finger_right", "joint_finger_left", "joint_head_pan", "joint_head_tilt"),
)
"""The order of `joint_positions`. SAPIEN 2 and 3 have orders of their own."""
_FINGERS = ("joint_finger_right", "joint_finger_left")


def proprioception(
    names: Sequence[str],
    positions: np.ndarray,
    limits: np.ndarray,
    place: ArrayLike,
    rotation: ArrayLike,
) -> Proprioception:
    """See `simedit.protocols.Proprioception`.

    Args:
        names: of the active joints, in the simulator's order.
        positions: [J], radians.
        limits: [J, 2], lowest and highest, radians.
        place, rotation: of the tool centre point in robot base axes: metres, quaternion w, x, y, z.

    Source: the gripper's closedness is that of SIMPLER's `GoogleRobot.gripper_closedness`.
    """
    at = dict(zip(names, np.asarray(positions, np.float64), strict=True))
    span = dict(zip(names, np.asarray(limits, np.float64), strict=True))
    closed = [(at[finger] - span[finger][0]) / (span[finger][1] - span[finger][0]) for finger in _FINGERS]
    return {
        "joint_positions": np.array([at[name] for name in JOINTS], np.float32),
        "gripper": float(np.clip(np.mean(closed), 0.0, 1.0)),
        "tool_pose": np.concatenate([np.ravel(place), np.ravel(rotation)]).astype(np.float32),
    }
