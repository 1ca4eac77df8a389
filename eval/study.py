"""The loop of a study: every trial that is wanted and not yet stored."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

from simedit.errors import SimeditError
from simedit.eval.config import ReportConfig
from simedit.eval.recording import Recording, chosen_trials, save_strip, save_video, strip_path, video_path
from simedit.eval.rollout import EnvironmentDied, Stage, rollout
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial
from simedit.protocols import Policy

T = TypeVar("T")

ATTEMPTS = 3
"""How often a trial is tried in one run when its environment dies."""
DEATHS_PER_RUN = 20
"""At this many deaths of the environment the run stops: something is wrong with the machine."""


def remaining(wanted: Sequence[Trial], stored: Mapping[Trial, Result]) -> list[Trial]:
    """The trials still to run, in order: not stored, or stored as an error."""
    return [trial for trial in wanted if trial not in stored or stored[trial].outcome == "error"]


@dataclass(frozen=True)
class Slot:
    """Where one trial at a time is played: a stage, and the policies that act on it, by the names that trials
    use."""

    stage: Stage
    policies: Mapping[str, Policy]


def run_study(
    wanted: Sequence[Trial],
    *,
    store: Store,
    slots: Sequence[Slot],
    max_steps: int,
    report: ReportConfig,
    progress: Callable[[Result], None] = lambda result: None,
) -> None:
    """Run what remains of `wanted`, storing each result the moment it exists.

    A trial whose environment dies is tried again in a new one; if it dies each time, the result is an error.

    Args:
        slots: one plays in this thread; several play in a thread each, so their environments should be
            `simedit.eval.remote.RemoteEnv`.
        report: how many trials are pictured; strips and videos go to the run folder.
        progress: called after each stored result.

    Raises:
        SimeditError: a setting was refused, a result cannot be stored, or the environment keeps dying.
    """
    todo = deque(remaining(wanted, store.results()))
    strips = chosen_trials(wanted, report.strips)
    videos = chosen_trials(wanted, report.videos)
    stopped = threading.Event()

    def play(slot: Slot) -> Iterator[tuple[Result, int]]:
        """Results, and how often the environment died for each."""
        try:
            while todo:
                try:
                    trial = todo.popleft()
                except IndexError:  # another slot took the last one
                    return
                result, deaths = None, 0
                while result is None:
                    recording = Recording() if trial in strips or trial in videos else None
                    try:
                        policy = slot.policies[trial.policy]
                        result = rollout(trial, slot.stage, policy, max_steps=max_steps, recording=recording)
                    except EnvironmentDied as died:
                        if stopped.is_set():  # it was closed under this trial
                            return
                        slot.stage.close()
                        deaths += 1
                        if deaths == ATTEMPTS:
                            result = Result(trial, "error", message=str(died))
                if recording is not None and result.outcome != "error":
                    _save(recording, trial, store, trial in strips, trial in videos)
                yield result, deaths
        finally:
            slot.stage.close()  # it may have been built after all others were closed

    died = 0
    try:
        for result, deaths in _together([play(slot) for slot in slots]):
            store.put(result)
            progress(result)
            died += deaths
            if died >= DEATHS_PER_RUN:
                raise SimeditError(
                    f"stopped: the environment died {died} times, last in {result.trial}: {result.message}. "
                    "Finished trials are stored; the same command goes on from here"
                )
    finally:
        stopped.set()
        todo.clear()
        for slot in slots:
            slot.stage.close()


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
        threading.Thread(target=go_through, args=(part,), daemon=True, name=f"slot {number}").start()
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
