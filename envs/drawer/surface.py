"""What the renderer knows of every pixel, for whoever paints a frame anew: where it is, and on what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NOTHING, GROUND, ROBOT, CABINET = range(4)
"""What a pixel shows: `Surface.kind`."""


@dataclass(frozen=True)
class Surface:
    """A frame of the drawer twin and the geometry behind it; H x W pixels.

    Attributes:
        rgb: uint8 [H, W, 3], as rendered.
        kind: uint8 [H, W], one of NOTHING, GROUND, ROBOT, CABINET.
        part: int16 [H, W], on the cabinet: 0 its body, 1 to 3 the top, middle and bottom drawer; else -1.
        local: float32 [H, W, 3], metres, in the frame of the pixel's part of the cabinet, and elsewhere in
            the world's: on a drawer it moves with the drawer. Not a number where nothing is.
        world: float32 [H, W, 3], metres, in the world; x points from the cabinet to the robot, z up. Not a
            number where nothing is.
        normal: float32 [H, W, 3], unit, in the world, from the mesh of neighbouring pixels; towards the
            camera. Not a number where nothing is, and unsure within a pixel of an edge.
        camera: float64 [4, 4], from OpenCV's camera axes (x right, y down, z ahead) to the world.
        focal: of the camera, pixels; its principal point is the frame's centre.
    """

    rgb: np.ndarray
    kind: np.ndarray
    part: np.ndarray
    local: np.ndarray
    world: np.ndarray
    normal: np.ndarray
    camera: np.ndarray
    focal: float

    def rays(self) -> np.ndarray:
        """float32 [H, W, 3]: each pixel's unit direction of view in the world."""
        height, width = self.kind.shape
        x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
        rays = np.stack([x, y, np.full_like(x, self.focal)], -1) @ self.camera[:3, :3].T
        return (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).astype(np.float32)


def normals(world: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """Unit normals [H, W, 3] of positions [H, W, 3] (NaN where nothing is), towards the point `eye` [3].

    Of the two neighbours on either side the one nearer in depth counts, so that edges stay sharp.
    """

    def slope(axis: int) -> np.ndarray:
        ahead = np.diff(world, axis=axis, append=np.nan)
        behind = np.roll(ahead, 1, axis)
        length = [np.nan_to_num((d**2).sum(-1, keepdims=True), nan=np.inf) for d in (ahead, behind)]
        return np.where(length[0] <= length[1], ahead, behind)

    found = np.cross(slope(1), slope(0))
    found /= np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
    return found * np.sign(((eye - world) * found).sum(-1, keepdims=True))
