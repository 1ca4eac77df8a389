"""The driver's side of a study on Ray: actors that are watched, killed and replaced."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from simedit.errors import SimeditError, told
from simedit.eval import seat
from simedit.eval.config import Resources, StudyConfig
from simedit.eval.rollout import EditorDied, EnvironmentDied
from simedit.eval.worker import Elsewhere

POLL_S = 1.0
"""How often a working actor is asked in what phase it is."""
SILENCE_S = 60.0
"""So long at least may one be busy in code that does not even let it say in what phase it is."""
_SAY_AFTER_S = 20.0
_QUESTIONS_AT_ONCE = 1000


class Cluster:
    """What all actors share: their kit, weights in the object store, and a list of those to be killed."""

    def __init__(
        self,
        study: StudyConfig,
        specialists: Mapping[str, Path],
        played: Callable[[dict[str, str]], None],
    ) -> None:
        self.study = study
        weights = {what: str(path.absolute()) for what, path in _weights(study, specialists).items()}
        self.paths = weights
        self.kit = seat.Kit(
            study,
            {what: (path, seat.fingerprint(what, Path(path))) for what, path in weights.items()},
            os.getcwd(),
            [os.path.abspath(each) for each in sys.path],
        )
        self.kept = ray.put(self.kit)
        self._files: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._actors: set[_Actor] = set()
        self._played, self._known = played, []

    def files(self, what: str) -> Any:
        """A reference to the files of weights, which go to each machine once."""
        with self._lock:
            if what not in self._files:
                path = Path(self.paths[what])
                self._files[what] = ray.put(
                    {
                        file.relative_to(path).as_posix() if path.is_dir() else "": file.read_bytes()
                        for file in seat.files_of(what, path)
                    }
                )
            return self._files[what]

    def began(self, actor: _Actor, played: dict[str, str]) -> None:
        with self._lock:
            self._actors.add(actor)
            if played not in self._known:
                self._known.append(played)
                self._played(played)

    def ended(self, actor: _Actor) -> None:
        with self._lock:
            self._actors.discard(actor)

    def close(self) -> None:
        for actor in list(self._actors):
            actor.kill()


def _weights(study: StudyConfig, specialists: Mapping[str, Path]) -> dict[str, Path]:
    """The paths of weights, by what they are: see `simedit.eval.seat.Kit`."""
    found = {f"specialists/{style}": path for style, path in specialists.items()}
    if specialists and (base := study.editor.base_of(specialists)) and Path(base).is_dir():
        found["base"] = Path(base)
    for name, policy in study.policies.items():
        for setting in policy.weights:
            value = getattr(policy, setting)
            if value is not None and Path(value).exists():
                found[f"policies/{name}/{setting}"] = Path(value)
    return found


class _Actor:
    """An object in an actor, watched while it works."""

    def __init__(self, cluster: Cluster, takes: Resources, number: int, *, questions: int = 1) -> None:
        self._cluster, self._timeouts = cluster, cluster.study.timeouts
        self.handle: Any = seat.SeatActor.options(
            num_cpus=takes.cpu,
            num_gpus=takes.gpu,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=questions,
        ).remote(number, takes.gpu == 0)
        self._place = ("", 0)

    def place(self, wanted: Callable[[], bool], make: Callable[..., Any], **settings: Any) -> bool:
        """Wait for room, and make the object. False if it was not wanted any more."""
        begun = self.handle.begin.remote(self._cluster.kept)
        since, said = time.monotonic(), False
        try:
            while not ray.wait([begun], timeout=POLL_S)[0]:
                if not wanted():
                    self.kill()
                    return False
                if not said and time.monotonic() - since > _SAY_AFTER_S:
                    said = True
                    print("waiting for room on the cluster", file=sys.stderr)
            node, pid, played, lacking = ray.get(begun)
            self._place = (node, pid)
            self._cluster.began(self, played)
            rest = [self.handle.unpack.remote(what, self._cluster.files(what)) for what in lacking]
            ray.get([*rest, self.handle.sit.remote(make, **settings)], timeout=self._timeouts.first_frame)
        except ray.exceptions.RayError as error:
            self.kill()
            cause = getattr(error, "cause", error)
            if isinstance(cause, SimeditError):
                raise SimeditError(str(cause)) from error
            raise EnvironmentDied(f"its actor died: {told(cause)}") from error
        return True

    def call(self, name: str, *args: Any) -> Any:
        """What the object's method returns.

        Raises:
            EnvironmentDied: the actor died, or was killed for a phase took too long.
            SimeditError: it did.
        """
        asked, news = self.handle.call.remote(name, *args), self.handle.phase.remote()
        phase, left = ("start", self._timeouts.first_frame, "first_frame"), self._timeouts.first_frame
        silence, longest_silence = 0.0, max(self._timeouts.step, SILENCE_S)
        try:
            # Pieces are counted, for while this process is stopped at most one passes.
            while not ray.wait([asked], timeout=POLL_S)[0]:
                left, silence = left - POLL_S, silence + POLL_S
                if ray.wait([news], timeout=0)[0]:
                    (lasted, told_of), news = ray.get(news), self.handle.phase.remote()
                    silence = 0.0
                    if told_of is not None:  # this may be heard before the call is
                        phase, left = told_of, told_of[1] - lasted
                if left < 0 or silence > longest_silence:
                    self.kill()
                    seconds, setting = phase[1:] if left < 0 else (longest_silence, "step")
                    what = f"end of {phase[0]}" if left < 0 else "sign of life"
                    raise EnvironmentDied(
                        f"no {what} within {seconds:g} s (timeouts.{setting}): its process was killed"
                    )
            kind, value = ray.get(asked)
        except ray.exceptions.RayError as error:
            raise EnvironmentDied(f"its actor died: {told(error)}") from error
        if kind == "error":
            raise value if isinstance(value, (EnvironmentDied, SimeditError)) else EnvironmentDied(str(value))
        return value

    def kill(self) -> None:
        """End the actor's process and its children. One that is stopped would not hear Ray."""
        self._cluster.ended(self)
        node, pid = self._place
        with suppress(Exception):  # its machine may be gone
            ray.kill(self.handle)
            if node:
                there = NodeAffinitySchedulingStrategy(node, soft=False)
                ray.get(seat.kill.options(scheduling_strategy=there).remote(pid), timeout=10)


