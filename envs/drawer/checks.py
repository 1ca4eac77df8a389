"""What the drawer environments refuse before anything changes: sizes, options and actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simedit.errors import SimeditError, unknown

LONGEST_SIDE = 8192
"""Of a frame, pixels: drivers allow little more, and memory less."""


def check_sizes(width: Any, height: Any, samples_per_pixel: Any) -> None:
    """Refuse a frame that cannot be rendered.

    Raises:
        SimeditError: no whole numbers, or too small or too large.
    """
    for name, value, most in (
        ("width", width, LONGEST_SIDE),
        ("height", height, LONGEST_SIDE),
        ("samples_per_pixel", samples_per_pixel, 2**16),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
            raise SimeditError(f"{name} must be a whole number, at least 1 and at most {most}, not {value!r}")


def check_options(options: Any, known: Sequence[str]) -> None:
    """Refuse reset options that would be overlooked.

    Raises:
        SimeditError: no dict, or an unknown key.
    """
    if not isinstance(options, Mapping | None):
        raise SimeditError(f"options must be a dict or None, not {options!r}")
    for key in options or ():
        if key not in known:
            raise unknown("reset option", key, known)


def check_action(action: Any) -> np.ndarray:
    """The action, float32 [7].

    Raises:
        SimeditError: it is not seven finite numbers.
    """
    try:
        # What is too large for float32 becomes infinite, and is refused as that.
        with np.errstate(over="ignore"):
            found = np.asarray(action.cpu() if hasattr(action, "cpu") else action, np.float32)
    except (TypeError, ValueError):
        raise SimeditError(f"an action is seven finite numbers, not {action!r}") from None
    if found.size != 7 or not np.isfinite(found).all():
        raise SimeditError(f"an action is seven finite numbers, not {found.tolist()}")
    return found.reshape(7)
