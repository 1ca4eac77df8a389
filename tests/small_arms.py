"""Run folders with outcomes of their own making: three policies, 54 situations, two styles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from small_drawer import REAL

from simedit.eval.config import StudyConfig, resolved
from simedit.eval.published import Rates
from simedit.eval.run_folder import keep
from simedit.eval.store import Store
from simedit.eval.summary import Facts
from simedit.eval.trials import Outcome, Result, Trial, scenes, trials

STUDY = {
    "policies": {name: {"kind": "scripted"} for name in ("able", "fair", "poor")},
    "domains": ["raw", "edited"],
    "styles": ["gold", "wood"],
}
SKILL = {"able": 24, "fair": 17, "poor": 4}


def study(**changes) -> StudyConfig:
    return resolved(StudyConfig.model_validate({**STUDY, **changes}))


def usual(trial: Trial) -> Outcome:
    """As often as the policy is able: of 27 situations in 24, 17 or 4."""
    hardness = 7 * scenes(study()).index(trial.scene) % 27
    return "success" if hardness < SKILL[trial.policy] else "failure"


def play(
    folder: Path,
    outcome: Callable[[Trial], Outcome | None] = usual,
    *,
    config: StudyConfig | None = None,
    real: Rates = REAL,
) -> Path:
    """A run folder with these outcomes; None is a trial that was not played."""
    config = config or study()
    with Store(folder, write=True) as store:
        keep(store, config, real, Facts())
        with store.at_once():
            for trial in trials(config):
                if (found := outcome(trial)) is not None:
                    store.put(Result(trial, found, message="lost" if found == "error" else ""))
    return folder
