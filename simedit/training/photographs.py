"""A set of photographs: what speaks against it, told before a training, and which is the most typical."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from simedit.images import listed
from simedit.training.data import STYLE_SIDE

FEWEST = 3
"""Different photographs."""
SIDE = 256
"""Pixels: whatever size is trained at, no photograph needs more."""
FLAT = 1.0
"""The least standard deviation of a photograph's colours in L*a*b*, blurred, of which 1 is hardly seen."""
FAR = 8.0
"""In L*a*b*, brought to one exposure: farther from the rest is another material or another light."""

_SIDE = 64  # pixels: enough for colours
_LIGHTNESS = 1 / 3
"""What L* weighs against a* and b*: photographs of one thing differ most in how bright the light was."""
_MIDDLE = 50.0
"""The lightness that colours are brought to before they are compared."""


def doubts(
    names: Sequence[str], images: Sequence[np.ndarray], masks: Sequence[np.ndarray], height: int
) -> list[str]:
    """What a user may want to mend, one line a kind; empty for photographs that look well.

    Args:
        names: of the photographs' files.
        images: the photographs as a training takes them, uint8 [h, w, 3] each.
        masks: bool [h, w], what of each shows the style.
        height: that is trained at, pixels.
    """
    lines, least = [], min(height, SIDE)
    same: dict[bytes, list[int]] = {}
    for i, image in enumerate(images):
        same.setdefault(repr(image.shape).encode() + image.tobytes(), []).append(i)
    different = [indices[0] for indices in same.values()]

    def named(indices: Sequence[int]) -> str:
        return listed([Path(names[i]) for i in indices])

    if len(different) < FEWEST:
        lines.append(
            f"fewer than {FEWEST} different photographs ({len(different)}): their light may be taken for the "
            f"style: add some, five are usual"
        )
    for indices in same.values():
        if len(indices) > 1:
            lines.append(f"identical photographs, which count as one: {named(indices)}: replace all but one")
    if small := [i for i in different if min(images[i].shape[:2]) < least]:
        sizes = [Path(f"{names[i]} ({images[i].shape[1]} x {images[i].shape[0]})") for i in small]
        lines.append(
            f"too small, its grain will be blurred: {listed(sizes)}: give photographs of at least {least} "
            f"pixels a side once the longer one is shrunk to {STYLE_SIDE}"
        )
    colours = [_lab(images[i])[masks[i]] for i in different]
    flat = [i for i, pixels in zip(different, colours, strict=True) if np.linalg.norm(pixels.std(0)) < FLAT]
    if flat:
        lines.append(
            f"nearly flat, almost without contrast: {named(flat)}: give photographs that show the style's "
            f"grain, sharp and well lit"
        )
    far = [different[i] for i in _far(np.stack([pixels.mean(0) for pixels in colours]))]
    if 2 * len(far) > len(different):
        lines.append(
            f"too different from one another in colour: {named(far)}: several materials, or several lights? "
            f"Give photographs of one material in a like light"
        )
    elif far:
        lines.append(
            f"too different from the rest in colour: {named(far)}: another material, or another light? Take "
            f"out what is not the style, or photograph it like the rest"
        )
    return lines


def _lab(image: np.ndarray) -> np.ndarray:
    """L*a*b*, float32 [h, w, 3], without what a camera's noise adds."""
    return cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 2)


def _far(colours: np.ndarray) -> list[int]:
    """Which of N mean colours, L*a*b* [N, 3], are farther than FAR from the median of the others."""
    lightness = colours[:, :1]
    # A brighter light scales a* and b* by as much as L* + 16, for all are cube roots of what is seen.
    chroma = colours[:, 1:] * (_MIDDLE + 16) / (lightness + 16)
    places = np.concatenate([lightness * _LIGHTNESS, chroma], 1)
    found = []
    for i, place in enumerate(places):
        others = np.delete(places, i, axis=0)
        if len(others) and np.linalg.norm(place - np.median(others, axis=0)) > FAR:
            found.append(i)
    return found


def central(photographs: Sequence[np.ndarray]) -> int:
    """The index of the photograph, uint8 [h, w, 3] each, whose colours are nearest to all others': what edits
    should be like."""
    found = [_colours(photograph) for photograph in photographs]
    apart = np.array([[np.abs(a - b).mean() for b in found] for a in found])
    return int(apart.sum(1).argmin())


def _colours(photograph: np.ndarray) -> np.ndarray:
    """Each of L, a and b (CIE) in order, float32 [N, 3]: two pictures' mean difference is their distance. Of
    the middle alone, which is what edits show most of."""
    height, width = photograph.shape[:2]
    middle = photograph[height // 4 : height - height // 4, width // 4 : width - width // 4]
    small = cv2.resize(middle, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.sort(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3), axis=0)
