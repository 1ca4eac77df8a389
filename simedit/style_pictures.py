"""The style images of specialists, or of a folder of pictures, for editors that need no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from simedit.errors import SimeditError, shortened
from simedit.images import IMAGES, read_image
from simedit.packaged import CARD, library_folder


def picture_files(paths: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """The style image of each style; of specialists the one that their cards name, none of their weights.

    Args:
        paths: a specialist's folder, a folder of them, one of pictures that are named by their styles
            (gold.png), such a picture, or several of these; "lab" is the lab's specialists.

    Raises:
        SimeditError: nothing of that there, a broken specialist, or two of one style.
    """
    from simedit.specialist import specialists_in, style_image  # here, for it brings torch

    found: dict[str, Path] = {}
    for given in [paths] if isinstance(paths, str | Path) else paths:
        root = library_folder(given)
        pictures = [root] if root.is_file() else pictures_in(root)
        named = [(file.stem, file, file) for file in pictures]
        for style, file, whole in named or [(*style_image(one), one) for one in specialists_in(root)]:
            if style in found:
                kind = "pictures" if named else "specialists"
                raise SimeditError(f"two {kind} of style {style!r}: leave out {whole}")
            found[style] = file
    return found


def style_pictures(paths: str | Path | Sequence[str | Path]) -> dict[str, np.ndarray]:
    """From style to its style image, uint8 [H, W, 3]; see `picture_files`.

    Raises:
        SimeditError: as `picture_files`, or one cannot be read.
    """
    from simedit.specialist import read_picture

    found = {}
    for style, file in picture_files(paths).items():
        try:
            own = (file.parent / CARD).is_file()  # a specialist's are saved as they are to be seen
            found[style] = read_picture(file) if own else read_image(file)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise SimeditError(f"cannot read {file}, copy it anew: {shortened(error)}") from error
    return found


def pictures_in(root: Path) -> list[Path]:
    """A folder's own pictures, sorted, where it is no specialist's and holds none; else none."""
    if not root.is_dir() or (root / CARD).is_file() or any(root.glob(f"*/{CARD}")):
        return []
    return sorted(f for f in root.iterdir() if f.suffix.lower() in IMAGES and not f.name.startswith("."))
