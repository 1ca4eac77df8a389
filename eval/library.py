"""Which specialists and recipes a library folder holds, learned from their cards alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from simedit.config import load_json
from simedit.errors import SimeditError, unknown
from simedit.packaged import CARD, RECIPE, library_folder
from simedit.recipe import looks_for_nouns, read_card, specialists_of
from simedit.settings import DEFAULT_BASE


def find_specialists(root: Path, styles: Sequence[str]) -> dict[str, Path]:
    """The folder of each style's specialist or recipe, `root` or one level below, hidden folders aside.

    Raises:
        SimeditError: names every style that has none, or one that has several.
    """
    found: dict[str, dict[Path, Path]] = {}
    for folder in _folders(root):
        recipe = (folder / RECIPE).is_file()
        name = read_card(folder).name if recipe else str(_card(folder).get("style"))
        # A link to a folder beside it is no other specialist.
        found.setdefault(name, {})[folder.resolve()] = folder
    missing = [style for style in styles if style not in found]
    if missing and not found:
        raise SimeditError(f"no specialists in {root.absolute()} (wanted: {', '.join(missing)})")
    if missing:
        raise SimeditError(f"library {root}: " + "; ".join(str(unknown("style", s, found)) for s in missing))
    for style in styles:
        if len(found[style]) > 1:
            names = ", ".join(str(folder) for folder in found[style].values())
            raise SimeditError(
                f"library {root} has several specialists of style {style!r} ({names}): keep one there"
            )
    return {style: next(iter(found[style].values())) for style in styles}


def folders_of(library: str, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
    """The folder of each style's specialist or recipe in a library that a study names.

    Args:
        library: a folder, "lab", or "tiny", which is made in the folder `scratch`.

    Raises:
        SimeditError: as `find_specialists`.
    """
    if library == "tiny":
        from simedit.pipeline import silence_loading
        from simedit.tiny import make_tiny_library

        silence_loading()
        return find_specialists(make_tiny_library(scratch / "tiny_library", styles), styles)
    return find_specialists(library_folder(library), styles)


def known(library: str, styles: Sequence[str]) -> dict[str, Path]:
    """As `folders_of`, without those of "tiny", which are made first, and are specialists.

    Raises:
        SimeditError: as `find_specialists`.
    """
    return {} if library == "tiny" else find_specialists(library_folder(library), styles)


def problems_of(library: str, styles: Sequence[str], *, recipes: bool = True) -> list[str]:
    """Why a study's library has no specialist of each style, or recipe where those will do."""
    try:
        found = known(library, styles)
    except SimeditError as error:
        return [str(error)]
    names = [style for style, folder in found.items() if not recipes and (folder / RECIPE).is_file()]
    return [f"{name!r} is a recipe, which only editor.kind: specialists takes" for name in names]


def models_of(folder: Path) -> dict[str, Path]:
    """The folders of the models that look for a recipe's nouns, by what they are. Those that go by a hub id
    are taken to stay what they are.

    Raises:
        SimeditError: a broken card.
    """
    if not looks_for_nouns(folder):
        return {}
    finders = read_card(folder).regions
    models = {"detector": Path(finders.detector), "segmenter": Path(finders.segmenter)}
    return {what: path for what, path in models.items() if path.is_dir()}


def base_of(folders: Iterable[Path]) -> str:
    """The base that specialists and recipes name: a hub id, or an absolute path.

    Raises:
        SimeditError: none, or different ones.
    """
    bases = set()
    for folder in (one for each in folders for one in specialists_of(each)):
        base = str(_card(folder).get("base", DEFAULT_BASE))
        bases.add(str((folder / base).resolve()) if base.startswith(".") else base)
    if len(bases) != 1:
        raise SimeditError(
            f"a study has one base, but these specialists name {sorted(bases)}: give editor.base"
        )
    return bases.pop()


def is_untrained(folder: Path) -> bool:
    """Whether the card of a specialist, or of one in a recipe, has no record of a training."""
    return any(_card(one).get("training") is None for one in specialists_of(folder))


def _folders(root: Path) -> list[Path]:
    """Those of specialists and recipes; what is inside a recipe is its own."""
    if (root / RECIPE).is_file():
        return [root]
    below = {card.parent for name in (CARD, RECIPE) for card in root.glob(f"*/{name}")}
    found = sorted(folder for folder in below if not folder.name.startswith("."))
    return [root, *found] if (root / CARD).is_file() else found


def _card(folder: Path) -> dict[str, Any]:
    return load_json(folder / CARD)
