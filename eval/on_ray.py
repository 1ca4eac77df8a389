"""Workers and editors on a Ray cluster, of one machine or many."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from simedit import extras
from simedit.errors import SimeditError, told
from simedit.eval.config import Resources, StudyConfig
from simedit.eval.library import base_of
from simedit.eval.placement import plan
from simedit.eval.recording import Recording
from simedit.eval.rollout import EditorDied, EnvironmentDied
from simedit.eval.trials import Result, Trial

_ENVIRONMENT = {
    # An actor without a share of a GPU keeps the variable by which it is given one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # So that Ray, CUDA and the renderer count GPUs in one order.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}
os.environ.update(_ENVIRONMENT)  # Ray reads some of it when it is imported
if not extras.has("ray"):
    raise SimeditError(f"--ray needs Ray: {extras.install('ray')}")
import ray  # noqa: E402
import ray.exceptions  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from simedit.eval import seat  # noqa: E402

POLL_S = 1.0
"""How often a working actor is asked in what phase it is."""
_SAY_AFTER_S = 20.0
_QUESTIONS_AT_ONCE = 1000


@contextmanager
def ray_workers(
    study: StudyConfig,
    specialists: Mapping[str, Path],
    count: int,
    address: str,
    played: Callable[[dict[str, str]], None] = lambda played_with: None,
) -> Iterator[list[RayWorker]]:
    """Workers that are Ray actors, and with GPUs editors that they share.

    Args:
        specialists: the folder of each style's; none where nothing is edited.
        count: at most how many workers.
        address: "local" starts Ray on this machine, "auto" looks for a cluster, "HOST:PORT" is one.
        played: called with what plays on each machine, `simedit.eval.fingerprints.played_with`.

    Raises:
        SimeditError: there is no such cluster, or it has no room.
    """
    _connect(address)
    cluster = None
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        chosen = plan(nodes, study.resources, edited=bool(specialists), wanted=count)
        with_editors = f" and {chosen.editors} editors" if chosen.editors else ""
        print(f"Ray: {chosen.rollouts} rollouts{with_editors} on {len(nodes)} machines", flush=True)
        cluster = _Cluster(study, specialists, played)
        editors = [_SharedEditor(cluster, chosen.editor, number) for number in range(chosen.editors)]
        yield [
            RayWorker(cluster, number, editors[number % len(editors)] if editors else None)
            for number in range(chosen.rollouts)
        ]
    finally:
        if cluster is not None:
            cluster.close()
        ray.shutdown()


def _connect(address: str) -> None:
    if address.startswith("ray://"):
        raise SimeditError(
            "--ray takes no Ray client (ray://): start simedit-eval on a machine of the cluster, --ray auto"
        )
    settings: dict[str, Any] = {"address": address}
    if address == "local":
        settings |= {"include_dashboard": False}
    try:
        ray.init(
            **settings,
            logging_level=logging.ERROR,
            configure_logging=False,
            runtime_env={"env_vars": _ENVIRONMENT},
        )
    except Exception as error:  # Ray has many
        raise SimeditError(
            f"no Ray cluster at {address!r}: {told(error)}. `ray start --head` begins one; --ray local needs "
            "none"
        ) from error


class _Cluster:
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
        self._closed = False
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
    if specialists and (base := Path(study.editor.base or base_of(specialists.values()))).is_dir():
        found["base"] = base
    for name, policy in study.policies.items():
        for setting in policy.weights:
            value = getattr(policy, setting)
            if value is not None and Path(value).exists():
                found[f"policies/{name}/{setting}"] = Path(value)
    return found


class _Actor:
    """An object in an actor, watched while it works."""

    def __init__(self, cluster: _Cluster, takes: Resources, number: int, *, questions: int = 1) -> None:
        self._cluster, self._timeouts = cluster, cluster.study.timeouts
        self.handle: Any = seat.Seat.options(
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
            raise EnvironmentDied(f"its actor died: {told(getattr(error, 'cause', error))}") from error
        return True

    def call(self, name: str, *args: Any) -> Any:
        """What the object's method returns.

        Raises:
            EnvironmentDied: the actor died, or was killed for a phase took too long.
            SimeditError: it did.
        """
        asked = self.handle.call.remote(name, *args)
        phase, news = ("call", self._timeouts.step, "step"), None
        left = phase[1]
        try:
            while not ray.wait([asked], timeout=POLL_S)[0]:
                # Not by the clock: while this process is stopped, at most one piece passes.
                left -= POLL_S
                news = news or self.handle.phase.remote()
                if ray.wait([news], timeout=0)[0]:
                    (lasted, phase), news = ray.get(news), None
                    left = phase[1] - lasted
                if left < 0:
                    self.kill()
                    raise EnvironmentDied(
                        f"no end of {phase[0]} within {phase[1]:g} s (timeouts.{phase[2]}): its process was "
                        "killed"
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


class _SharedEditor:
    """An editor's actor, replaced when it died."""

    def __init__(self, cluster: _Cluster, takes: Resources, number: int) -> None:
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


class RayWorker:
    """A `simedit.eval.worker.Worker` in an actor, made anew after it was closed."""

    def __init__(self, cluster: _Cluster, number: int, editor: _SharedEditor | None) -> None:
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

    def play(self, trial: Trial, record: bool) -> tuple[Result, Recording | None]:
        return self._call("play", trial, record)

    def rehearse(self, trial: Trial) -> None:
        self._call("rehearse", trial)

    def seconds_per_step(self, todo: Sequence[Trial]) -> dict[str, float]:
        return self._call("seconds_per_step", todo)

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
