"""The mask of a command's --mask: an image, or a function of each frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simedit import factories
from simedit.digests import digest
from simedit.errors import SimeditError, raised_at, told
from simedit.images import read_mask


class GivenMask:
    """Where frames may change.

    Args:
        given: an image's file, white where the edit may show, or "package.module:callable": called with a
            frame, uint8 [H, W, 3], it gives bool [H, W].

    Raises:
        SimeditError: no such image or callable, or `read_mask` refuses the image.
    """

    def __init__(self, given: str):
        self.given = given
        self._image = self._find = None
        if ":" in given and not Path(given).exists():
            try:
                factories.check_name(given)
            except ValueError as error:
                raise SimeditError(
                    f"--mask {given}: there is no such image, and a function {error}"
                ) from None
            self._find = factories.find(given)
        else:
            self._image = read_mask(Path(given))

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the frames that it is for; None for those of any size."""
        return None if self._image is None else (self._image.shape[0], self._image.shape[1])

    def digest(self) -> str:
        """A fingerprint of the image, or of the callable's module."""
        if self._find is None:
            return digest(Path(self.given))
        return factories.sources(self.given.partition(":")[0])

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """bool [N, H, W] for uint8 [N, H, W, 3].

        Raises:
            SimeditError: the function raised, or gave something else.
        """
        if self._find is None:
            assert self._image is not None
            return np.broadcast_to(self._image, frames.shape[:3])
        return np.stack([self._found(frame) for frame in frames])

    def _found(self, frame: np.ndarray) -> np.ndarray:
        assert self._find is not None
        try:
            mask = np.asarray(self._find(frame.copy()))
        except (KeyboardInterrupt, SimeditError):
            raise
        except BaseException as error:  # it may call sys.exit
            raise SimeditError(f"{self.given} raised {told(error)}{raised_at(error)}") from error
        if mask.dtype != bool or mask.shape != frame.shape[:2]:
            raise SimeditError(
                f"{self.given} must give bool {list(frame.shape[:2])} for a frame, "
                f"but gave {mask.dtype} {list(mask.shape)}"
            )
        return mask
