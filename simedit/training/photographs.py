"""What photographs of one style have in common."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_SIDE = 64  # pixels: enough for colours


def central(photographs: Sequence[np.ndarray]) -> int:
    """The index of the photograph, uint8 [h, w, 3] each, whose colours are nearest to all others': what edits
    should be like."""
    apart = np.array(
        [[np.abs(a - b).mean() for b in map(_colours, photographs)] for a in map(_colours, photographs)]
    )
    return int(apart.sum(1).argmin())


def _colours(photograph: np.ndarray) -> np.ndarray:
    """Each of L, a and b (CIE) in order, float32 [N, 3]: two pictures' mean difference is their distance."""
    small = cv2.resize(photograph, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.sort(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3), axis=0)
