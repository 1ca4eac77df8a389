"""The one error type a user is meant to read, and its nearest-match helper."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import select
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from typing import Any

_LISTED = 50
"""How many choices an error lists."""

_LONGEST = 1000


class SimeditError(Exception):
    """A mistake the user can mend. Command lines print its message alone, without a traceback."""


def unknown(kind: str, name: object, known: Iterable[object]) -> SimeditError:
    """An error for a `name` that is not among the `known` ones, naming the nearest match and the choices.

    >>> print(unknown("style", "gld", ["gold", "wood"]))
    unknown style 'gld': did you mean 'gold'? (known: gold, wood)
    """
    choices = sorted(shortened(k) for k in known)
    said = shortened(name)
    near = difflib.get_close_matches(said, choices, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    more = f" and {len(choices) - _LISTED} more" if len(choices) > _LISTED else ""
    listed = ", ".join(choices[:_LISTED]) or "none"
    return SimeditError(f"unknown {kind} {said!r}{hint} (known: {shortened(listed, 1000)}{more})")


def shortened(value: object, most: int = 100) -> str:
    """`value` as text of at most `most` characters and three dots, for messages about what others wrote."""
    try:
        text = str(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a huge number"
    return text if len(text) <= most else f"{text[:most]}..."


_MACHINE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}
"""What the machine refuses whatever the program does; other errors of the system are bugs until explained."""


def told(error: BaseException) -> str:
    """Another's error in one string: its kind and its message, cut where that is long.

    >>> told(ValueError("no such thing"))
    'ValueError: no such thing'
    """
    text = "".join(traceback.format_exception_only(error)).strip()  # its own str may raise
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def raised_at(error: BaseException) -> str:
    """ " (own_policy.py, line 12)": the last line that an error came through of code that is neither an
    installed package's nor simedit's; "" where there is none."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
        theirs = "site-packages" in file or file.startswith((sysconfig.get_path("stdlib"), "<frozen"))
        if not theirs and not module.startswith("simedit."):
            found = f" ({os.path.basename(file)}, line {line})"
    return found


def run_cli(command: Callable[[], object]) -> int:
    """Run a command line's work and give its exit code.

    Returns:
        0; 2 after a SimeditError, whose message alone goes to stderr, or where the machine gives no memory,
        disk or permission; 130 after Ctrl-C; 141, in silence, once nothing reads the output any more.
    """
    # Before torch loads: its idle threads spin by default, and a small edit takes up to 50 times as long as
    # soon as anything else wants the same cores. If they slept at once, many small operations in a row would
    # take half as long again: each would wait for them to wake.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")  # names may hold what the terminal cannot show
    try:
        try:
            command()
        finally:
            _flush()
    except SimeditError as error:
        return _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich explains it so
            return _give_up_output(141)
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and (_deserted(sys.stdout) or _deserted(sys.stderr)):
            return _give_up_output(141)
        if (reason := _refused(error)) is None:
            raise
        return _say(f"error: {reason}", 2)
    return 0


def _flush() -> None:
    """Write out what was printed: at the interpreter's end nobody could explain why it fails."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            _give_up_output(2)
            raise SimeditError(f"cannot write the output: {error.strerror}") from error


def _refused(error: Exception) -> str | None:
    """Why the machine did not let the work go on; None where the fault may be the program's."""
    if isinstance(error, OSError) and error.errno in _MACHINE:
        at = "cannot go on" if error.filename is None else f"cannot use {error.filename}"
        return f"{at}: {error.strerror}"
    from simedit.memory import ran_out  # here, for it imports this

    if ran_out(error):
        reason = f" ({shortened(str(error).splitlines()[0], 200)})" if str(error) else ""
        return f"out of memory{reason}: smaller frames and batches need less"
    return None


def _say(message: str, code: int) -> int:
    printable = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in message)
    with contextlib.suppress(OSError):
        print(printable, file=sys.stderr, flush=True)
    return code


def _deserted(stream: Any) -> bool:
    """Whether nothing reads the pipe that a stream writes to."""
    try:
        watched = select.poll()
        watched.register(stream.fileno(), 0)
        return bool(watched.poll(0))
    except (AttributeError, OSError, ValueError):  # no stream, or one that is no file
        return False


def _give_up_output(code: int) -> int:
    """What is still to be written goes nowhere, or the interpreter would complain at its end."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            if _deserted(stream) or stream is sys.stdout:
                os.dup2(nowhere, stream.fileno())
    return code
