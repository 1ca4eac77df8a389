"""Names that become files: a style's, a specialist's, a policy's."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from simedit.errors import SimeditError

LONGEST = 100
"""Bytes of a name in UTF-8: file systems take 255, and suffixes are added to it."""


def check_name(name: str, kind: str = "name") -> str:
    """The name itself, if it can stand as one plain component of a path, in any folder and on any system.

    Args:
        kind: what it names, for the error.

    Raises:
        SimeditError: it is empty or longer than `LONGEST` bytes, begins with a dot, begins or ends with a
            space, or holds a slash or what cannot be printed.
    """
    if not name or name != name.strip():
        problem = "must not be empty, nor begin or end with a space"
    elif name.startswith("."):
        problem = "must not begin with a dot"
    elif "/" in name:
        problem = "must not hold a slash: it names one file or folder, and is no path"
    elif not name.isprintable():
        problem = "must hold letters, digits and signs that can be printed"
    elif (length := len(name.encode())) > LONGEST:
        problem = f"must be at most {LONGEST} bytes long, not {length}"
    else:
        return name
    shown = name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
    raise SimeditError(f"the {kind} {shown!r} {problem}")


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except SimeditError as error:
        raise ValueError(str(error)) from None


Name = Annotated[str, AfterValidator(_checked)]
"""The type of a config's field that holds such a name."""
