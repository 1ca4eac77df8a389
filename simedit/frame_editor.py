"""An editor that repaints one frame at a time, so that no edit depends on what else is in its batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from simedit.arrays import as_numpy
from simedit.composition import check, compose
from simedit.errors import SimeditError, unknown
from simedit.masks import mask_of


class FrameEditor(ABC):
    """An `Editor` (see simedit.protocols) that knows how to repaint one frame."""

    @property
    @abstractmethod
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""

    @abstractmethod
    def repaint(self, frame: np.ndarray, mask: np.ndarray, style: str, seed: int) -> np.ndarray:
        """The edit of one frame; what it shows outside the mask is dropped.

        Args:
            frame: uint8 [H, W, 3], RGB.
            mask: bool [H, W], True somewhere: everywhere where the whole edit shows.

        Returns:
            uint8 [H, W, 3].
        """

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """See `simedit.protocols.Editor.edit`. A frame whose mask is empty comes back as it is.

        Raises:
            SimeditError: an unknown style, masks by region and none without one, another number of styles or
                seeds, or a wrong shape or dtype.
        """
        arrays, given = as_numpy(frames), mask_of(masks, "", next(iter(styles), ""))
        shown = np.ones(arrays.shape[:3], bool) if given is None else as_numpy(given)
        check(arrays, shown)
        if not len(styles) == len(seeds) == len(arrays):
            raise SimeditError(
                f"{len(arrays)} frames need as many styles and seeds, got {len(styles)} and {len(seeds)}"
            )
        for style in styles:
            if style not in self.styles:
                raise unknown("style", style, self.styles)
        edits = [
            self.repaint(frame, mask, style, seed) if mask.any() else frame
            for frame, mask, style, seed in zip(arrays, shown, styles, seeds, strict=True)
        ]
        found = compose(arrays, np.stack(edits), shown) if edits else arrays.copy()
        return frames.new_tensor(found) if hasattr(frames, "new_tensor") else found
