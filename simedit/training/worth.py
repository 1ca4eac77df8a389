"""What edits are worth: how near they come to photographs laid on the frame, and what they keep of the frame.

Nothing here trains: the measures are simple statistics of pixels inside the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from simedit.training.painted import LUMA, paint

NEAR = 1.5
"""Pixels within which an edge counts as kept."""
DARK = 0.1
"""Of the mask's usual brightness: what is darker in a frame is a detail, such as a handle."""

_CANNY = (50, 100)
_AROUND = np.ones((7, 7), np.uint8)


def laid(
    photographs: Sequence[np.ndarray], frame: np.ndarray, mask: np.ndarray, shading: np.ndarray
) -> np.ndarray:
    """Each photograph, uint8 [H, W, 3], laid flat on what the mask shows, in the frame's light; uint8
    [P, H, W, 3]: what an edit in that style should look like."""
    return np.stack([paint(frame, mask, photograph, shading) for photograph in photographs])


def colour_distance(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """How far apart the colours of two pictures, uint8 [H, W, 3], are in a mask: the Wasserstein distances of
    L, a and b (CIE, D65), as one Euclidean length. 1 is hardly seen, 10 is another colour."""
    found = [np.sort(_lab(picture)[mask], axis=0) for picture in (one, other)]
    return float(np.linalg.norm(np.abs(found[0] - found[1]).mean(0))) if mask.any() else 0.0


def edges_kept(frame: np.ndarray, edit: np.ndarray, mask: np.ndarray) -> float:
    """The share of the frame's Canny edges in the mask that the edit has too, within NEAR pixels."""
    before, after = (cv2.Canny(cv2.GaussianBlur(image, (0, 0), 1), *_CANNY) > 0 for image in (frame, edit))
    wanted = before & mask
    apart = cv2.distanceTransform((~after).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((apart[wanted] <= NEAR).mean()) if wanted.any() else 1.0


def detail_contrast(frame: np.ndarray, edit: np.ndarray, mask: np.ndarray, shading: np.ndarray) -> float:
    """How much darker an edit, uint8 [H, W, 3], is on the frame's dark details than around them, in shares of
    white; not a number where the frame has none."""
    dark = mask & (shading < DARK)
    around = mask & (shading > 0.6) & (cv2.dilate(dark.astype(np.uint8), _AROUND) > 0)
    if not dark.any() or not around.any():
        return float("nan")
    light = edit / np.float32(255) @ LUMA
    return float(light[around].mean() - light[dark].mean())


def _lab(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
