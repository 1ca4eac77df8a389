"""The protocol as data: what a trial is, what came of it, and which trials a study wants."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from simedit.eval.config import StudyConfig

Outcome = Literal["success", "failure", "error"]


@dataclass(frozen=True)
class Trial:
    """One rollout: the unit of evaluation and the primary key of every result.

    Attributes:
        variant: one of the domain's, see `simedit.envs.drawer.domains.VARIANTS`; "" where it has but one.
        style: a style name in the domain "edited", "" elsewhere.
    """

    policy: str
    task: str
    drawer: str
    pose: str
    domain: str
    variant: str
    style: str
    seed: int

    @property
    def unit(self) -> tuple[str, str, str, int]:
        """One episode to be played, the same for every policy, domain, variant and style."""
        return self.task, self.drawer, self.pose, self.seed

    @property
    def episode_seed(self) -> int:
        """Seeds environment, policy and edit noise, in [0, 2**31); equal units get equal seeds."""
        return zlib.crc32(repr(self.unit).encode()) & 0x7FFFFFFF

    def __str__(self) -> str:
        place = "/".join(filter(None, (self.domain, self.variant, self.style)))
        return f"{self.policy} {self.task} {self.drawer} {self.pose} {place} seed {self.seed}"


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        outcome: "error" is an infrastructure error or a broken policy, never a failure of the task.
        steps: control steps taken.
        extension: how far the target drawer was out at the end, metres; None where unknown.
        pose: realised (x, y, extra yaw), metres and radians; None where unknown.
        frame_hash: hex digest of the first unedited frame; "" where unknown.
        message: what went wrong, for an error.
    """

    trial: Trial
    outcome: Outcome
    steps: int = 0
    extension: float | None = None
    pose: tuple[float, float, float] | None = None
    frame_hash: str = ""
    message: str = ""


def trials(config: StudyConfig) -> Iterator[Trial]:
    """Every trial of a study, each once, in an order that rarely changes environment and style."""
    for domain in config.domains:
        edited = domain == "edited"
        seeds = config.editor.seeds if edited and config.editor.seeds is not None else config.seeds
        for variant, style, policy, task, drawer, pose, seed in itertools.product(
            config.variants_of(domain),
            config.styles if edited else [""],
            config.policies,
            config.tasks,
            config.drawers,
            config.poses,
            seeds,
        ):
            yield Trial(policy, task, drawer, pose, domain, variant, style, seed)
