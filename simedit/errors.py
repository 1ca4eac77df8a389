"""The one error type a user is meant to read, and its nearest-match helper."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterable

_LONGEST = 1000


class SimeditError(Exception):
    """A mistake the user can mend. Command lines print its message alone, without a traceback."""


def unknown(kind: str, name: object, known: Iterable[object]) -> SimeditError:
    """An error for a `name` that is not among the `known` ones, naming the nearest match and the choices.

    >>> print(unknown("style", "gld", ["gold", "wood"]))
    unknown style 'gld': did you mean 'gold'? (known: gold, wood)
    """
    choices = sorted(str(k) for k in known)
    near = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return SimeditError(f"unknown {kind} {str(name)!r}{hint} (known: {', '.join(choices) or 'none'})")


def told(error: BaseException) -> str:
    """Another's error in one string: its kind and its message, cut where that is long.

    >>> told(ValueError("no such thing"))
    'ValueError: no such thing'
    """
    text = "".join(traceback.format_exception_only(error)).strip()  # its own str may raise
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def run_cli(command: Callable[[], object]) -> int:
    """Run a command line's work and give its exit code.

    Returns:
        0; 2 after a SimeditError, whose message alone goes to stderr; 130 after Ctrl-C.
    """
    # Before torch loads: its idle threads spin by default, and a small edit takes up to 50 times as long as
    # soon as anything else wants the same cores. If they slept at once, many small operations in a row would
    # take half as long again: each would wait for them to wake.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        command()
    except SimeditError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0
