"""ffmpeg as a process: started, heard, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import IO

from simedit.errors import SimeditError

_HEARD = 300
"""Lines of what ffmpeg says that are kept."""


def input_of(path: Path) -> list[str]:
    # file: keeps a name with a colon or a dash in front from being read as something else. V: pictures that
    # move, not a cover.
    return ["-nostdin", "-xerror", "-i", f"file:{path}", "-map", "0:V:0"]


@contextlib.contextmanager
def running(
    arguments: list[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], list[str]]]:
    """ffmpeg at work, and what it says on stderr. After the end it has ended, and all was heard."""
    from imageio_ffmpeg import get_ffmpeg_exe  # who reads no video can do without it

    try:
        process = subprocess.Popen(
            [get_ffmpeg_exe(), "-hide_banner", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            # A session of its own: Ctrl-C is for this process, which ends ffmpeg when it is ready. Signals as
            # here: ffmpeg is to say that a file may not grow, not to die of it.
            start_new_session=True,
            restore_signals=False,
            env={**os.environ, "SVT_LOG": "1"},  # of SVT-AV1 only errors are wanted
        )
    except (OSError, RuntimeError) as error:
        raise SimeditError(f"cannot run ffmpeg, which reads and writes videos: {error}") from error
    said: list[str] = []
    listener = Thread(target=_listen, args=(process.stderr, said), daemon=True)
    listener.start()
    try:
        yield process, said
        _close(process.stdin)
        process.wait()
    finally:
        process.kill()
        _close(process.stdin)
        process.wait()
        listener.join()
        for stream in (process.stdout, process.stderr):
            _close(stream)


def _listen(stream: IO[bytes], said: list[str]) -> None:
    for raw in stream:
        if len(said) < _HEARD:
            said.append(raw.decode(errors="replace"))


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(BrokenPipeError):  # what it had not taken is not wanted
            stream.close()


def reason(lines: Iterable[str]) -> str:
    """The first thing that ffmpeg complained of, without where in ffmpeg."""
    return next((re.sub(r"\[[^\]]*\] ", "", line).strip().rstrip(".") for line in lines), "")
