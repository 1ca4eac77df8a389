"""The boards that the drawer twin's cabinet is made of, and the light that they keep from one another."""

from __future__ import annotations

import numpy as np

from simedit.envs.drawer.surface import Surface

FOOT = np.array([-0.295, 0.0, 0.017], np.float32)
"""The origin of the cabinet in the world, metres."""
DRAWER_HEIGHTS = (0.668, 0.423, 0.178)
"""Of the top, middle and bottom drawer above the cabinet's foot, metres."""


def find_boards(surface: Surface) -> np.ndarray:
    """The cabinet's boards in a frame, float32 [N, 2, 3]: two corners of each in the world, metres.

    A drawer is where it is seen, or else closed.
    """
    body = [
        ((-0.315, -0.3075, 0.0), (-0.295, 0.3075, 0.845)),
        ((-0.295, -0.3075, 0.0), (0.295, -0.2875, 0.845)),
        ((-0.295, 0.2875, 0.0), (0.295, 0.3075, 0.845)),
        ((-0.315, -0.3075, 0.845), (0.315, 0.3075, 0.865)),
    ]
    drawer = [
        ((0.2975, -0.3075, -0.07), (0.3125, 0.3075, 0.07)),
        ((-0.295, -0.2775, -0.07), (0.295, -0.2575, 0.03)),
        ((-0.295, 0.2575, -0.07), (0.295, 0.2775, 0.03)),
        ((-0.275, -0.2575, -0.07), (0.275, 0.2575, -0.05)),
    ]
    found = [np.array(body, np.float32) + FOOT]
    for number, height in enumerate(DRAWER_HEIGHTS, 1):
        here = surface.part == number
        offset = FOOT + np.array([0, 0, height], np.float32)
        if here.any():
            offset = surface.world[here][0] - surface.local[here][0]
        found.append(np.array(drawer, np.float32) + offset)
    return np.concatenate(found).astype(np.float32)


def unblocked(start: np.ndarray, ray: np.ndarray, boards: np.ndarray) -> np.ndarray:
    """Where none of the boards [N, 2, 3] stands between a point [..., 3] and the light, bool [...].

    Args:
        ray: [3], towards the light. Points should lie a little before their own board.
    """
    with np.errstate(divide="ignore"):
        inverse = 1 / np.where(abs(ray) < 1e-4, np.float32(1e-4), ray)
    scaled = [np.ascontiguousarray(start[..., i]) * inverse[i] for i in range(3)]
    blocked = np.zeros(start.shape[:-1], bool)
    for corners in boards * inverse:
        (x0, y0, z0), (x1, y1, z1) = corners.min(0), corners.max(0)
        x, y, z = scaled
        enter = np.maximum(np.maximum(x0 - x, y0 - y), z0 - z)
        leave = np.minimum(np.minimum(x1 - x, y1 - y), z1 - z)
        blocked |= (enter < leave) & (leave > 0)
    return ~blocked


def board_normals(normals: np.ndarray) -> np.ndarray:
    """Of the three axes the nearest to each normal [N, 3], signed, for what is made of boards; 0 for none.

    It holds at edges too, where normals from neighbouring pixels are unsure.
    """
    found = np.nan_to_num(normals)
    axis = abs(found).argmax(-1)[:, None]
    nearest = np.zeros_like(found)
    np.put_along_axis(nearest, axis, np.sign(np.take_along_axis(found, axis, 1)), 1)
    return nearest
