"""Which specialists a library folder holds, learned from their cards alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simedit.errors import SimeditError, unknown


def find_specialists(root: Path, styles: Sequence[str]) -> dict[str, Path]:
    """The folder of each style's specialist, in `root` or one level below.

    Raises:
        SimeditError: names every style that has none.
    """
    cards = [*root.glob("card.json"), *root.glob("*/card.json")]
    found = {str(_card(card.parent).get("style")): card.parent for card in sorted(cards)}
    missing = [style for style in styles if style not in found]
    if missing and not found:
        raise SimeditError(f"no specialists in {root.absolute()} (wanted: {', '.join(missing)})")
    if missing:
        raise SimeditError(f"library {root}: " + "; ".join(str(unknown("style", s, found)) for s in missing))
    return {style: found[style] for style in styles}


def is_untrained(folder: Path) -> bool:
    """Whether a specialist's card has no record of a training."""
    return _card(folder).get("training") is None


def _card(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimeditError(f"cannot read the specialist's card in {folder}: {error}") from error
