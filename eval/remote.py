"""Workers and editors of one machine, each in a process of its own."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from simedit.arrays import joined
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, TimeoutConfig
from simedit.eval.process import Process
from simedit.eval.rollout import EditorDied, EnvironmentDied
from simedit.eval.worker import Elsewhere, Worker, build, build_editor
from simedit.locks import locked
from simedit.masks import together
from simedit.protocols import Editor

_NETWORKS, _NEW = "simedit-networks-", 60.0
"""How the folders of shared networks are called; seconds in which one is new."""


@contextmanager
def local_workers(
    study: StudyConfig, specialists: Mapping[str, Path], count: int
) -> Iterator[list[RemoteWorker]]:
    """Workers on this machine, each a process of its own even if it is the only one: it may hang, or crash
    and take all with it. On a GPU they share an editor; on the CPU one would keep the others waiting.

    Args:
        specialists: the folder of each style's; none where nothing is edited.
        count: how many.
    """
    import torch

    editor = shared = None
    if specialists and torch.cuda.is_available():
        make = functools.partial(build_editor, study, specialists)
        editor = RemoteEditor(make, study.timeouts, list(specialists))
        shared = SharedEditor(editor)
    with _networks() as networks:
        make = functools.partial(build, study, specialists, networks=networks)
        workers = [RemoteWorker(make, study.timeouts, shared) for _ in range(count)]
        try:
            yield workers
        finally:
            for each in [*workers, editor]:
                if each is not None:
                    each.close()


@contextmanager
def _networks() -> Iterator[Path]:
    """A folder in which workers share the networks that they converted. What killed drivers left goes."""
    for left in Path(tempfile.gettempdir()).glob(f"{_NETWORKS}*"):
        with suppress(SimeditError, OSError):
            if time.time() - left.stat().st_mtime > _NEW:  # else its driver may be about to lock it
                with locked(left, "simedit-eval"):
                    shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_NETWORKS) as folder, locked(Path(folder), "simedit-eval"):
        yield Path(folder)


class RemoteWorker(Elsewhere):
    """A `simedit.eval.worker.Worker` in a process of its own, which begins when it is first needed and anew
    after it was closed.

    Args:
        make: gives the worker there, as `simedit.eval.worker.build` does; it is pickled.
        timeouts: of the study.
        editor: serves its edits from here; None if it has one of its own.
    """

    def __init__(
        self, make: Callable[..., Worker], timeouts: TimeoutConfig, editor: Editor | None = None
    ) -> None:
        self._make, self._timeouts, self._editor = make, timeouts, editor
        self._process: Process | None = None

    def prepare(self, wanted: Callable[[], bool]) -> bool:
        if self._process is None:
            self._process = Process(self._make, self._timeouts, self._editor)
        return True

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def _call(self, name: str, *args: Any) -> Any:
        self.prepare(lambda: True)
        assert self._process is not None
        return _alive(self._process, name, *args)


class RemoteEditor:
    """An `Editor` in a process of its own, which begins anew after it died. For one thread at a time.

    Args:
        make: gives the editor there; it is pickled, and called with `tell`.
        styles: of the editor.
    """

    def __init__(self, make: Callable[..., Editor], timeouts: TimeoutConfig, styles: Sequence[str]) -> None:
        self._make, self._timeouts, self.styles = make, timeouts, tuple(styles)
        self._process: Process | None = None

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """See `simedit.protocols.Editor.edit`.

        Raises:
            EditorDied: its process died, or was killed for being silent.
        """
        if self._process is None:
            self._process = Process(self._make, self._timeouts)
        try:
            return _alive(self._process, "edit", frames, styles=styles, masks=masks, seeds=seeds)
        except EnvironmentDied as died:
            self.close()
            raise EditorDied(f"the editor: {died}") from died

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


def _alive(process: Process, name: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return process.call(name, *args, **kwargs)
    except (RuntimeError, TimeoutError) as error:
        raise EnvironmentDied(str(error)) from error


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
        """See `simedit.protocols.Editor.edit`. All threads' frames have one size, and all or none a mask, of
        the same regions."""
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
                masks=together([part["masks"] for part in parts]),
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
