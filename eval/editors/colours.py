"""`kind: colours`: what the mask shows gets the colours of each style's image, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from simedit.eval.editors import OfPictures
from simedit.protocols import Editor


class Colours(OfPictures):
    """Colour transfer: see `simedit.colours.ColourEditor`.

    Attributes:
        transfer: "histogram" (histogram matching) or "reinhard" (mean and standard deviation, Reinhard 2001).
    """

    kind: Literal["colours"]
    transfer: Literal["histogram", "reinhard"]

    def load(self, folders: Mapping[str, Path], device: str | None = None) -> Editor:
        from simedit.colours import ColourEditor

        return ColourEditor(self.images(folders), transfer=self.transfer)
