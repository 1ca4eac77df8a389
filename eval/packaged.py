"""What of the lab ships with the package, by the names that a study's config has for it."""

from __future__ import annotations

from pathlib import Path

from simedit.packaged import lab_data, library_folder

__all__ = ["lab_data", "library_folder", "policy_folder"]


def policy_folder(checkpoint: str) -> Path:
    """The folder of a cloned policy: "lab:NAME" is one of the lab's.

    Raises:
        SimeditError: "lab:NAME", and it is not in the package.
    """
    if checkpoint.startswith("lab:"):
        return lab_data(f"policies/{checkpoint.removeprefix('lab:')}")
    return Path(checkpoint)
