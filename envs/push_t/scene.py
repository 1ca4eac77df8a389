"""Where things lie in gym-pusht's scene: units are its own, 512 a side, y down."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SIDE = 512.0
"""Of the square in which the agent moves."""
WALL = 5.0
"""From the square's border to the middle of a wall."""
AGENT_RADIUS = 15.0
TEE = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], np.float64
)
"""float64 [8, 2], the block's outline about its origin, at angle 0."""
GOAL = (256.0, 256.0, np.pi / 4)
"""Where the block is to lie: x, y, angle."""
REGIONS = ("background", "block", "goal", "agent")
"""The parts of a frame; each pixel is of one. The walls are of the background."""


def placed(pose: Sequence[float] | np.ndarray, outline: np.ndarray = TEE) -> np.ndarray:
    """An outline [N, 2] where its origin and angle are those of `pose` (x, y, angle), float64 [N, 2]."""
    x, y, angle = np.asarray(pose, np.float64)
    cos, sin = np.cos(angle), np.sin(angle)
    return outline @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def draw_state(random: np.random.Generator) -> np.ndarray:
    """A state as an episode meets it, float64 [5]: the agent's x and y, the block's x, y and angle.

    In one of three the block is near its goal, as late in an episode; in three of four the agent is near the
    block or touches it.
    """
    if random.random() < 1 / 3:
        pose = random.normal(GOAL, (25, 25, 0.4))
    else:
        pose = np.append(random.uniform(100, 400, 2), random.uniform(-np.pi, np.pi))
    block = placed(pose)
    near = random.random() < 0.75
    while True:
        if near:
            corner = random.integers(len(block))
            along = block[corner] + random.random() * (block[corner - 1] - block[corner])
            away = random.uniform(0, 2 * np.pi)
            reach = AGENT_RADIUS + 1 + random.exponential(8)
            agent = along + reach * np.array([np.cos(away), np.sin(away)])
        else:
            agent = random.uniform(20, 490, 2)
        apart = -cv2.pointPolygonTest(block.astype(np.float32), (float(agent[0]), float(agent[1])), True)
        if apart > AGENT_RADIUS and (abs(agent - SIDE / 2) < SIDE / 2 - 20).all():
            return np.concatenate([agent, pose])
