"""What runs on a machine of a cluster: an object in a Ray actor, and a killer of those that fall silent."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.exceptions

from simedit.arrays import as_numpy
from simedit.digests import digest
from simedit.errors import SimeditError, told
from simedit.eval.config import StudyConfig, TimeoutConfig
from simedit.eval.fingerprints import base_files, played_with
from simedit.eval.placement import visible_gpu
from simedit.eval.process import guard, sendable
from simedit.eval.remote import SharedEditor
from simedit.eval.rollout import EditorDied
from simedit.eval.worker import Tell, Worker, build, build_editor
from simedit.masks import mapped
from simedit.protocols import Editor

Files = dict[str, bytes]
"""A folder's files by their paths in it; of one file, under ""."""


@dataclass(frozen=True)
class Kit:
    """What an actor needs of the driver's machine.

    Attributes:
        study: with the driver's paths.
        weights: by what they are, their path there and a digest: "base", "specialists/STYLE",
            "policies/NAME/SETTING".
        folder: the working directory.
        path: where Python looks for modules of the user's own.
    """

    study: StudyConfig
    weights: Mapping[str, tuple[str, str]]
    folder: str
    path: Sequence[str]

    def at(self, places: Mapping[str, str]) -> tuple[StudyConfig, dict[str, Path]]:
        """The study, and its specialists, with the paths that weights have here."""
        study, specialists = self.study, {}
        policies = dict(study.policies)
        for what, place in places.items():
            kind, *names = what.split("/", 2)
            if kind == "specialists":
                specialists[names[0]] = Path(place)
            elif kind == "base":
                study = study.model_copy(update={"editor": study.editor.model_copy(update={"base": place})})
            else:
                policies[names[0]] = policies[names[0]].model_copy(update={names[1]: place})
        return study.model_copy(update={"policies": policies}), specialists


