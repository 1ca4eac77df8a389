"""Inputs, their edits by several editors and their masks, matched by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simedit.errors import SimeditError
from simedit.images import images_in, masks_beside, read_image, read_mask
from simedit.metrics import Scene


@dataclass(frozen=True)
class Case:
    """An input and its edits, as files.

    Attributes:
        name: of the input, without its suffix, relative to the folder.
        edits: by editor.
        mask: None without masks.
    """

    name: str
    input: Path
    edits: Mapping[str, Path]
    mask: Path | None

    def read(
        self, styles: Sequence[np.ndarray] = (), prompt: str = "", source: str = ""
    ) -> tuple[Scene, np.ndarray]:
        """The scene, and the edits, uint8 [G, H, W, 3], in the editors' order.

        Raises:
            SimeditError: a file that cannot be read, an edit or a mask of another size than its input, or an
                empty mask.
        """
        frame = read_image(self.input)
        mask = None if self.mask is None else read_mask(self.mask)
        edits = {path: read_image(path) for path in self.edits.values()}
        for path, found in (*edits.items(), *([] if mask is None else [(self.mask, mask)])):
            if found.shape[:2] != frame.shape[:2]:
                raise SimeditError(f"{path} is {_size(found)}, and {self.input} is {_size(frame)}")
        scene = Scene(frame, mask, styles, prompt, source)
        return scene, np.stack([frame, *(edits[path] for path in self.edits.values())])[1:]


def matched(inputs: Path, edits: Mapping[str, Path], masks: Path | None) -> list[Case]:
    """Match files by their path without its suffix.

    Args:
        inputs: a folder of images.
        edits: from an editor's name to the folder of its edits.
        masks: a folder of masks, one an input.

    Raises:
        SimeditError: a folder without images, an input without an edit or a mask, an edit of no input, or two
            files of one name.
    """
    names = images_in(inputs)
    by_stem = _by_stem(inputs, names)
    found = {editor: _by_stem(folder, images_in(folder)) for editor, folder in edits.items()}
    for editor, there in found.items():
        if missing := [str(by_stem[stem]) for stem in by_stem if stem not in there]:
            raise SimeditError(f"{edits[editor]} has no edit of {_some(missing)}: each input needs one")
        if extra := [str(there[stem]) for stem in there if stem not in by_stem]:
            raise SimeditError(f"{_some(extra)} is no edit of any input: {inputs} has none of that name")
    paths = [None] * len(names) if masks is None else masks_beside(inputs, names, masks)
    return [
        Case(str(stem), by_stem[stem], {editor: there[stem] for editor, there in found.items()}, mask)
        for stem, mask in zip(by_stem, paths, strict=True)
    ]


def _by_stem(folder: Path, names: Sequence[Path]) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for name in names:
        if (other := found.setdefault(name.with_suffix(""), folder / name)) != folder / name:
            raise SimeditError(f"{other} and {folder / name} have one name: remove one")
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
