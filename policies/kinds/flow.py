"""`kind: flow`: a small policy that draws chunks of actions by flow matching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.packaged import policy_folder
from simedit.policies.kinds import PolicyKind
from simedit.protocols import Policy


class Flow(PolicyKind):
    """A small policy that draws chunks of actions; see `simedit.policies.flow.FlowPolicy`.

    Attributes:
        checkpoint: its folder, or "lab:NAME", one of those that ship with the lab.
    """

    kind: Literal["flow"]
    weights: ClassVar[tuple[str, ...]] = ("checkpoint",)
    checkpoint: str

    def problems(self) -> list[str]:
        from simedit.policies.flow import FlowConfig, FlowNetwork
        from simedit.policies.networks import load

        try:
            load(policy_folder(self.checkpoint), FlowConfig, FlowNetwork, "flow policy")
        except SimeditError as error:
            return [str(error)]
        return []

    def meaning(self) -> dict[str, Any]:
        return {"checkpoints": digest(policy_folder(self.checkpoint))}

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.flow import FlowPolicy

        return FlowPolicy(policy_folder(self.checkpoint))
