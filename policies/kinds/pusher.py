"""`kind: pusher`: the expert of Push-T, which acts from privileged state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from simedit import extras
from simedit.policies.kinds import PolicyKind
from simedit.protocols import Policy


class PusherKind(PolicyKind):
    """The expert of Push-T; see `simedit.policies.pusher.Pusher`."""

    kind: Literal["pusher"]
    privileged: ClassVar[bool] = True

    @property
    def uses_images(self) -> bool:
        return False

    def problems(self) -> list[str]:
        return (
            [] if extras.has("gym_pusht") else [f"the pusher needs gym-pusht: {extras.install('gym_pusht')}"]
        )

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.pusher import Pusher

        return Pusher(state)
