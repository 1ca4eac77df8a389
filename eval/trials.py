"""The protocol as data: what a trial is, what came of it, and which trials a study wants."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from simedit.eval.config import EDITED, StudyConfig

Outcome = Literal["success", "failure", "error"]


@dataclass(frozen=True)
class Trial:
    """One rollout: the unit of evaluation and the primary key of every result.

    Attributes:
        task, scene: of the study's suite; a scene is a value of each of its axes, with slashes between.
        variant: one of the domain's; "" where it has but one.
        style: a style name in the domain "edited", "" elsewhere.
    """

    policy: str
    task: str
    scene: str
    domain: str
    variant: str
    style: str
    seed: int

    @property
    def situation(self) -> tuple[str, str]:
        """What is uncertain in a rate: a task and a scene, whatever is played there."""
        return self.task, self.scene

    @property
    def episode_seed(self) -> int:
        """Seeds environment, policy and edit noise, in [0, 2**31): the same for every policy, domain, variant
        and style."""
        return zlib.crc32(repr((self.task, *self.scene.split("/"), self.seed)).encode()) & 0x7FFFFFFF

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.domain, self.variant, self.style)))
        return f"{self.policy} {self.task} {self.scene.replace('/', ' ')} {place} seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        outcome: "error" is an infrastructure error or a broken policy, never a failure of the task.
        steps: control steps taken.
        progress: how near the task was to done at the end, in [0, 1]; None where unknown.
        start: the scene as read back at the beginning; None where it was not.
        measures: what else the suite measured at the end, by name.
        frame_hash: hex digest of the first unedited frame; "" where unknown.
        message: what went wrong, for an error.
    """

    trial: Trial
    outcome: Outcome
    steps: int = 0
    progress: float | None = None
    start: tuple[float, ...] | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    frame_hash: str = ""
    message: str = ""


def scenes(config: StudyConfig) -> list[str]:
    """The scenes of a `resolved` study."""
    return ["/".join(values) for values in itertools.product(*config.scenes.values())]


def trials(config: StudyConfig) -> Iterator[Trial]:
    """Every trial of a `resolved` study, each once, in an order that rarely changes environment and style."""
    assert config.tasks, "this study is not resolved"
    for domain in config.domains:
        edited = domain == EDITED
        seeds = config.editor.seeds if edited and config.editor.seeds is not None else config.seeds
        for variant, style, policy, task, scene, seed in itertools.product(
            config.variants[domain],
            config.styles if edited else [""],
            config.policies,
            config.tasks,
            scenes(config),
            seeds,
        ):
            yield Trial(policy, task, scene, domain, variant, style, seed)
