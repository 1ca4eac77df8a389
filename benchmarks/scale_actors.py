"""The actors of a study on many GPUs, simulated: what benchmarks/scale.py prints.

Rollouts take trials from one queue, in the study's order; each call of theirs needs a core, and cores are
shared evenly when more of them work than there are. A new domain or variant costs "build". Each GPU has its
own cores, rollouts and editor. The editor takes all that waits, up to the batch size, as its next batch, of
edit_call + n * edit_frame seconds; rendering takes turns with it. Without a GPU a rollout edits on its own
core. One driver stores every trial before its rollout gets the next. Nothing dies.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import simpy
from pydantic import Field

from simedit.config import Config
from simedit.eval.config import EDITED
from simedit.eval.trials import Trial

ON_GPU = ("render", "edit_call", "edit_frame")
BUSY = 0.8
"""From this utilisation on, a resource is called the bottleneck."""
SEARCHED = (1, 2, 4, 6, 8, 12, 16, 24, 32)


class Figure(Config):
    """A time, or a share, and where it comes from."""

    value: float = Field(ge=0)
    source: str
    assumed: bool = False


class Steps(Config):
    """Control steps of episodes as they were seen; each simulated one draws from them."""

    value: list[int] = Field(min_length=1)
    source: str
    assumed: bool = False


class Times(Config):
    """Seconds of a core alone on its machine, and of a GPU.

    Attributes:
        study: the one in which calls were timed, as its config is called; in any other they are assumed.
        start: of a rollout actor: imports, policies, the first environment and, on a core, the editor.
        build, reset, step, act: of an environment and a policy.
        edit: of a frame on a core, where there is no GPU.
        store: of the driver, for a trial.
        render: of a GPU, for a frame.
        edit_call, edit_frame: of a GPU, for a batch and for each frame in it.
        slowdown: how much longer work takes when all other cores are busy, as a share.
    """

    study: str
    start: Figure
    build: Figure
    reset: Figure
    step: Figure
    act: Figure
    edit: Figure
    store: Figure
    render: Figure
    edit_call: Figure
    edit_frame: Figure
    slowdown: Figure
    steps: Steps

    def used(self, gpu: bool) -> dict[str, Figure | Steps]:
        """What a simulation with GPUs, or without, rests on."""
        unused = ("study", *(("edit",) if gpu else ON_GPU))
        return {name: getattr(self, name) for name in type(self).model_fields if name not in unused}


@dataclass(frozen=True)
class Shape:
    """A part of the cluster: a GPU and what belongs to it, or a machine without one.

    Attributes:
        others: cores, on average, that other programs take.
    """

    cores: int
    rollouts: int
    batch: int = 8
    gpu: bool = True
    others: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What was found: seconds, shares of them in [0, 1], and when each trial ended, with its steps."""

    seconds: float
    cores: float
    gpus: float
    driver: float
    done: tuple[tuple[float, int], ...]

    @property
    def bottleneck(self) -> str:
        shares = {"cores": self.cores, "GPUs": self.gpus, "driver": self.driver}
        name = max(shares, key=lambda name: shares[name])
        return name if shares[name] >= BUSY else "too few rollouts"


class Shared:
    """Cores, or a GPU, on which all jobs go on at the same speed (processor sharing).

    Args:
        capacity: jobs that run at full speed.
        slowdown: how much longer a job takes when all else is busy.
        others: of the capacity, what others take.
    """

    def __init__(
        self, env: simpy.Environment, capacity: int, slowdown: float = 0.0, others: float = 0.0
    ) -> None:
        self._env, self._capacity, self._slowdown, self._others = env, capacity, slowdown, others
        self._jobs: list[tuple[float, int, simpy.Event]] = []
        self._number = itertools.count()
        self._done = self._since = 0.0  # what each job that was always there would have got, until when
        self._turn = 0
        self.used = 0.0

    def work(self, seconds: float) -> simpy.Event:
        """Done when the job has had `seconds` of a core or GPU that is alone."""
        self._advance()
        event = self._env.event()
        heapq.heappush(self._jobs, (self._done + seconds, next(self._number), event))
        self._plan()
        return event

    def _speed(self) -> float:
        count = len(self._jobs)
        busy = min(self._capacity, count + self._others)
        crowd = max(0.0, busy - 1) / max(1, self._capacity - 1)
        return min(1.0, (self._capacity - self._others) / count) / (1 + self._slowdown * crowd)

    def _advance(self) -> None:
        if self._jobs:
            passed = self._env.now - self._since
            self._done += passed * self._speed()
            self.used += passed * min(self._capacity - self._others, len(self._jobs))
        self._since = self._env.now

    def _plan(self) -> None:
        self._turn += 1
        if self._jobs:
            left = max(0.0, self._jobs[0][0] - self._done)
            timeout = self._env.timeout(left / self._speed(), self._turn)
            timeout.callbacks.append(self._end)

    def _end(self, timeout: simpy.Event) -> None:
        if timeout.value != self._turn:  # another job came or went since
            return
        self._advance()
        self._done = self._jobs[0][0]
        while self._jobs and self._jobs[0][0] <= self._done:
            heapq.heappop(self._jobs)[2].succeed()
        self._plan()


