"""Objects in processes of their own, which are killed when they fall silent."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from simedit.arrays import as_numpy
from simedit.errors import SimeditError, told
from simedit.eval.config import TimeoutConfig
from simedit.eval.rollout import EditorDied, EnvironmentDied
from simedit.masks import mapped
from simedit.protocols import Editor, PolicyAway, PolicyLost

PROCESS_NAME = "simedit-worker"
"""What `top` shows of such a process, on Linux."""
_GONE_S = 10.0
"""Seconds for a killed process to be gone. One that is stuck in a driver may stay."""
_CARRIED = (EditorDied, EnvironmentDied, PolicyAway, PolicyLost, SimeditError)
"""Errors that are raised here as they were there; all others mean that something died."""
_Phase = tuple[str, float, str]
_GUARD = """
import os, signal, sys, time
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.5)
os.killpg(0, signal.SIGKILL)
"""


class Process:
    """An object in a process of its own, which is made there at the first call.

    The process and all that it began end when `kill` is called, when a call is not answered in time, and with
    this process, however that ends.

    Args:
        make: gives the object; it is pickled. It is called with `tell`, to be called as each phase of the
            work begins, and, with an editor, with `editor`, which edits by that one.
        timeouts: for what comes before the first phase of a call.
        editor: serves edits from here.
    """

    def __init__(
        self, make: Callable[..., Any], timeouts: TimeoutConfig, editor: Editor | None = None
    ) -> None:
        self._editor = editor
        self._begun: _Phase = ("start", timeouts.first_frame, "first_frame")
        self._begun_later: _Phase = ("call", timeouts.step, "step")
        self._killed = False
        self._answers: SimpleQueue[Any] = SimpleQueue()
        self._questions: SimpleQueue[Any] = SimpleQueue()
        context = get_context("spawn")  # Vulkan does not survive a fork
        self._pipe, theirs = context.Pipe()
        styles = None if editor is None else editor.styles
        self._process = context.Process(target=_serve, args=(theirs, make, styles, os.getpid()), daemon=True)
        _STARTER.submit(_start, self._process).result()
        atexit.register(self.kill)
        theirs.close()
        # Threads, for half an answer would hold up whoever reads it, and a question whoever asks one that is
        # stopped.
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._write)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What the object's method returns.

        Raises:
            EnvironmentDied, PolicyAway, PolicyLost, SimeditError: it did.
            RuntimeError: it raised something else, or the process died.
            TimeoutError: it was killed, for a phase took too long. Time in which this process is stopped does
                not count.
        """
        self._questions.put((name, args, kwargs))
        phase: _Phase = self._begun
        self._begun = self._begun_later
        while True:
            kind, value = self._next(*phase)
            if kind == "phase":
                phase = value
            elif kind == "edit":
                assert self._editor is not None
                self._questions.put(self._editor.edit(**value))
            elif kind == "error":
                raise value
            else:
                return value

    def kill(self) -> None:
        """End the process and its children; not asked gently, for a renderer that hangs would not hear."""
        atexit.unregister(self.kill)
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it may not be a group yet
                os.killpg(self.pid, signal.SIGKILL)
            self._process.kill()
        self._questions.put(None)
        for ending in (self._process, *self._threads):
            ending.join(_GONE_S)
        self._pipe.close()

    def _next(self, phase: str, seconds: float, setting: str) -> tuple[str, Any]:
        left = seconds
        # In short pieces: while this process is stopped, by Ctrl-Z or a closed lid, at most one passes.
        while left > 0:
            try:
                message = self._answers.get(timeout=min(1.0, left))
            except Empty:
                left -= 1.0
                continue
            if message is not None:
                return message
            self._answers.put(None)  # for whoever asks again
            self._process.join(_GONE_S)
            raise RuntimeError(f"its process ended with exit code {self._process.exitcode}")
        self.kill()
        raise TimeoutError(
            f"no end of {phase} within {seconds:g} s (timeouts.{setting}): its process was killed"
        )

    def _read(self) -> None:
        try:
            while True:
                self._answers.put(self._pipe.recv())
        except (EOFError, OSError):
            pass
        except Exception as error:
            self._answers.put(("error", RuntimeError(f"its answer cannot be read: {told(error)}")))
        self._answers.put(None)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # that its process is gone, the answer says
            while (message := self._questions.get()) is not None:
                self._pipe.send(message)


def _start(process: BaseProcess) -> None:
    """Start a process that never hears Ctrl-C."""
    resource_tracker.ensure_running()  # it begins a process, too, and would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STARTER = ThreadPoolExecutor(1, "starter")
"""Starts all processes, for on Linux they end with the thread that did, and other threads end early."""


class _Asking:
    """An `Editor` that asks the process at the other end of a pipe."""

    def __init__(self, pipe: Connection, styles: tuple[str, ...]) -> None:
        self._pipe, self.styles = pipe, styles

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        asked = {"frames": as_numpy(frames), "styles": styles, "seeds": seeds}
        self._pipe.send(("edit", asked | {"masks": mapped(as_numpy, masks)}))
        edits = self._pipe.recv()
        return frames.new_tensor(edits) if hasattr(frames, "new_tensor") else edits


def _serve(pipe: Connection, make: Callable[..., Any], styles: tuple[str, ...] | None, parent: int) -> None:
    """Own an object and answer for it, until the asker is gone."""
    guarded = _end_with(parent)
    settings: dict[str, Any] = {"tell": lambda *phase: pipe.send(("phase", phase))}
    if styles is not None:
        settings["editor"] = _Asking(pipe, styles)
    owned: Any = None
    while guarded:
        try:
            name, args, kwargs = pipe.recv()
            try:
                owned = make(**settings) if owned is None else owned
                # Here, so that what cannot be sent is this call's error.
                message = ForkingPickler.dumps(("answer", getattr(owned, name)(*args, **kwargs)))
            except BaseException as error:
                message = ForkingPickler.dumps(("error", sendable(error)))
            pipe.send_bytes(message)
        except (EOFError, OSError):
            return


def sendable(error: BaseException) -> Exception:
    """The error, as one of a class that surely pickles."""
    for kind in _CARRIED:
        if isinstance(error, kind):
            return kind(str(error))
    return RuntimeError(told(error))


def _end_with(parent: int) -> subprocess.Popen:
    """Have this process end when its parent does, also in the midst of a call, or stopped."""
    multiprocessing.current_process()._config["daemon"] = False  # pyright: ignore  # policies may have children
    if sys.platform == "linux":
        set_death_signal, set_name = 1, 15  # PR_SET_PDEATHSIG, PR_SET_NAME
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        ctypes.CDLL(None).prctl(set_name, PROCESS_NAME.encode())
        with contextlib.suppress(OSError):  # where memory runs out, a trial is lost and not the run
            Path("/proc/self/oom_score_adj").write_text("500")

    def watch() -> None:  # elsewhere, and for a parent that was gone before
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    return guard()


def guard() -> subprocess.Popen:
    """Have all that this process begins end with it."""
    if os.getpgid(0) != os.getpid():
        os.setpgid(0, 0)
    command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)
