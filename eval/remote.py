"""Many environments at once: each in a process of its own, with an editor of its own or one for all."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.errors import SimeditError
from simedit.protocols import DrawerState, Editor


class RemoteEnv(gym.Env):
    """A drawer environment in a process of its own. What it returns holds NumPy arrays in place of tensors.

    If it raises, or its process dies, that is an exception here.

    Args:
        make: builds it there; it is pickled.

    Raises:
        SimeditError: it refused its settings.
    """

    def __init__(self, make: Callable[[], gym.Env]) -> None:
        context = get_context("spawn")  # Vulkan does not survive a fork
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()
        self.observation_space, self.action_space = self._answer()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        return self._ask("reset", seed=seed, options=options)

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self._ask("step", action)

    def privileged_state(self) -> DrawerState:
        return self._ask("privileged_state")

    @property
    def instruction(self) -> str:
        return self._ask("instruction")

    @property
    def edit_segmentation_ids(self) -> Sequence[int]:
        return self._ask("edit_segmentation_ids")

    @property
    def style(self) -> str:
        """The style of the frames to come, where that environment is a `simedit.wrapper.EditObservation`."""
        return self._ask("style")

    @style.setter
    def style(self, style: str) -> None:
        self._ask("style", style)

    def close(self) -> None:
        # Killed: a renderer that hangs would not hear anything gentler, and nothing of it is kept.
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        with contextlib.suppress(OSError):  # that its process is gone, the answer says
            self._pipe.send((name, args, kwargs))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"the environment's process ended with exit code {code}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


class SharedEditor:
    """An `Editor` for several threads: what is asked while it works makes up its next batch.

    Args:
        editor: used by one thread at a time.
    """

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._waiting: SimpleQueue[tuple[dict[str, Any], Future[np.ndarray]]] = SimpleQueue()
        self._busy = threading.Lock()

    @property
    def styles(self) -> tuple[str, ...]:
        return self._editor.styles

    def edit(
        self,
        frames: np.ndarray,
        *,
        styles: Sequence[str],
        masks: np.ndarray | None = None,
        seeds: Sequence[int],
    ) -> np.ndarray:
        """See `simedit.protocols.Editor.edit`. All threads' frames have one size, and all or none a mask."""
        future: Future[np.ndarray] = Future()
        asked = {"frames": frames, "styles": styles, "masks": masks, "seeds": seeds}
        self._waiting.put((asked, future))
        with self._busy:
            if not future.done():
                self._edit([self._waiting.get() for _ in range(self._waiting.qsize())])
        return future.result()

    def _edit(self, batch: list[tuple[dict[str, Any], Future[np.ndarray]]]) -> None:
        parts = [asked for asked, _ in batch]
        try:
            edits = self._editor.edit(
                np.concatenate([part["frames"] for part in parts]),
                styles=[style for part in parts for style in part["styles"]],
                masks=None
                if parts[0]["masks"] is None
                else np.concatenate([part["masks"] for part in parts]),
                seeds=[seed for part in parts for seed in part["seeds"]],
            )
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for asked, future in batch:
            edit, edits = np.split(edits, [len(asked["frames"])])
            future.set_result(edit)


def _serve(pipe: Connection, make: Callable[[], gym.Env]) -> None:
    """Own an environment and answer for it, until the asker is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the asker too, who decides
    try:
        env = make()
        pipe.send((env.observation_space, env.action_space))
        while True:
            name, args, kwargs = pipe.recv()
            found: Any = env if name in ("reset", "step", "style") else env.unwrapped
            if name == "style" and args:
                (found.style,) = args
            value = getattr(found, name)
            pipe.send(_plain(value(*args, **kwargs) if callable(value) else value))
    except EOFError:
        pass
    except SimeditError as error:
        pipe.send(error)
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))  # the error's own class may not pickle


def _plain(value: Any) -> Any:
    """Without torch tensors, which would pass from process to process by way of shared files."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.cpu().numpy() if hasattr(value, "cpu") else value
