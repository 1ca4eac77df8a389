"""What goes by a name: configs that ship, the lab's policies, specialists and real rates, and one's own
specialists."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from simedit.errors import SimeditError, unknown
from simedit.names import check_name

CONFIGS = {
    "eval": "studies",
    "train": "trainings",
    "styles": "styles of a training",
    "study": "studies of Push-T",
    "editors": "editors",
    "ablations": "ablations of the lab (simedit-lab ablate)",
}
"""The folders of configs that ship, and what is in each."""
SPECIALISTS = Path("specialists")
"""Where one's own specialists are, below the current folder."""
LIBRARIES = {"lab": "specialists", "lab-distilled": "distilled"}
"""The lab's libraries of specialists, and their folders: as they were trained, and made faster
(`simedit-train distill`)."""
CARD, RECIPE = "card.json", "recipe.json"
"""What makes a folder a specialist's, or a recipe's."""


def packaged_configs(kind: str) -> dict[str, Path]:
    """The configs of one of CONFIGS by name, sorted."""
    folder = Path(str(resources.files("simedit.configs"))) / kind
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def config_file(kind: str, given: str | Path) -> Path:
    """The file of a config: `given` is its path, or a word that names one of those of that kind that ship.

    Raises:
        SimeditError: a word that names none, with the nearest match.
    """
    path, ours = Path(given), packaged_configs(kind)
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return path
    if path.name not in ours:
        raise SimeditError(f"{unknown('config', path.name, ours)}. A file of your own goes by its path")
    return ours[path.name]


def lab_data(name: str) -> Path:
    """A file or folder of the lab's, for example "specialists" or "policies/best".

    Raises:
        SimeditError: it is not there.
    """
    path = Path(str(resources.files("simedit.lab"))) / "data" / name
    if path.exists():
        return path
    if path.parent.name != "data" and path.parent.is_dir():
        raise unknown("name in the lab", path.name, sorted(entry.name for entry in path.parent.iterdir()))
    raise SimeditError(f"the lab's weights are not in this package (no {name}): run simedit-lab build")


def library_folder(library: str | Path) -> Path:
    """The folder of a specialist library: LIBRARIES has the lab's.

    Raises:
        SimeditError: one of the lab's, and it is not in the package.
    """
    return lab_data(LIBRARIES[str(library)]) if str(library) in LIBRARIES else Path(library)


def specialist_folder(specialist: str) -> Path:
    """The folder of a specialist or a recipe: its path, the name of one in SPECIALISTS, or "lab:NAME" or
    "lab-distilled:NAME", one of the lab's.

    Raises:
        SimeditError: there is none.
    """
    own = _shipped(specialist, LIBRARIES, "specialist's name")
    for folder in (own, SPECIALISTS / specialist):
        if any((folder / card).is_file() for card in (CARD, RECIPE)):
            return folder
    if named := [card.parent.name for name in (CARD, RECIPE) for card in SPECIALISTS.glob(f"*/{name}")]:
        raise unknown("specialist", specialist, named)
    raise SimeditError(
        f"no specialist at {own} or {SPECIALISTS / specialist}: there is no {CARD} or {RECIPE} in it"
    )


def policy_folder(checkpoint: str) -> Path:
    """The folder of a cloned policy: "lab:NAME" is one of the lab's.

    Raises:
        SimeditError: "lab:NAME", and it is no name, or not in the package.
    """
    return _shipped(checkpoint, {"lab": "policies"}, "policy")


def _shipped(given: str, folders: Mapping[str, str], what: str) -> Path:
    lab, colon, name = given.partition(":")
    return lab_data(f"{folders[lab]}/{check_name(name, what)}") if colon and lab in folders else Path(given)
