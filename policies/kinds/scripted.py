"""`kind: scripted`: the expert that acts from privileged state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from simedit.policies.kinds import PolicyKind
from simedit.protocols import Policy


class Scripted(PolicyKind):
    """The scripted expert, which acts from privileged state.

    Attributes:
        noise: of each action; see `simedit.policies.scripted.ScriptedExpert`.
        delay: control steps by which what it sees lags.
    """

    kind: Literal["scripted"]
    noise: float = Field(default=0.0, ge=0)
    delay: int = Field(default=0, ge=0)
    privileged: ClassVar[bool] = True

    @property
    def uses_images(self) -> bool:
        return False

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.scripted import ScriptedExpert

        return ScriptedExpert(state, noise=self.noise, delay=self.delay)
