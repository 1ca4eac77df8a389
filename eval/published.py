"""Real and published success rates: the table that ships with the package, and a user's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, RootModel, model_validator

from simedit.config import Config, load_config
from simedit.envs.suite import SuiteKind
from simedit.errors import SimeditError, unknown
from simedit.eval.config import RealConfig
from simedit.eval.rates_file import Counts, Rate, load_rates


class TaskRates(RootModel[dict[str, Rate]]):
    """A policy's success rates by task, each a number in [0, 1], "81.5%", "22/27" or
    `{successes: 22, n: 27}`; null where unknown. Those with counts enter intervals with what so many trials
    leave possible."""

    model_config = ConfigDict(frozen=True)

    def rate(self, task: str) -> float | None:
        """The success rate in a task."""
        value = self.root.get(task)
        return value.successes / value.n if isinstance(value, Counts) else value

    def counts(self, task: str) -> Counts | None:
        """The rate as counts; None where only a number is known."""
        value = self.root.get(task)
        return value if isinstance(value, Counts) else None


class Rates(Config):
    """Success rates of several policies and where they come from; also the format of a user's own file.

    Attributes:
        source: who measured it, on what, or a reference.
        stand_in: true where no robot measured them; the report then says so, and never calls them real.
        name: what a report calls that stand-in, for example "proxy-real (a rendering)".
        policies: from policy name to its rates.
    """

    source: str
    stand_in: bool = False
    name: str = ""
    policies: dict[str, TaskRates]

    @model_validator(mode="before")
    @classmethod
    def _lab_is_no_robot(cls, data: Any) -> Any:
        """The lab's rates did not say so at first: files and run folders of then are no robot's either."""
        if isinstance(data, dict) and str(data.get("source")).startswith("proxy-real, "):
            return {**data, "stand_in": True, "name": data.get("name") or "proxy-real (a rendering)"}
        return data

    @property
    def label(self) -> str:
        """What a report calls these rates: "real" only where a robot measured them."""
        return (self.name or "a stand-in") if self.stand_in else "real"


class Published(Config):
    """A table that ships with the package: real rates, and those of the published visual domains."""

    real: Rates
    domains: dict[str, Rates]


def load_published(suite: SuiteKind) -> Published:
    """A suite's published rates; the file names the source of each.

    Raises:
        SimeditError: none are known.
    """
    path = suite.real_rates("published")
    if path is None:
        raise SimeditError(
            f"no real rates are published for the suite {suite.kind}: give a file of your own in "
            "real.source, or real.source=none for a study that only measures rates"
        )
    return load_config(Published, path)


def load_real(config: RealConfig, suite: SuiteKind, policies: Sequence[str], tasks: Sequence[str]) -> Rates:
    """The real rates of a study's policies, under the study's own policy names.

    Raises:
        SimeditError: no such file, a file that holds something else, or no rate there for a policy and task.
    """
    source = config.source
    if source == "none":
        nothing = {policy: TaskRates({}) for policy in policies}
        return Rates(source="none: this study measures rates", policies=nothing)
    if source == "published":
        rates = load_published(suite).real
    else:
        rates = load_rates(Rates, suite.real_rates(source) or Path(source))
    renamed = {}
    for policy in policies:
        name = config.names.get(policy, policy)
        if name not in rates.policies:
            raise SimeditError(
                f"real rates ({source}): {unknown('policy', name, rates.policies)}. "
                "Map it in real.names, or give a file of your own in real.source"
            )
        renamed[policy] = found = rates.policies[name]
        for task in found.root:
            if task not in suite.suite().tasks:
                raise SimeditError(f"real rates ({source}): {unknown('task', task, suite.suite().tasks)}")
        for task in tasks:
            if found.rate(task) is None:
                raise SimeditError(f"real rates ({source}): no {task} rate for policy {name!r}")
    return rates.model_copy(update={"policies": renamed})
