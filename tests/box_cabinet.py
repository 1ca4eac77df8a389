"""A surface without a renderer: a box with the primitive cabinet's colours."""

from __future__ import annotations

import numpy as np

from simedit.envs.drawer.boards import DRAWER_HEIGHTS, FOOT
from simedit.envs.drawer.surface import CABINET, GROUND, Surface, normals

HANDLE = (slice(60, 64), slice(70, 90))
INSIDE = (slice(90, 110), slice(40, 120))


def cabinet(left: int) -> Surface:
    """Its front and top, 100 pixels wide, 8 mm a pixel, on white ground."""
    row, column = np.mgrid[:128, :160]
    top = row < 44
    place = np.stack(
        [
            np.where(top, (row - 44) * 0.012, 0) + 0.3125,
            (column - 80) * 0.008,
            np.where(top, 0.865, 0.865 - (row - 44) * 0.008),
        ],
        -1,
    )
    kind = np.full((128, 160), GROUND, np.uint8)
    kind[8:120, left : left + 100] = CABINET
    shown = kind == CABINET
    rgb = np.full((128, 160, 3), 255, np.uint8)
    rgb[shown] = (178, 138, 102)
    rgb[shown & top] = (210, 169, 128)
    rgb[INSIDE] = (109, 83, 61)
    rgb[HANDLE] = (38, 35, 33)
    camera = np.array([[0, -0.5, -0.866, 1.8], [1, 0, 0, 0], [0, -0.866, -0.5, 1.6], [0, 0, 0, 1.0]])
    part = np.where(shown, np.where(top, 0, np.where(row < 80, 1, 2)), -1).astype(np.int16)
    world, local = (place + FOOT).astype(np.float32), place.astype(np.float32)
    for number, height in enumerate(DRAWER_HEIGHTS, 1):
        local[part == number, 2] -= height
    normal = normals(world, camera[:3, 3]).astype(np.float32)
    return Surface(rgb, kind, part, local, world, normal, camera, 140.0)
