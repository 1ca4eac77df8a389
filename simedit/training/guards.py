"""What can end a training early: a signal, which is waited for, and too little memory, which is explained."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from simedit.errors import SimeditError
from simedit.memory import ran_out
from simedit.training.config import TrainConfig


@contextlib.contextmanager
def stopping(ask: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C or SIGTERM calls `ask`; a second one does what it always did. In a thread
    other than the main one nothing changes."""

    def handle(_number: int, _frame: Any) -> None:
        restore()
        ask()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def enough_memory(config: TrainConfig) -> Iterator[None]:
    """Inside, running out of the device's or the machine's memory names the settings that need less.

    Raises:
        SimeditError: out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not ran_out(error):
            raise
        reason = (str(error) or "of the machine").splitlines()[0]
        update = config.update
        raise SimeditError(
            f"out of memory ({reason}). These need less: a lower sampling.batch_size "
            f"(now {config.sampling.batch_size}); a lower update.batch_size (now {update.batch_size}) with "
            f"update.accumulation (now {update.accumulation}) raised to match; update.gradient_checkpointing "
            f"(now {update.gradient_checkpointing}) true; precision (now {config.precision}) bf16; a lower "
            f"width and height. Whole steps are saved, and the first three may change when they go on"
        ) from error
