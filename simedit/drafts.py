"""Files that appear whole, under their own name, or not at all, however their writing ends."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from simedit.errors import SimeditError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden name to write to, which becomes `path` at the end, or goes if there is no good end.

    What the end leaves is on the disk, not only in the system's memory. Any number of processes may write to
    one path: each writes beside it, and the last to end stays. A link stays one: what it names is replaced.

    Raises:
        SimeditError: the path cannot be written, or is a folder, a device or the like.
    """
    try:
        real = Path(os.path.realpath(path))
        if real.exists() and not real.is_file():
            raise SimeditError(
                f"cannot write {path}: it is {'a folder' if real.is_dir() else 'no plain file'}"
            )
        real.parent.mkdir(parents=True, exist_ok=True)
        with _draft(real) as draft:
            yield draft
            _sync(draft)
            os.replace(draft, real)
        _sync(real.parent)
    except BrokenPipeError:  # of who reads what is printed meanwhile
        raise
    except OSError as error:
        raise SimeditError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, which none else uses; at the end it is gone."""
    # Neither the name's length nor its bytes matter: a name may be as long as the file system takes.
    prefix = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
    for left in path.parent.glob(f"{prefix}*"):
        _remove_if_left(left)
    draft = path.with_name(f"{prefix}{secrets.token_hex(4)}.partial{path.suffix}")
    with ExitStack() as stack:
        # Before the file is there: an interrupt may come right after its making.
        stack.callback(draft.unlink, missing_ok=True)
        held = os.open(draft, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        stack.callback(os.close, held)
        with suppress(OSError):  # without locks in the file system, what a killed process leaves stays
            fcntl.flock(held, fcntl.LOCK_SH)
        yield draft


def _remove_if_left(draft: Path) -> None:
    """Remove the draft of a process that was killed: none holds its lock."""
    try:
        found = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(found)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
