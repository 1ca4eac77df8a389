"""Specialists where folders could be: their edits of the inputs, and their style images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.eval.scoring.pictures import Case
from simedit.images import images_in, read_image
from simedit.library import SpecialistLibrary
from simedit.packaged import CARD, specialist_folder
from simedit.pipeline import silence_loading
from simedit.progress import counting
from simedit.specialist import Specialist


def style_pictures(given: str | None, specialists: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Style images, uint8 [h, w, 3] each; none where none are given.

    Args:
        given: a folder of photographs, or a specialist.
        specialists: where nothing is given, the one of these has them.

    Raises:
        SimeditError: no such folder or specialist, or a recipe, which has none of its own.
    """
    if given is None and len(specialists) != 1:
        return ()
    if given is not None and Path(given).is_dir() and not (Path(given) / CARD).is_file():
        return tuple(read_image(Path(given) / name) for name in images_in(Path(given)))
    folder = specialist_folder(given or specialists[0])
    if (folder / CARD).is_file():
        return tuple(Specialist.load(folder).style_images)
    if given is None:
        return ()
    raise SimeditError(f"{given} is a recipe and has no style images: give a folder of photographs")


def edited(specialist: str, cases: Sequence[Case], to: Path, *, seed: int, device: str) -> None:
    """Write a specialist's edits of the inputs, as PNG under the inputs' names, in place of earlier ones.

    Args:
        cases: the inputs and their masks.
        to: the folder.
        seed: of the noise, the same for every input.

    Raises:
        SimeditError: no such specialist, one that cannot be loaded, or a file that cannot be written.
    """
    if to.is_dir():
        shutil.rmtree(to)  # of other inputs
    silence_loading()
    library = SpecialistLibrary.load(specialist_folder(specialist), device=device)
    (style,) = library.styles
    with counting(specialist, len(cases)) as show:
        for i, case in enumerate(cases):
            scene, _ = case.read()
            masks = None if scene.mask is None else scene.mask[None]
            edit = library.edit(scene.input[None], styles=[style], masks=masks, seeds=[seed])[0]
            with whole(to / f"{case.name}.png") as draft:
                Image.fromarray(edit).save(draft)
            show(i + 1)