class ActorEditor:
    """An editor's actor, replaced when it died."""

    def __init__(self, cluster: Cluster, takes: Resources, number: int) -> None:
        self._cluster, self._takes, self._number = cluster, takes, number
        self._lock = threading.Lock()
        self._actor: _Actor | None = None

    def actor(self, wanted: Callable[[], bool]) -> _Actor | None:
        """The one that lives; None if it is not wanted any more."""
        with self._lock:
            if self._actor is None:
                actor = _Actor(self._cluster, self._takes, self._number, questions=_QUESTIONS_AT_ONCE)
                if not actor.place(wanted, seat.editor_of):
                    return None
                self._actor = actor
            return self._actor

    def died(self, actor: _Actor) -> None:
        with self._lock:
            if self._actor is actor:
                actor.kill()
                self._actor = None


class RayWorker(Elsewhere):
    """A `simedit.eval.worker.Worker` in an actor, made anew after it was closed."""

    def __init__(self, cluster: Cluster, number: int, editor: ActorEditor | None) -> None:
        self._cluster, self._number, self._shared = cluster, number, editor
        self._actor: _Actor | None = None
        self._editor: _Actor | None = None

    def prepare(self, wanted: Callable[[], bool]) -> bool:
        if self._actor is not None:
            return True
        settings: dict[str, Any] = {}
        if self._shared is not None:
            self._editor = self._shared.actor(wanted)
            if self._editor is None:
                return False
            settings["editor"] = self._editor.handle
        actor = _Actor(self._cluster, self._cluster.study.resources.rollout, self._number)
        if not actor.place(wanted, seat.rollout_of, **settings):
            return False
        self._actor = actor
        return True

    def close(self) -> None:
        actor, self._actor = self._actor, None
        if actor is not None:
            actor.kill()

    def _call(self, name: str, *args: Any) -> Any:
        assert self._actor is not None, "prepare comes first"
        try:
            return self._actor.call(name, *args)
        except EditorDied:
            assert self._shared is not None
            assert self._editor is not None
            self._shared.died(self._editor)
            raise
