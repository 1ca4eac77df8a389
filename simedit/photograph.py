"""Photographs laid on frames without diffusion: what a specialist's edits are to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simedit.errors import SimeditError
from simedit.frame_editor import FrameEditor
from simedit.style_pictures import style_pictures
from simedit.training.data import fit
from simedit.training.painted import USUAL, frame_shading, paint


class PhotographEditor(FrameEditor):
    """Lays each style's own photograph on what the mask shows: an `Editor` (see simedit.protocols).

    The photograph covers the frame, cut at the centre, as a base of the lab sees it; what it shows in the
    mask is the edit. In the frame's own light that is what the lab's base and its specialists' warm starts
    were trained to make (`simedit.training.painted.paint`): what they do better, or worse, than this is the
    diffusion's share. Seeds change nothing.

    Args:
        photographs: from style to its photograph, uint8 [H, W, 3].
        light: darker and brighter where the frame is; else the photograph as it is, flat.
        usual: how bright a frame is, 0..1, where that light leaves a photograph as it is, such as
            `simedit.training.painted.usual_brightness`. The default is for the twin with its primitive skin.
    """

    def __init__(
        self, photographs: Mapping[str, np.ndarray], *, light: bool = True, usual: float = USUAL
    ) -> None:
        self._photographs, self._light, self._usual = dict(photographs), light, usual
        self._fitted: dict[tuple[str, int, int], np.ndarray] = {}

    @classmethod
    def load(
        cls, paths: str | Path | Sequence[str | Path], *, light: bool = True, usual: float = USUAL
    ) -> PhotographEditor:
        """Read style images: see `simedit.style_pictures.picture_files`.

        Args:
            light, usual: as the class's.

        Raises:
            SimeditError: as `simedit.style_pictures.style_pictures`.
        """
        return cls(style_pictures(paths), light=light, usual=usual)

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._photographs)

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """Lay each frame's photograph on it: see `simedit.protocols.Editor.edit`.

        Raises:
            SimeditError: no masks, or as `simedit.frame_editor.FrameEditor.edit`.
        """
        if masks is None:
            raise SimeditError(
                "a photograph is laid on what a mask shows, and there is none: give the wrapper a mask and "
                'composition "mask"'
            )
        return super().edit(frames, styles=styles, masks=masks, seeds=seeds)

    def repaint(self, frame: np.ndarray, mask: np.ndarray, style: str, seed: int) -> np.ndarray:
        height, width = frame.shape[:2]
        key = style, height, width
        if key not in self._fitted:
            self._fitted[key] = fit(self._photographs[style], width, height)
        photograph = self._fitted[key]
        if self._light:
            return paint(frame, mask, photograph, frame_shading(frame, self._usual))
        return np.where(mask[..., None], photograph, frame)
