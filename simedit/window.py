"""The part of a frame that is worth editing: a window around its mask, in one of few sizes."""

from __future__ import annotations

import numpy as np

Window = tuple[slice, slice]
"""Rows and columns of a frame."""


def around(mask: np.ndarray, *, step: int, multiple: int) -> Window:
    """A small window that holds the mask.

    Args:
        mask: bool [H, W], not empty.
        step: rows and columns begin at a multiple of it, pixels.
        multiple: of it are the window's height and width, pixels, where they are not the frame's.
    """
    rows, columns = np.nonzero(mask)
    return _span(rows, mask.shape[0], step, multiple), _span(columns, mask.shape[1], step, multiple)


def _span(shown: np.ndarray, side: int, step: int, multiple: int) -> slice:
    first, end = int(shown.min()), int(shown.max()) + 1
    start = first // step * step
    size = -(-(end - start) // multiple) * multiple
    start = min(start, (side - size) // step * step)
    if start < 0 or start + size < end:  # too large, or it cannot end where the frame does
        return slice(0, side)
    return slice(start, start + size)
