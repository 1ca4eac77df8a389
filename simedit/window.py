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
    return _span(mask.any(1), step, multiple), _span(mask.any(0), step, multiple)


def _span(shown: np.ndarray, step: int, multiple: int) -> slice:
    inside = np.flatnonzero(shown)
    first, end = int(inside[0]), int(inside[-1]) + 1
    start = first // step * step
    size = -(-(end - start) // multiple) * multiple
    start = min(start, (len(shown) - size) // step * step)
    if start < 0 or start + size < end:  # too large, or it cannot end where the frame does
        return slice(0, len(shown))
    return slice(start, start + size)