class Seat:
    """Holds an object in an actor, and says in what phase its work is while it works.

    Args:
        number: of the seat; those without a share of a GPU take turns at what GPUs there are.
        sees_all: whether it sees all GPUs of its machine.
    """

    def __init__(self, number: int, sees_all: bool) -> None:
        self._phase: tuple[str, float, str] | None = None
        self._since = time.monotonic()
        self._owned: Any = None
        self._places: dict[str, str] = {}
        self._guard = guard()
        if sees_all:
            gpu = visible_gpu(number, os.environ.get("CUDA_VISIBLE_DEVICES"), _gpus_here())
            if gpu is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu

    def begin(self, kit: Kit) -> tuple[str, int, dict[str, str], list[str]]:
        """Its machine, its process, what plays there, and which weights its machine has not."""
        with suppress(OSError):
            os.chdir(kit.folder)
        sys.path.extend(each for each in kit.path if each not in sys.path)
        self._kit = kit
        lacking = []
        for what, (path, known) in kit.weights.items():
            if fingerprint(what, Path(path)) == known:
                self._places[what] = path
            elif fingerprint(what, kept := _kept(known)) == known:  # the folder may be anybody's
                self._places[what] = str(kept)
            else:
                lacking.append(what)
        return ray.get_runtime_context().get_node_id(), os.getpid(), played_with(), lacking

    def unpack(self, what: str, files: Files) -> None:
        """Keep weights on this machine, for all actors there."""
        known = self._kit.weights[what][1]
        kept = _kept(known)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (kept.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if fingerprint(what, kept) != known:
                if kept.is_dir():
                    shutil.rmtree(kept)
                draft = Path(tempfile.mkdtemp(dir=kept.parent)) / "draft"
                for name, content in files.items():
                    place = draft / name if name else draft
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(content)
                draft.replace(kept)
                draft.parent.rmdir()
        self._places[what] = str(kept)

    def sit(self, make: Callable[..., Any], **settings: Any) -> None:
        """Make the object: `make(kit's study, specialists, tell=..., **settings)`."""
        study, specialists = self._kit.at(self._places)
        self._owned = make(study, specialists, tell=self._tell, **settings)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        """ "answer" and what the object's method returns, or "error" and what it raised."""
        try:
            return "answer", getattr(self._owned, name)(*args, **kwargs)
        except BaseException as error:
            return "error", sendable(error)
        finally:
            self._phase = None

    @ray.method(concurrency_group="watch")
    def phase(self) -> tuple[float, tuple[str, float, str] | None]:
        """Seconds that the last phase of the call has lasted, and what was told of it; None before one."""
        return time.monotonic() - self._since, self._phase

    def _tell(self, phase: str, seconds: float, setting: str) -> None:
        self._phase, self._since = (phase, seconds, setting), time.monotonic()


_remote: Any = ray.remote  # its types know no actors
SeatActor = _remote(concurrency_groups={"watch": 1})(Seat)


def files_of(what: str, path: Path) -> list[Path]:
    """The files of weights: of a base not what others may add to its folder."""
    if path.is_file():
        return [path]
    if what != "base":
        return sorted(file for file in path.rglob("*") if file.is_file())
    return base_files(path)


def fingerprint(what: str, path: Path) -> str:
    """A digest of weights; "" where there are none."""
    if not path.exists():
        return ""
    return digest(path, None if path.is_file() else files_of(what, path))


class RayEditor:
    """An `Editor` in an actor that many share; an edit that comes too late is `EditorDied`.

    Args:
        actor: the seat of the editor.
        styles: of the editor.
        tell: hears that an edit begins.
    """

    def __init__(self, actor: Any, styles: Sequence[str], timeouts: TimeoutConfig, tell: Tell) -> None:
        self._actor, self.styles, self._timeouts, self._tell = actor, tuple(styles), timeouts, tell
        self._known: set[str] = set()

    def edit(self, frames: Any, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]) -> Any:
        """See `simedit.protocols.Editor.edit`."""
        setting = "edit" if self._known.issuperset(styles) else "first_frame"
        seconds = max(self._timeouts.edit, getattr(self._timeouts, setting))
        # This process is in order while it waits: the editor shall be found silent, and not it.
        self._tell("edit", 2 * seconds, setting)
        masks = mapped(as_numpy, masks)
        asked = self._actor.call.remote("edit", as_numpy(frames), styles=styles, masks=masks, seeds=seeds)
        try:
            kind, value = ray.get(asked, timeout=seconds)
        except ray.exceptions.GetTimeoutError:
            raise EditorDied(f"the editor: no edit within {seconds:g} s (timeouts.{setting})") from None
        except ray.exceptions.RayError as error:
            raise EditorDied(f"the editor: {told(error)}") from error
        if kind == "error":
            raise value if isinstance(value, SimeditError) else EditorDied(f"the editor: {value}")
        self._known.update(styles)
        # What lies in the object store cannot be written to.
        return frames.new_tensor(value) if hasattr(frames, "new_tensor") else np.array(value)


def rollout_of(
    study: StudyConfig, specialists: Mapping[str, Path], *, tell: Tell, editor: Any = None
) -> Worker:
    """A worker; with the actor of an editor it asks that one."""
    asked = editor and RayEditor(editor, study.styles, study.timeouts, tell)
    return build(study, specialists, tell=tell, editor=asked)


def editor_of(study: StudyConfig, specialists: Mapping[str, Path], *, tell: Tell) -> Editor:
    """An editor that batches what many ask for at once."""
    return SharedEditor(build_editor(study, specialists, tell=tell))


@ray.remote(num_cpus=0)
def kill(pid: int) -> None:
    """Kill an actor's process with its group. Where it is gone, its guard sees to what it began."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::"):
            os.killpg(pid, signal.SIGKILL)


def _kept(known: str) -> Path:
    return Path(tempfile.gettempdir()) / f"simedit-{os.getuid()}" / known


def _gpus_here() -> int:
    here = ray.get_runtime_context().get_node_id()
    return sum(int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["NodeID"] == here)
