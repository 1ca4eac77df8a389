"""One writer for a folder: a lock that the system frees however its process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simedit.errors import SimeditError


@contextmanager
def locked(folder: Path, command: str, *, option: str = "--out") -> Iterator[None]:
    """Inside, this process alone writes to `folder`, which is made if need be. Readers are not kept out.

    Args:
        command: what holds such locks, for the error: "simedit-eval".
        option: the option that names another folder, for the error.

    Raises:
        SimeditError: another process holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise SimeditError(f"cannot write to {folder}: {error.strerror}. Choose another {option}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 20).decode(errors="replace") or "unknown"
            raise SimeditError(
                f"another {command} (process {owner}) writes to {folder}: "
                f"wait for it, or use another {option}"
            ) from None
        except OSError as error:  # some network file systems have none
            raise SimeditError(f"cannot lock {folder}: {error.strerror}. Choose another {option}") from error
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:  # a full disk
            raise SimeditError(f"cannot write to {folder}: {error.strerror}") from error
        yield
    finally:
        os.close(descriptor)
