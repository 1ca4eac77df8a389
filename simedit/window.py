"""The part of a frame that is worth editing: a window around its mask, in one of few sizes."""

from __future__ import annotations

import numpy as np

Window = tuple[slice, slice]
"""Rows and columns of a frame."""

Extent = tuple[int, int, int, int]
"""The first row of a mask and the one after its last, the first column and the one after its last."""


def extents(masks: np.ndarray) -> list[Extent | None]:
    """Of each mask, bool [N, H, W]; None of an empty one."""
    found: list[Extent | None] = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        some = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1) if len(rows) else None
        found.append(some)
    return found


def around(extent: Extent, shape: tuple[int, ...], *, step: int, multiple: int) -> Window:
    """A small window that holds a mask of that extent.

    Args:
        shape: the frame's, [H, W, ...].
        step: rows and columns begin at a multiple of it, pixels.
        multiple: of it are the window's height and width, pixels, where they are not the frame's.
    """
    top, bottom, left, right = extent
    return _span(top, bottom, shape[0], step, multiple), _span(left, right, shape[1], step, multiple)


def _span(first: int, end: int, side: int, step: int, multiple: int) -> slice:
    start = first // step * step
    size = -(-(end - start) // multiple) * multiple
    start = min(start, (side - size) // step * step)
    if start < 0 or start + size < end:  # too large, or it cannot end where the frame does
        return slice(0, side)
    return slice(start, start + size)
