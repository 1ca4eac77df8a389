"""Real and published success rates: the table that ships with the package, and a user's own file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import model_validator

from simedit.config import Config, load_config
from simedit.errors import SimeditError, unknown
from simedit.eval.config import RealConfig, StudyConfig
from simedit.eval.rates_file import Counts, Rate, load_rates
from simedit.eval.trials import trials
from simedit.packaged import lab_data


class TaskRates(Config):
    """A policy's success rates, each a number in [0, 1], "81.5%", "22/27" or `{successes: 22, n: 27}`; null
    where unknown. Those with counts enter intervals with what so many trials leave possible."""

    open: Rate = None
    close: Rate = None

    def rate(self, task: str) -> float | None:
        """The success rate in `task` ("open" or "close")."""
        value = self.open if task == "open" else self.close
        return value.successes / value.n if isinstance(value, Counts) else value

    def counts(self, task: str) -> Counts | None:
        """The rate as counts; None where only a number is known."""
        value = self.open if task == "open" else self.close
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
    """The table that ships with the package: real rates, and those of the published visual domains."""

    real: Rates
    domains: dict[str, Rates]


def load_published() -> Published:
    """The published rates; the file names the source of each."""
    return load_config(Published, Path(__file__).parent / "data" / "published.yaml")


def protocol_counts() -> dict[str, int]:
    """How many trials of each domain the published protocols run for a policy.

    Visual Matching and Variant Aggregation as SIMPLER (arXiv 2405.05941) runs them, edited frames as
    arXiv 2504.12833, section 6.4, does: seven styles, three seeds, over Visual Matching's frames.
    """
    protocol = StudyConfig.model_validate(
        {
            "policies": {"any": {"kind": "scripted"}},
            "domains": ["vismatch", "varagg", "edited"],
            "styles": ["gold", "leather", "white_marble", "black_marble", "steel", "stone", "wood"],
            "env": {"skin": "simpler"},
            "editor": {"over": "vismatch", "seeds": [0, 1, 2]},
        }
    )
    return dict(Counter(trial.domain for trial in trials(protocol)))


def load_real(config: RealConfig, policies: list[str], tasks: list[str]) -> Rates:
    """The real rates of a study's policies, under the study's own policy names.

    Raises:
        SimeditError: no such file, a file that holds something else, or no rate there for a policy and task.
    """
    if config.source == "none":
        return Rates(source="none: this study measures rates", policies={p: TaskRates() for p in policies})
    if config.source == "published":
        rates = load_published().real
    else:
        rates = load_rates(Rates, lab_data("real.yaml") if config.source == "lab" else Path(config.source))
    renamed = {}
    for policy in policies:
        name = config.names.get(policy, policy)
        if name not in rates.policies:
            raise SimeditError(
                f"real rates ({config.source}): {unknown('policy', name, rates.policies)}. "
                "Map it in real.names, or give a file of your own in real.source"
            )
        renamed[policy] = rates.policies[name]
        for task in tasks:
            if renamed[policy].rate(task) is None:
                raise SimeditError(f"real rates ({config.source}): no {task} rate for policy {name!r}")
    return rates.model_copy(update={"policies": renamed})
