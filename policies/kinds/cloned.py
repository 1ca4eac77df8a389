"""`kind: cloned`: a small policy that was cloned from expert episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.packaged import policy_folder
from simedit.policies.kinds import PolicyKind
from simedit.protocols import Policy


class Cloned(PolicyKind):
    """A small policy that was cloned from expert episodes; see `simedit.policies.cloned.ClonedPolicy`.

    Attributes:
        checkpoint: its folder, or "lab:NAME", one of those that ship with the lab.
    """

    kind: Literal["cloned"]
    weights: ClassVar[tuple[str, ...]] = ("checkpoint",)
    checkpoint: str

    def problems(self) -> list[str]:
        from simedit.policies.cloned import Network, NetworkConfig
        from simedit.policies.networks import load

        try:
            load(policy_folder(self.checkpoint), NetworkConfig, Network, "cloned policy")
        except SimeditError as error:
            return [str(error)]
        return []

    def meaning(self) -> dict[str, Any]:
        return {"checkpoints": digest(policy_folder(self.checkpoint))}

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.cloned import ClonedPolicy

        return ClonedPolicy(policy_folder(self.checkpoint))
