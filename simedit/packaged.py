"""What of the lab ships with the package, by name: its policies, its specialists, its real rates."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from simedit.errors import SimeditError, unknown
from simedit.names import check_name


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
    """The folder of a specialist library: "lab" is the lab's.

    Raises:
        SimeditError: "lab", and it is not in the package.
    """
    return lab_data("specialists") if library == "lab" else Path(library)


def specialist_folder(specialist: str) -> Path:
    """The folder of a specialist: "lab:NAME" is one of the lab's.

    Raises:
        SimeditError: "lab:NAME", and it is no name, or not in the package.
    """
    return _shipped(specialist, "specialists", "specialist's name")


def policy_folder(checkpoint: str) -> Path:
    """The folder of a cloned policy: "lab:NAME" is one of the lab's.

    Raises:
        SimeditError: "lab:NAME", and it is no name, or not in the package.
    """
    return _shipped(checkpoint, "policies", "policy")


def _shipped(name: str, kind: str, what: str) -> Path:
    if name.startswith("lab:"):
        return lab_data(f"{kind}/{check_name(name.removeprefix('lab:'), what)}")
    return Path(name)
