"""The camera of proxy-real's Push-T: from above with a slight angle, through a lens that bends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simedit.envs.push_t.scene import SIDE

_MIDDLE = SIDE / 2
_AWAY = 1300.0
"""From the camera to the table's middle."""
_TILT = math.radians(11)
"""Of the view from straight down; the camera stands at the frame's lower edge."""
_VIEW = 0.985
"""Of the frame's width that the table's middle line takes, from wall to wall and beyond."""
_BEND = -0.02
"""Barrel distortion: a point as far from the centre as the frame's edge is moves by this share."""


@dataclass(frozen=True)
class Camera:
    """A square picture of the scene; heights above the table are z, towards the camera.

    Attributes:
        size: of the picture, pixels.
        shift: the camera's error, along x and y, units of the scene.
        roll: its error about its axis, radians.
        scale: the error of its focal length, a factor.
    """

    size: int
    shift: tuple[float, float] = (0.0, 0.0)
    roll: float = 0.0
    scale: float = 1.0

    @property
    def eye(self) -> np.ndarray:
        """float64 [3], where it is."""
        x, y = self.shift
        return np.array([_MIDDLE + x, _MIDDLE + y + _AWAY * math.sin(_TILT), _AWAY * math.cos(_TILT)])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points [..., 3] of the scene are seen, pixels [..., 2]; 0, 0 is the corner of the picture."""
        right, down, ahead = self._axes
        seen = np.asarray(points, np.float64) - self.eye
        flat = np.stack([seen @ right, seen @ down], -1) / (seen @ ahead)[..., None] * self._focal
        return self.size / 2 * (1 + flat * (1 + _BEND * (flat**2).sum(-1, keepdims=True)))

    def table(self) -> np.ndarray:
        """What each pixel sees of the table, float32 [size, size, 2]: x and y of the scene."""
        line = (np.arange(self.size) + 0.5) / self.size * 2 - 1
        bent = np.stack(np.meshgrid(line, line), -1)
        flat = bent
        for _ in range(5):
            flat = bent / (1 + _BEND * (flat**2).sum(-1, keepdims=True))
        right, down, ahead = self._axes
        rays = flat[..., :1] * right + flat[..., 1:] * down + self._focal * ahead
        found = self.eye - rays * (self.eye[2] / rays[..., 2:])
        return found[..., :2].astype(np.float32)

    @property
    def _focal(self) -> float:
        """In halves of the picture's size."""
        return _VIEW * self.scale * _AWAY / _MIDDLE

    @property
    def _axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit [3] each: the picture's right and down, and the way ahead."""
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        across = np.array([1.0, 0.0, 0.0])
        along = np.array([0.0, math.cos(_TILT), -math.sin(_TILT)])
        ahead = np.array([0.0, -math.sin(_TILT), -math.cos(_TILT)])
        return cos * across + sin * along, cos * along - sin * across, ahead
