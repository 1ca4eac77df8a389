"""The seam between a study and what it is played in: a suite is a family of tasks in one kind of scenes."""

from __future__ import annotations

import pkgutil
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from importlib import import_module
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Protocol

import gymnasium as gym
from pydantic import Field

from simedit.config import Config
from simedit.errors import SimeditError, shortened

Places = Mapping[str, Sequence[str]]
"""From domain to those of its variants that a study wants."""


class Suite(Protocol):
    """What a study enumerates, and how one of its trials is played.

    Attributes:
        tasks: the groups of trials whose success rates are compared with reality.
        scenes: what a task begins from, as axes: a scene is one value of each, for example a drawer and a
            pose. Names are without slashes.
        domains: how a scene can look, and the variants of each over which its rates are averaged; `("",)`
            where there is but one. "edited" is none of them: a study lays edits over one of these.
        max_steps: of an episode.
    """

    @property
    def tasks(self) -> Collection[str]: ...

    @property
    def scenes(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def domains(self) -> Mapping[str, Sequence[str]]: ...

    @property
    def max_steps(self) -> int: ...

    def make(self, domain: str, variant: str) -> gym.Env:
        """The environment of a domain and variant, built in the process where it acts.

        It takes `reset(seed=..., options={"task": ..., "scene": ...})`, the scene as a tuple of one value of
        each axis, applies both, and answers with an `info` that holds:

        - "instruction", after a reset: what a policy is told.
        - "start", after a reset, if the scene can be read back: its numbers, floats [N]; and "misplaced" if
          they are not what was asked: a sentence that says so.
        - "success", after a step: bool, the task's test at this very step.
        - "progress", after a step: float in [0, 1], how near the task is to done.
        - "measures", after a step, if there is more to tell: floats by name.

        The seed draws what is not a scene's: noise, textures. An episode ends when the environment says
        `terminated` or `truncated`, after `max_steps`, or when the policy ends it; success is the test at the
        last step.
        """
        ...


class SuiteKind(Config):
    """The settings of a suite in a study's config, and what a study must know of it before it begins.

    A kind is a subclass in a module `simedit.envs.NAME` or `simedit.envs.NAME.suite`, with
    `kind: Literal["NAME"]`; being there is enough. The module imports nothing heavy: every command that reads
    a study imports it.
    """

    kind: str

    @abstractmethod
    def suite(self) -> Suite:
        """The suite of these settings.

        Raises:
            SimeditError: it cannot be had.
        """

    def problems(self, places: Places) -> list[str]:
        """What keeps a study from being played here, in a sentence each that says what to do."""
        return []

    def absent(self, places: Places) -> dict[str, dict[str, str]]:
        """Variants that cannot be played, by domain, each with the file that it lacks; all else can be."""
        return {}

    def meaning(self, places: Places) -> dict[str, Any]:
        """What a trial's result depends on, as JSON values: settings, and fingerprints of files.

        Raises:
            SimeditError: a file is missing or cannot be read.
        """
        return self.model_dump(mode="json")

    def real_rates(self, source: str) -> Path | None:
        """The file of real success rates that goes by a name, such as "published"; None if none does."""
        return None

    def published_trials(self) -> dict[str, int]:
        """How many trials of a domain the published protocols run for a policy, where there are such."""
        return {}

    @property
    def realities(self) -> Sequence[str]:
        """Domains that stand for the real world: they are where real rates come from, and predict nothing."""
        return ()

    def editing(self) -> dict[str, Any]:
        """How frames are edited: keyword arguments of `simedit.wrapper.EditObservation`.

        A `mask` of None says that it is not known where edits may show. One that maps regions' names to
        masks lets recipes edit these; styles without a region then show in a study's `editor.region`.
        """
        return {}


RESERVED = (
    "policy",
    "task",
    "scene",
    "domain",
    "variant",
    "style",
    "seed",
    "outcome",
    "compared",
    "steps",
    "progress",
)
"""What an axis of scenes cannot be called: reports have columns of these names."""


def check_suite(suite: Any, what: str) -> None:
    """Refuse what cannot be a `Suite`.

    Args:
        what: how a message calls it.

    Raises:
        SimeditError: it lacks something, or has names that do not do.
    """
    for part in ("tasks", "scenes", "domains", "max_steps", "make"):
        if not hasattr(suite, part):
            raise SimeditError(f"{what} is no suite: it has no {part} (see simedit.envs.suite.Suite)")
    if not callable(suite.make):
        raise SimeditError(f"{what}: make cannot be called")
    groups = {
        "tasks": suite.tasks,
        **_named("scenes", suite.scenes, what),
        **_named("domains", suite.domains, what),
    }
    for group, names in groups.items():
        if isinstance(names, str) or not isinstance(names, Collection):
            raise SimeditError(f"{what}: {group} must be a list of names, not {shortened(repr(names))}")
        found = list(map(str, names))
        if not found or len(set(found)) < len(found):
            raise SimeditError(f"{what}: {group} must hold one name or more, each once")
        for name in names:
            if (
                not isinstance(name, str)
                or "/" in name
                or not name.isprintable()
                or (not name and not group.startswith("domains["))
            ):
                raise SimeditError(f"{what}: {group} holds {name!r}: names are text without slashes")
    for axis in suite.scenes:
        if axis in RESERVED:
            raise SimeditError(f"{what}: no axis of scenes can be called {axis!r}")
    if "average" in suite.tasks:
        raise SimeditError(f"{what}: no task can be called average, which is that of all tasks")
    if "edited" in suite.domains:
        raise SimeditError(f"{what}: the domain edited is every study's own, not a suite's")
    if type(suite.max_steps) is not int or suite.max_steps < 1:
        raise SimeditError(f"{what}: max_steps must be a whole number of 1 or more, not {suite.max_steps!r}")


def _named(kind: str, groups: Any, what: str) -> dict[str, Any]:
    if not isinstance(groups, Mapping) or not groups:
        raise SimeditError(f"{what}: {kind} must map one name or more to their values")
    return {kind: [*groups]} | {f"{kind}[{name!r}]": values for name, values in groups.items()}


def _found() -> tuple[type[SuiteKind], ...]:
    import simedit.envs

    names = [
        f"{simedit.envs.__name__}.{module.name}{'.suite' if module.ispkg else ''}"
        for module in pkgutil.iter_modules(simedit.envs.__path__)
    ]
    modules = [import_module(name) for name in names if name != __name__ and find_spec(name)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, SuiteKind) and value.__module__ == module.__name__
    )


def any_suite() -> Any:
    """The type of a config's field that takes a suite of any kind."""
    return Annotated[reduce(or_, _found()), Field(discriminator="kind")]


def default_suite() -> SuiteKind:
    """The suite of a study that names none."""
    from simedit.envs.drawer.suite import DrawerSuite

    return DrawerSuite()
