"""`kind: photograph`: each style's own photograph, laid on what the mask shows without diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from simedit.eval.editors import OfPictures
from simedit.protocols import Editor
from simedit.training.painted import USUAL


class Photograph(OfPictures):
    """What there is to be had without diffusion: see `simedit.photograph.PhotographEditor`.

    Attributes:
        light: whether the photograph lies in the frame's own light, which the lab's base learned to imitate.
        usual: how bright a frame is, 0..1, where that light leaves a photograph as it is.
        composition: "mask", for there is nothing to lay a photograph on without one.
    """

    kind: Literal["photograph"]
    needs_mask: ClassVar[bool] = True
    light: bool = True
    usual: float = Field(default=USUAL, gt=0, le=1)
    composition: Literal["mask"] = "mask"

    def load(self, folders: Mapping[str, Path], device: str | None = None) -> Editor:
        from simedit.photograph import PhotographEditor

        return PhotographEditor(self.images(folders), light=self.light, usual=self.usual)
