"""JSON files that hold one object: a card, a model's config, an index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simedit.errors import SimeditError

LARGEST = 1 << 24
"""Bytes: a file of settings is far smaller, and to read one of gigabytes would fill the memory."""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        SimeditError: no such file, not JSON, no object, a key given twice, or larger than `LARGEST`.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise SimeditError(f"{path} is larger than {LARGEST >> 20} MB: it is no file of settings")
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except OSError as error:
        raise SimeditError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SimeditError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise SimeditError(f"{path} must hold an object of settings, not {type(data).__name__}")
    return data


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} is given twice")
    return found