class Editor:
    """Takes everything that waits as its next batch, on a GPU that it may share."""

    def __init__(self, env: simpy.Environment, gpu: Shared, times: Times, batch: int) -> None:
        self._env, self._gpu, self._batch = env, gpu, batch
        self._call, self._frame = times.edit_call.value, times.edit_frame.value
        self._waiting: list[simpy.Event] = []
        self._busy = False

    def edit(self) -> simpy.Event:
        event = self._env.event()
        self._waiting.append(event)
        if not self._busy:
            self._busy = True
            self._env.process(self._work())
        return event

    def _work(self) -> Generator[simpy.Event, Any, None]:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
            yield self._gpu.work(self._call + len(batch) * self._frame)
            for event in batch:
                event.succeed()
        self._busy = False


def simulate(wanted: Sequence[Trial], times: Times, shape: Shape, count: int, seed: int = 0) -> Outcome:
    """Play trials on `count` parts of one shape.

    Args:
        seed: of the number of steps of each trial, which depends on nothing else.
    """
    env = simpy.Environment()
    draw = random.Random(seed)
    queue = iter([(trial, draw.choice(times.steps.value)) for trial in wanted])
    driver = simpy.Resource(env)
    done: list[tuple[float, int]] = []
    parts = [
        (Shared(env, shape.cores, times.slowdown.value, shape.others), Shared(env, 1)) for _ in range(count)
    ]
    for cores, gpu in parts:
        editor = Editor(env, gpu, times, shape.batch) if shape.gpu else None
        for _ in range(shape.rollouts):
            env.process(_rollout(env, queue, times, cores, gpu, editor, driver, done))
    env.run()
    end = max((when for when, _ in done), default=0.0) or 1.0
    capacity = count * (shape.cores - shape.others) * end
    return Outcome(
        seconds=end,
        cores=sum(cores.used for cores, _ in parts) / capacity,
        gpus=sum(gpu.used for _, gpu in parts) / (count * end),
        driver=len(done) * times.store.value / end,
        done=tuple(done),
    )


def _rollout(
    env: simpy.Environment,
    queue: Iterator[tuple[Trial, int]],
    times: Times,
    cores: Shared,
    gpu: Shared,
    editor: Editor | None,
    driver: simpy.Resource,
    done: list[tuple[float, int]],
) -> Generator[simpy.Event, Any, None]:
    place = None
    yield cores.work(times.start.value)
    for trial, steps in queue:
        before = times.reset.value
        if place != (trial.domain, trial.variant):
            place = (trial.domain, trial.variant)
            before += times.build.value
        edited = trial.domain == EDITED
        for number in range(steps + 1):
            seconds = times.act.value + times.step.value if number else before
            yield cores.work(seconds + (times.edit.value if edited and editor is None else 0.0))
            if editor is not None:
                if times.render.value:
                    yield gpu.work(times.render.value)
                if edited:
                    yield editor.edit()
        with driver.request() as turn:
            yield turn
            yield env.timeout(times.store.value)
        done.append((env.now, steps))


def best(wanted: Sequence[Trial], times: Times, shape: Shape) -> Shape:
    """The shape with the number of rollouts that plays most; a larger one must win by a hundredth.

    Tried on a part of the trials, evenly chosen, in which environments are built more often than in all.
    """
    few = wanted[:: max(1, len(wanted) // 400)]
    found, seconds = shape, float("inf")
    for rollouts in SEARCHED:
        tried = replace(shape, rollouts=rollouts)
        taken = simulate(few, times, tried, 1).seconds
        if taken < 0.99 * seconds:
            found, seconds = tried, taken
    return found
