"""The loop of a study: every trial that is wanted and not yet stored."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TypeVar

from simedit.errors import SimeditError
from simedit.eval.config import ReportConfig
from simedit.eval.recording import Recording, chosen_trials, save_strip, save_video, strip_path, video_path
from simedit.eval.rollout import EnvironmentDied
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial
from simedit.eval.worker import Plays
from simedit.protocols import PolicyAway, PolicyLost

T = TypeVar("T")

ATTEMPTS = 3
"""How often a trial is tried in one run when its environment dies."""
DEATHS_IN_A_ROW = 8
"""At this many, or twice for each worker, the environment has not merely trouble with some trials."""
DEATHS_FOR_A_RATE = 20
"""From this many on, or two for each worker, a run stops when twice as many attempts died as lived."""

_GOES_ON = "Finished trials are stored; the same command goes on from here"


def remaining(wanted: Sequence[Trial], stored: Mapping[Trial, Result]) -> list[Trial]:
    """The trials still to run: those not stored, in order, then those stored as an error."""
    fresh = [trial for trial in wanted if trial not in stored]
    return fresh + [trial for trial in wanted if trial in stored and stored[trial].outcome == "error"]


class Queue:
    """The trials still to play, for several threads, and how often the environment died over them.

    Fresh trials come first, in order; then those that ended in an error, so that what always fails keeps
    nothing else from being played. After a death the next trial is taken from elsewhere: neighbours share
    scene and look, and so what kills the environment.

    Args:
        fresh, errors: never played, and stored as errors.
        workers: how many play: what kills all of them at once, such as a machine, says nothing of a trial.

    Attributes:
        deaths, lived: attempts over which the environment died, and others.
        last: what the last death was, and of which trial.
    """

    def __init__(self, fresh: Sequence[Trial], errors: Sequence[Trial], workers: int = 1) -> None:
        self._fresh, self._again = list(fresh), deque(errors)
        self._attempts: Counter[Trial] = Counter()
        self._in_a_row = 0
        self._most_in_a_row = max(DEATHS_IN_A_ROW, 2 * workers)
        self._enough_for_a_rate = max(DEATHS_FOR_A_RATE, 2 * workers)
        self._lock = threading.Lock()
        self.deaths = self.lived = 0
        self.last = ""

    def take(self) -> Trial | None:
        """The next trial; None where none is left, or the rest is given up."""
        with self._lock:
            if self._fresh:
                return self._fresh.pop(int(len(self._fresh) * (self._in_a_row * 0.6180339887 % 1)))
            return self._again.popleft() if self._more() else None

    def more(self) -> bool:
        """Whether there is a next trial."""
        with self._lock:
            return self._more()

    def _more(self) -> bool:
        return bool(self._fresh) or (bool(self._again) and self._in_a_row < self._most_in_a_row)

    def played(self) -> None:
        """The environment lived through a trial."""
        with self._lock:
            self.lived += 1
            self._in_a_row = 0

    def died(self, trial: Trial, reason: str) -> bool:
        """It died over one, which comes again, unless it had all its attempts: then True."""
        with self._lock:
            self.deaths += 1
            self._in_a_row += 1
            self.last = f"{trial}: {reason}"
            self._attempts[trial] += 1
            given_up = self._attempts[trial] == ATTEMPTS
            if not given_up:
                self._again.append(trial)
            return given_up

    def unborn(self, reason: str) -> None:
        """A worker died before it had a trial."""
        with self._lock:
            self.deaths += 1
            self._in_a_row += 1
            self.last = reason

    def clear(self) -> None:
        """Nothing is left to play."""
        with self._lock:
            self._fresh.clear()
            self._again.clear()

    def check(self, *, over: bool = False) -> None:
        """Stop a run in which the environment dies again and again.

        Args:
            over: it is at its end, where only an environment that always died is an error.

        Raises:
            SimeditError: names the last reason.
        """
        with self._lock:
            often = self.deaths >= self._enough_for_a_rate and self.deaths >= 2 * self.lived
            useless = self._fresh and (often or self._in_a_row >= self._most_in_a_row)
            if useless or (over and self.deaths and not self.lived):
                raise SimeditError(
                    f"stopped: the environment, or what plays in it, died in {self.deaths} of "
                    f"{self.deaths + self.lived} attempts, last in {self.last}. {_GOES_ON}"
                )


def run_study(
    wanted: Sequence[Trial],
    *,
    part: Sequence[Trial] | None = None,
    store: Store,
    workers: Sequence[Plays],
    report: ReportConfig,
    progress: Callable[[Result, float], None] = lambda result, seconds: None,
    postponed: Callable[[Result, float], None] = lambda result, seconds: None,
) -> Queue:
    """Run what remains of `wanted`, or of a part of it, storing each result the moment it exists.

    A trial whose environment dies, its worker, editor or policy's server, is an error, and is tried again, in
    a new one, after all others.

    Args:
        part: the trials to run, by default all. Those pictured are chosen from all that are wanted, so that
            parts record together what a run of the whole does.
        workers: one plays in this thread; several play in a thread each, so they should be of other processes
            (`simedit.eval.remote.RemoteWorker`).
        report: how many trials are pictured; strips and videos go to the run folder.
        progress, postponed: called after each stored result, with the seconds it took: the last one of a
            trial in this run, or an error that is tried again later.

    Returns:
        what was played: it says how often something died.

    Raises:
        SimeditError: a setting was refused, a result cannot be stored, or the environment dies too often:
            `DEATHS_IN_A_ROW` times, or twice as often as not, while there are trials never played; or always;
            or a policy's server stays away.
    """
    stored = store.results()
    todo = remaining(wanted if part is None else part, stored)
    queue = Queue([t for t in todo if t not in stored], [t for t in todo if t in stored], len(workers))
    strips = chosen_trials(wanted, report.strips)
    videos = chosen_trials(wanted, report.videos)
    stopped = threading.Event()

    def play(worker: Plays) -> Iterator[tuple[Result, float, bool]]:
        """Results, the seconds they took, and whether they are this run's last of their trial."""
        try:
            while queue.more():
                try:
                    if not worker.prepare(queue.more):
                        return
                except EnvironmentDied as died:
                    if stopped.is_set():
                        return
                    worker.close()
                    queue.unborn(str(died))
                    queue.check()
                    continue
                if (trial := queue.take()) is None:
                    return
                began = time.monotonic()
                try:
                    result, recording = worker.play(trial, trial in strips or trial in videos)
                except (EnvironmentDied, PolicyLost) as died:
                    if stopped.is_set():  # it was closed under this trial
                        return
                    if isinstance(died, EnvironmentDied):
                        worker.close()
                    given_up = queue.died(trial, str(died))
                    yield Result(trial, "error", message=str(died)), time.monotonic() - began, given_up
                    continue
                except PolicyAway as away:
                    raise PolicyAway(f"stopped: {away}. {_GOES_ON}") from away
                queue.played()
                if recording is not None and result.outcome != "error":
                    _save(recording, trial, store, trial in strips, trial in videos)
                yield result, time.monotonic() - began, True
        finally:
            worker.close()  # it may have been built after all others were closed

    try:
        for result, seconds, final in _together([play(worker) for worker in workers]):
            store.put(result)
            (progress if final else postponed)(result, seconds)
            queue.check()
        queue.check(over=True)
        return queue
    finally:
        stopped.set()
        queue.clear()
        for worker in workers:
            worker.close()


def _together(parts: Sequence[Iterator[T]]) -> Iterator[T]:
    """What all yield, as it comes: one part is gone through here, several in a thread each."""
    if len(parts) == 1:
        yield from parts[0]
        return
    found: SimpleQueue[T | BaseException | None] = SimpleQueue()

    def go_through(part: Iterator[T]) -> None:
        try:
            for one in part:
                found.put(one)
            found.put(None)
        except BaseException as error:
            found.put(error)

    for number, part in enumerate(parts):
        threading.Thread(target=go_through, args=(part,), daemon=True, name=f"worker {number}").start()
    running = len(parts)
    while running:
        one = found.get()
        if isinstance(one, BaseException):
            raise one
        if one is None:
            running -= 1
        else:
            yield one


def _save(recording: Recording, trial: Trial, store: Store, strip: bool, video: bool) -> None:
    try:
        if strip:
            save_strip(recording, strip_path(store.folder, trial))
        if video:
            save_video(recording, video_path(store.folder, trial))
    except OSError as error:
        raise SimeditError(f"cannot write pictures to {store.folder}: {error}") from error
