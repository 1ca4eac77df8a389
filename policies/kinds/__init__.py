"""The kinds of policies that a study can name: one a file of this folder, found by being there."""

from __future__ import annotations

import pkgutil
from abc import abstractmethod
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from simedit.config import Config
from simedit.protocols import Policy


class PolicyKind(Config):
    """The settings of one policy, and how it comes to act.

    A kind is a subclass in a module of its own beside this one, with `kind: Literal["its name"]`. The module
    imports nothing heavy: every command that reads a study imports it.
    """

    kind: str
    incidental: ClassVar[frozenset[str]] = frozenset()
    """Settings on which no action depends: where something runs, how long it is waited for."""
    weights: ClassVar[tuple[str, ...]] = ()
    """Settings that are paths of weights, which other machines are sent."""
    privileged: ClassVar[bool] = False
    """Whether it acts from the environment's privileged state, so that it cannot be served."""

    @property
    def uses_images(self) -> bool:
        """False for a policy that does not look at frames: its success says nothing about them."""
        return True

    def problems(self) -> list[str]:
        """What keeps it from being played here, in a sentence each that says what to do; found cheaply."""
        return []

    def meaning(self) -> dict[str, Any]:
        """Fingerprints of the files that its actions depend on, by what they are, as JSON values.

        Raises:
            SimeditError: a file is missing or cannot be read.
        """
        return {}

    @abstractmethod
    def load(self, state: Callable[[], Any]) -> Policy:
        """The policy, ready to act in one environment.

        Args:
            state: the privileged state of that environment now.

        Raises:
            SimeditError: it cannot be had.
        """


def _found() -> tuple[type[PolicyKind], ...]:
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, PolicyKind) and value.__module__ == module.__name__
    )


if TYPE_CHECKING:
    AnyPolicy = PolicyKind
else:  # the type of a config's field that takes a policy of any kind
    AnyPolicy = Annotated[reduce(or_, _found()), Field(discriminator="kind")]
