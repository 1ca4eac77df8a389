"""`kind: photograph`: each style's own photograph, laid on what the mask shows without diffusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from simedit.digests import digest
from simedit.eval import library
from simedit.eval.editors import EditorKind
from simedit.protocols import Editor
from simedit.training.painted import USUAL


class Photograph(EditorKind):
    """What there is to be had without diffusion: see `simedit.photograph.PhotographEditor`.

    Attributes:
        library: folder of the specialists whose photographs are taken, as for `kind: specialists`; of their
            weights nothing is read.
        light: whether the photograph lies in the frame's own light, which the lab's base learned to imitate.
        usual: how bright a frame is, 0..1, where that light leaves a photograph as it is.
        composition: "mask", for there is nothing to lay a photograph on without one.
    """

    kind: Literal["photograph"]
    incidental: ClassVar[frozenset[str]] = frozenset({"library", "seeds"})
    needs_mask: ClassVar[bool] = True
    library: str = "tiny"
    light: bool = True
    usual: float = Field(default=USUAL, gt=0, le=1)
    composition: Literal["mask"] = "mask"

    def folders(self, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
        return library.folders_of(self.library, styles, scratch)

    def problems(self, styles: Sequence[str]) -> list[str]:
        return library.problems_of(self.library, styles, recipes=False)

    def fingerprints(self, folders: Mapping[str, Path]) -> dict[str, str]:
        from simedit.specialist import style_image

        files = {style: style_image(folder)[1] for style, folder in folders.items()}
        found = {f"specialists.{style}": digest(file.parent, [file]) for style, file in files.items()}
        return found | {"base": "none"}

    def load(self, folders: Mapping[str, Path]) -> Editor:
        from simedit.photograph import PhotographEditor

        return PhotographEditor.load(list(folders.values()), light=self.light, usual=self.usual)
