"""What a run would cost: counts from the config, hours from a short measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig
from simedit.eval.rollout import EnvironmentDied, Stage, rollout
from simedit.eval.trials import Trial
from simedit.protocols import Policy

_STEPS = 6
_ROW_BYTES = 400
_PICTURE_BYTES = 1_500_000


def frames_to_edit(config: StudyConfig, todo: Sequence[Trial]) -> int:
    """At most how many frames the editor repaints: each edited trial's first frame and one a step."""
    return sum(trial.domain == "edited" for trial in todo) * (config.max_steps + 1)


def disk_bytes(config: StudyConfig, todo: Sequence[Trial]) -> int:
    """About how much the run folder grows: a row a trial, and pictures, which the report holds again."""
    return len(todo) * _ROW_BYTES + 2 * (config.report.strips + config.report.videos) * _PICTURE_BYTES


def seconds_per_step(
    todo: Sequence[Trial], stage: Stage, policy: Callable[[Trial], Policy]
) -> dict[str, float]:
    """Seconds of a control step in each domain, edit and policy included, measured on its first trial.

    Raises:
        SimeditError: the environment died or refused its settings, or the policy raised.
    """
    measured = {}

    def timed(trial: Trial, steps: int) -> float:
        start = time.perf_counter()
        result = rollout(trial, stage, policy(trial), max_steps=steps)
        if result.outcome == "error":
            raise SimeditError(f"cannot measure: {result.message}")
        return time.perf_counter() - start

    try:
        for trial in todo:
            if trial.domain not in measured:
                timed(trial, 1)  # builds the scene and warms up
                measured[trial.domain] = max(0.0, timed(trial, 1 + _STEPS) - timed(trial, 1)) / _STEPS
    except EnvironmentDied as error:
        raise SimeditError(f"cannot measure: {error}") from error
    finally:
        stage.close()
    return measured
