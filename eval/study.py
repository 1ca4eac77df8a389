"""The loop of a study: every trial that is wanted and not yet stored, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simedit.errors import SimeditError
from simedit.eval.config import ReportConfig
from simedit.eval.recording import Recording, chosen_trials, save_strip, save_video, strip_path, video_path
from simedit.eval.rollout import EnvironmentDied, Stage, rollout
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial
from simedit.protocols import Policy

ATTEMPTS = 3
"""How often a trial is tried in one run when its environment dies."""
DEATHS_PER_RUN = 20
"""At this many deaths of the environment the run stops: something is wrong with the machine."""


def remaining(wanted: Sequence[Trial], stored: Mapping[Trial, Result]) -> list[Trial]:
    """The trials still to run, in order: not stored, or stored as an error."""
    return [trial for trial in wanted if trial not in stored or stored[trial].outcome == "error"]


def run_study(
    wanted: Sequence[Trial],
    *,
    store: Store,
    stage: Stage,
    policies: Mapping[str, Policy],
    max_steps: int,
    report: ReportConfig,
    progress: Callable[[Result], None] = lambda result: None,
) -> None:
    """Run what remains of `wanted`, storing each result the moment it exists.

    A trial whose environment dies is tried again in a new one; if it dies each time, the result is an error.

    Args:
        policies: by the name that trials use.
        report: how many trials are pictured; strips and videos go to the run folder.
        progress: called after each stored result.

    Raises:
        SimeditError: a setting was refused, a result cannot be stored, or the environment keeps dying.
    """
    todo = remaining(wanted, store.results())
    strips = chosen_trials(wanted, report.strips)
    videos = chosen_trials(wanted, report.videos)
    deaths = 0
    try:
        for trial in todo:
            for _ in range(ATTEMPTS):
                recording = Recording() if trial in strips or trial in videos else None
                try:
                    result = rollout(
                        trial,
                        stage,
                        policies[trial.policy],
                        max_steps=max_steps,
                        recording=recording,
                    )
                    break
                except EnvironmentDied as died:
                    stage.close()
                    deaths += 1
                    result = Result(trial, "error", message=str(died))
                    if deaths >= DEATHS_PER_RUN:
                        break
            if recording is not None and result.outcome != "error":
                _save(recording, trial, store, trial in strips, trial in videos)
            store.put(result)
            progress(result)
            if deaths >= DEATHS_PER_RUN:
                raise SimeditError(
                    f"stopped: the environment died {deaths} times, last in {trial}: {result.message}. "
                    "Finished trials are stored; the same command goes on from here"
                )
    finally:
        stage.close()


def _save(recording: Recording, trial: Trial, store: Store, strip: bool, video: bool) -> None:
    try:
        if strip:
            save_strip(recording, strip_path(store.folder, trial))
        if video:
            save_video(recording, video_path(store.folder, trial))
    except OSError as error:
        raise SimeditError(f"cannot write pictures to {store.folder}: {error}") from error
