"""Which specialists a library folder holds, learned from their cards alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from simedit.config import load_json
from simedit.errors import SimeditError, unknown
from simedit.packaged import library_folder
from simedit.settings import DEFAULT_BASE


def find_specialists(root: Path, styles: Sequence[str]) -> dict[str, Path]:
    """The folder of each style's specialist, in `root` or one level below, hidden folders aside.

    Raises:
        SimeditError: names every style that has none, or one that has several.
    """
    below = [path for path in sorted(root.glob("*/card.json")) if not path.parent.name.startswith(".")]
    found: dict[str, dict[Path, Path]] = {}
    for card in [*root.glob("card.json"), *below]:
        # A link to a folder beside it is no other specialist.
        found.setdefault(str(_card(card.parent).get("style")), {})[card.parent.resolve()] = card.parent
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
    """The folder of each style's specialist in a library that a study names.

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


def problems_of(library: str, styles: Sequence[str]) -> list[str]:
    """Why a study's library has no specialist of each style, if that is so."""
    try:
        if library != "tiny":
            find_specialists(library_folder(library), styles)
    except SimeditError as error:
        return [str(error)]
    return []


def base_of(folders: Iterable[Path]) -> str:
    """The base that specialists name: a hub id, or an absolute path.

    Raises:
        SimeditError: none, or different ones.
    """
    bases = set()
    for folder in folders:
        base = str(_card(folder).get("base", DEFAULT_BASE))
        bases.add(str((folder / base).resolve()) if base.startswith(".") else base)
    if len(bases) != 1:
        raise SimeditError(
            f"a study has one base, but these specialists name {sorted(bases)}: give editor.base"
        )
    return bases.pop()


def is_untrained(folder: Path) -> bool:
    """Whether a specialist's card has no record of a training."""
    return _card(folder).get("training") is None


def _card(folder: Path) -> dict[str, Any]:
    return load_json(folder / "card.json")
