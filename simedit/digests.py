"""Fingerprints of files: what a result depends on, in a few characters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from simedit.errors import SimeditError

_CHUNK = 1 << 20


def digest(path: Path, files: Iterable[Path] | None = None) -> str:
    """16 hex digits that change with the name or content of any file in a folder, or with a file's content.

    Args:
        path: a folder, of which files at any depth count, or one file.
        files: of the folder, in place of all in it.

    Raises:
        SimeditError: there is no such file or folder, or it cannot be read.
    """
    found = hashlib.sha256()
    try:
        if path.is_file():
            _add(found, path)
        elif not path.is_dir():
            raise SimeditError(f"there is no {path}")
        else:
            for file in sorted(p for p in (path.rglob("*") if files is None else files) if p.is_file()):
                found.update(file.relative_to(path).as_posix().encode())
                _add(found, file)
    except OSError as error:
        raise SimeditError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return found.hexdigest()[:16]


def _add(found: hashlib._Hash, file: Path) -> None:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
