"""Photographs laid on frames without diffusion: what a specialist's edits are to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simedit.arrays import as_numpy
from simedit.composition import check, compose
from simedit.errors import SimeditError, shortened, unknown
from simedit.masks import mask_of
from simedit.packaged import library_folder
from simedit.training.data import fit
from simedit.training.painted import USUAL, frame_shading, paint


class PhotographEditor:
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
        """Read the style images that specialists' cards name; none of their weights.

        Args:
            paths: a specialist's folder, a folder of them, or several of either; "lab" is the lab's.
            light, usual: as the class's.

        Raises:
            SimeditError: no specialist there, a broken one, or two of one style.
        """
        from simedit.specialist import read_picture, specialists_in, style_image

        found: dict[str, np.ndarray] = {}
        for root in [paths] if isinstance(paths, str | Path) else paths:
            for folder in specialists_in(library_folder(root)):
                style, file = style_image(folder)
                if style in found:
                    raise SimeditError(f"two specialists of style {style!r}: leave out {folder}")
                try:
                    found[style] = read_picture(file)
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    raise SimeditError(f"cannot read {file}, copy it anew: {shortened(error)}") from error
        return cls(found, light=light, usual=usual)

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._photographs)

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """Lay each frame's photograph on it: see `simedit.protocols.Editor.edit`.

        Raises:
            SimeditError: no masks, or none without a region, an unknown style, another number of styles, or a
                wrong shape or dtype.
        """
        if masks is None:
            raise SimeditError(
                "a photograph is laid on what a mask shows, and there is none: give the wrapper a mask and "
                'composition "mask"'
            )
        arrays, shown = as_numpy(frames), as_numpy(mask_of(masks, "", next(iter(styles), "")))
        check(arrays, shown)
        if len(styles) != len(arrays):
            raise SimeditError(f"{len(arrays)} frames need as many styles, got {len(styles)}")
        edits = [
            self._laid(frame, mask, style) for frame, mask, style in zip(arrays, shown, styles, strict=True)
        ]
        found = compose(arrays, np.stack(edits), shown) if edits else arrays.copy()
        return frames.new_tensor(found) if hasattr(frames, "new_tensor") else found

    def _laid(self, frame: np.ndarray, mask: np.ndarray, style: str) -> np.ndarray:
        if style not in self._photographs:
            raise unknown("style", style, self._photographs)
        height, width = frame.shape[:2]
        key = style, height, width
        if key not in self._fitted:
            self._fitted[key] = fit(self._photographs[style], width, height)
        photograph = self._fitted[key]
        if self._light:
            return paint(frame, mask, photograph, frame_shading(frame, self._usual))
        return np.where(mask[..., None], photograph, frame)
