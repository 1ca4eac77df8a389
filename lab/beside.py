"""Work that goes on beside this process's own, in a process of its own, and how they share the cores.

Two threads make a small network's training hardly twice as fast: two trainings side by side, with one each,
waste less.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from simedit.errors import SimeditError

Tell = Callable[..., None]
"""Called with what one side has to say, which must pickle."""

_other_works: Callable[[], bool] | None = None


def cores() -> int:
    """How many cores this process may use: half, while work goes on beside; 1 at least."""
    every = os.cpu_count() or 1
    return max(1, every // 2) if _other_works is not None and _other_works() else every


def take_cores() -> None:
    """Have torch use `cores()` threads from now on. Where nothing ever went on beside, it keeps its own."""
    import torch

    if _other_works is not None and torch.get_num_threads() != cores():
        torch.set_num_threads(cores())


@contextmanager
def beside(work: Callable[[Tell], None], tell: Tell, log: Path) -> Iterator[None]:
    """Have `work` done in a process of its own while the body goes on, and wait for its end.

    If one side fails, the other is interrupted as by Ctrl-C. The process ends with this one, however it ends.

    Args:
        work: is pickled; what it tells is told here, in another thread.
        tell: hears it.
        log: what it prints is appended to it.

    Raises:
        SimeditError: as `work` did, or it died.
    """
    global _other_works
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    body_over, work_over = context.Event(), threading.Event()
    log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_work, args=(theirs, body_over, work, log))
    # Ctrl-C is this process's to hear, from the other's first moment on: it inherits the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    failures: list[SimeditError] = []

    def listen() -> None:
        with suppress(EOFError):
            while True:
                said = ours.recv()
                if isinstance(said, SimeditError):
                    failures.append(said)
                else:
                    tell(*said)
        process.join()
        work_over.set()
        if process.exitcode and not failures:
            failures.append(SimeditError(f"work beside ended with exit code {process.exitcode}: see {log}"))
        if failures and not body_over.is_set():
            # A signal, for what waits does not hear `_thread.interrupt_main`.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    _other_works = lambda: not work_over.is_set()  # noqa: E731
    try:
        yield
        body_over.set()
        listener.join()
    except BaseException:
        if not failures:
            raise
    finally:
        body_over.set()
        if not work_over.is_set():
            with suppress(ProcessLookupError):
                os.kill(process.pid or 0, signal.SIGTERM)
        listener.join()
        _other_works = None
    if failures:
        raise failures[0]


def _work(pipe: Connection, asker_over: Event, work: Callable[[Tell], None], log: Path) -> None:
    global _other_works
    with log.open("a", encoding="utf-8") as file:
        for stream in (1, 2):  # not Python's alone: those of the processes that are begun here, too
            os.dup2(file.fileno(), stream)
    # Ctrl-C reaches the asker too, who then says it: twice would interrupt what is done at the end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _other_works = lambda: not asker_over.is_set()  # noqa: E731

    def tell(*said: Any) -> None:
        pipe.send(said)

    try:
        work(tell)
    except SimeditError as error:
        pipe.send(SimeditError(str(error)))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
