"""`kind: python`: any policy that a function of the user's own makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, JsonValue

from simedit import factories
from simedit.errors import SimeditError
from simedit.factories import FactoryName
from simedit.policies.kinds import PolicyKind
from simedit.policies.player import Player
from simedit.protocols import Policy


class Python(PolicyKind):
    """What a callable gives: an object with `reset(instruction, *, seed)` and `act(seen)`.

    `simedit.protocols.Policy` says what `act` sees and may return. Part of what a trial means are the
    settings here, the module's file (of one in a package, all .py files of the package's folder), and the
    files and folders that strings of `args` name.

    Attributes:
        factory: "package.module:callable", found as Python finds modules, and in the working directory. It is
            called once for each environment of a run, with `args` by keyword.
        execute: how many steps of a chunk are played before the policy is asked again; None plays each to its
            end.
        blind: it does not look at frames, so its success says nothing about them.
    """

    kind: Literal["python"]
    factory: FactoryName
    args: dict[str, JsonValue] = {}
    execute: int | None = Field(default=None, gt=0)
    blind: bool = False

    @property
    def uses_images(self) -> bool:
        return not self.blind

    def problems(self) -> list[str]:
        return factories.problems(self.factory, self.args)

    def meaning(self) -> dict[str, Any]:
        return factories.fingerprints(self.factory, self.args)

    def load(self, state: Callable[[], Any]) -> Policy:
        player = Player(factories.call(self.factory, self.args), execute=self.execute)
        if not player.uses_images and self.uses_images:
            raise SimeditError(f"what {self.factory} makes has uses_images = False: set blind: true")
        return player
