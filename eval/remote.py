"""Many environments at once: each in a process of its own, with an editor of its own or one for all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.arrays import joined
from simedit.errors import SimeditError, told
from simedit.protocols import Editor, Proprioception

START_S = 900.0
"""Seconds for an environment's first answers: shaders are compiled, networks converted."""
CALL_S = 600.0
"""Seconds for every later answer: a window of a new size makes an editor convert its networks anew."""
PROCESS_NAME = "simedit-env"
"""What `top` shows of an environment's process, on Linux."""
_GONE_S = 10.0
"""Seconds for a killed process to be gone. One that is stuck in a driver may stay."""


class RemoteEnv(gym.Env):
    """An environment in a process of its own. What it returns holds NumPy arrays in place of tensors.

    If it raises, or its process dies or does not answer in time, that is an exception here, after which only
    `close` is of use. The process ends with this one, however that ends; on Linux, already with the thread
    that made it.

    Args:
        make: builds it there; it is pickled.
        start: seconds for it to be built, for the first call of each method, and for the first calls after
            a change of style. Time in which this process is stopped does not count.
        call: seconds for every other call. Who misses them is killed.

    Raises:
        SimeditError: it refused its settings.
        TimeoutError: it did not answer.
        RuntimeError: it raised something else, or its process died.
    """

    def __init__(self, make: Callable[[], gym.Env], *, start: float = START_S, call: float = CALL_S) -> None:
        self._start, self._call = start, call
        self._known: set[str] = set()  # what was answered since the start
        self._answers: SimpleQueue[Any] = SimpleQueue()
        context = get_context("spawn")  # Vulkan does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, os.getpid()), daemon=True)
        with _interrupts_wait():
            self._process.start()
        theirs.close()
        # A thread, for an answer of which half arrives would hold up whoever reads it.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.observation_space, self.action_space = self._answer("make", start)
        except BaseException:
            self.close()
            raise

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self._ask("reset", seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._ask("step", action)

    def privileged_state(self) -> Any:
        return self._ask("privileged_state")

    def proprioception(self) -> Proprioception:
        return self._ask("proprioception")

    @property
    def instruction(self) -> str:
        return self._ask("instruction")

    @property
    def edit_segmentation_ids(self) -> Sequence[int]:
        return self._ask("edit_segmentation_ids")

    @property
    def segmentation_id_map(self) -> Mapping[int, Any]:
        """What each id is, by `name`, in ManiSkill's environments."""
        return self._ask("segmentation_id_map")

    @property
    def style(self) -> str:
        """The style of the frames to come, where that environment is a `simedit.wrapper.EditObservation`."""
        return self._ask("style")

    @style.setter
    def style(self, style: str) -> None:
        self._known.clear()
        self._ask("style", style)

    def close(self) -> None:
        # Killed: a renderer that hangs would not hear anything gentler, and nothing of it is kept.
        self._process.kill()
        self._process.join(_GONE_S)
        self._reader.join(_GONE_S)
        self._pipe.close()

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(OSError):  # that its process is gone, the answer says
            self._pipe.send((name, args, kwargs))
        answer = self._answer(name, self._call if name in self._known else self._start)
        self._known.add(name)
        return answer

    def _answer(self, name: str, seconds: float) -> Any:
        try:
            answer = self._wait(seconds)
        except Empty:
            self._process.kill()
            kind = "call" if name in self._known else "start"
            raise TimeoutError(
                f"no answer to {name} within {seconds:g} s (deadlines.{kind}): its process was killed"
            ) from None
        except BaseException:  # the answer that was not awaited must not be taken for the next one
            self._process.kill()
            raise
        if answer is None:
            self._answers.put(None)  # for whoever asks again
            self._process.join(_GONE_S)
            raise RuntimeError(f"the environment's process ended with exit code {self._process.exitcode}")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _wait(self, seconds: float) -> Any:
        # In short pieces: while this process is stopped, by Ctrl-Z or a closed lid, at most one passes.
        while seconds > 0:
            with contextlib.suppress(Empty):
                return self._answers.get(timeout=min(1.0, seconds))
            seconds -= 1.0
        raise Empty

    def _read(self) -> None:
        try:
            while True:
                self._answers.put(self._pipe.recv())
        except (EOFError, OSError):
            pass
        except Exception as error:
            self._answers.put(RuntimeError(f"its answer cannot be read: {told(error)}"))
        self._answers.put(None)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Inside, Ctrl-C waits, and is never heard by a process that begins here."""
    resource_tracker.ensure_running()  # it begins one, too, and would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class SharedEditor:
    """An `Editor` for several threads: what is asked while it works makes up its next batch.

    Args:
        editor: used by one thread at a time.
    """

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._waiting: SimpleQueue[tuple[dict[str, Any], Future[Any]]] = SimpleQueue()
        self._busy = threading.Lock()

    @property
    def styles(self) -> tuple[str, ...]:
        return self._editor.styles

    def edit(
        self,
        frames: Any,
        *,
        styles: Sequence[str],
        masks: Any = None,
        seeds: Sequence[int],
    ) -> Any:
        """See `simedit.protocols.Editor.edit`. All threads' frames have one size, and all or none a mask."""
        future: Future[Any] = Future()
        asked = {"frames": frames, "styles": styles, "masks": masks, "seeds": seeds}
        self._waiting.put((asked, future))
        with self._busy:
            if not future.done():
                self._edit([self._waiting.get() for _ in range(self._waiting.qsize())])
        return future.result()

    def _edit(self, batch: list[tuple[dict[str, Any], Future[Any]]]) -> None:
        parts = [asked for asked, _ in batch]
        try:
            edits = self._editor.edit(
                joined([part["frames"] for part in parts]),
                styles=[style for part in parts for style in part["styles"]],
                masks=None if parts[0]["masks"] is None else joined([part["masks"] for part in parts]),
                seeds=[seed for part in parts for seed in part["seeds"]],
            )
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for asked, future in batch:
            count = len(asked["frames"])
            future.set_result(edits[:count])
            edits = edits[count:]


def _serve(pipe: Connection, make: Callable[[], gym.Env], parent: int) -> None:
    """Own an environment and answer for it, until it raises or the asker is gone."""
    _end_with(parent)
    env: Any = None
    name, args, kwargs = "make", (), {}
    failed = False
    while not failed:
        try:
            if env is None:
                env = make()
                answer: Any = env.observation_space, env.action_space
            else:
                answer = _plain(_called(env, name, args, kwargs))
            message = ForkingPickler.dumps(answer)  # here, so that what cannot be sent is this call's error
        except BaseException as error:
            failed = True
            message = ForkingPickler.dumps(_sendable(error))
        try:
            pipe.send_bytes(message)
            if not failed:
                name, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return


def _called(env: gym.Env, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    found: Any = env if name in ("reset", "step", "style") else env.unwrapped
    if name == "style" and args:
        (found.style,) = args
    if name not in dir(found):
        raise SimeditError(f"this environment, a {type(found).__name__}, has no {name}")
    value = getattr(found, name)
    if name == "segmentation_id_map":  # the things themselves are the simulator's
        return {number: SimpleNamespace(name=thing.name) for number, thing in value.items()}
    return value(*args, **kwargs) if callable(value) else value


def _sendable(error: BaseException) -> Exception:
    """The error, as one of a class that surely pickles."""
    if isinstance(error, SimeditError):
        return SimeditError(str(error))
    return RuntimeError(told(error))


def _end_with(parent: int) -> None:
    """Have this process end when its parent does, also in the midst of a call, or stopped."""
    if sys.platform == "linux":
        set_death_signal, set_name = 1, 15  # PR_SET_PDEATHSIG, PR_SET_NAME
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        ctypes.CDLL(None).prctl(set_name, PROCESS_NAME.encode())

    def watch() -> None:  # elsewhere, and for a parent that was gone before
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _plain(value: Any) -> Any:
    """Without torch tensors, which would pass from process to process by way of shared files."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.cpu().numpy() if hasattr(value, "cpu") else value
