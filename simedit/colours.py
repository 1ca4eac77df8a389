"""Colours of a style image given to frames, without weights: what diffusion is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from simedit.errors import unknown
from simedit.frame_editor import FrameEditor
from simedit.style_pictures import style_pictures

_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_OPPONENT = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
_BLACK = 1 / 255
"""What a black pixel is taken for: of 0 there is no logarithm."""


def match_histograms(pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Each channel's values moved so that as many lie below each as in the other pixels.

    Gonzalez and Woods, Digital Image Processing, 3.3.2; the same values as
    `skimage.exposure.match_histograms`.

    Args:
        pixels: uint8 [N, 3].
        wanted: uint8 [M, 3].

    Returns:
        float64 [N, 3] in 0..255.
    """
    found = np.empty(pixels.shape)
    for channel in range(3):
        counts, goal = (np.bincount(of[:, channel], minlength=256) for of in (pixels, wanted))
        values = goal.nonzero()[0]
        moved = np.interp(
            counts.cumsum() / counts.sum(), goal.cumsum()[values] / goal.sum(), values.astype(float)
        )
        found[:, channel] = moved[pixels[:, channel]]
    return found


def reinhard(pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The other pixels' mean and standard deviation, in the colour space l-alpha-beta.

    Reinhard, Ashikhmin, Gooch and Shirley, Color Transfer between Images, IEEE Computer Graphics and
    Applications 21(5), 2001.

    Args:
        pixels: uint8 [N, 3].
        wanted: uint8 [M, 3].

    Returns:
        float64 [N, 3] in 0..255.
    """
    ours, theirs = (_opponent(of) for of in (pixels, wanted))
    spread = theirs.std(0) / np.maximum(ours.std(0), 1e-6)
    moved = (ours - ours.mean(0)) * spread + theirs.mean(0)
    linear = 10 ** (moved @ np.linalg.inv(_OPPONENT).T)
    return np.clip(linear @ np.linalg.inv(_LMS).T, 0, 1) * 255


def _opponent(pixels: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(pixels / 255, _BLACK) @ _LMS.T) @ _OPPONENT.T


TRANSFERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "histogram": match_histograms,
    "reinhard": reinhard,
}


class ColourEditor(FrameEditor):
    """Gives what the mask shows the colours of each style's image; texture and light stay the frame's.

    Seeds change nothing.

    Args:
        pictures: from style to its image, uint8 [H, W, 3], all of whose pixels count.
        transfer: one of `TRANSFERS`.

    Raises:
        SimeditError: an unknown transfer.
    """

    def __init__(self, pictures: Mapping[str, np.ndarray], *, transfer: str) -> None:
        if transfer not in TRANSFERS:
            raise unknown("transfer", transfer, TRANSFERS)
        self._wanted = {style: picture.reshape(-1, 3) for style, picture in pictures.items()}
        self._transfer = TRANSFERS[transfer]

    @classmethod
    def load(cls, paths: str | Path | Sequence[str | Path], *, transfer: str) -> ColourEditor:
        """Read style images: see `simedit.style_pictures.picture_files`.

        Raises:
            SimeditError: as `simedit.style_pictures.style_pictures`, or an unknown transfer.
        """
        return cls(style_pictures(paths), transfer=transfer)

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._wanted)

    def repaint(self, frame: np.ndarray, mask: np.ndarray, style: str, seed: int) -> np.ndarray:
        edit = frame.copy()
        edit[mask] = np.rint(self._transfer(frame[mask], self._wanted[style]))
        return edit
