"""openpi's protocol, as its client speaks it: metadata first, then an observation for an answer.

Source: openpi-client 0.1.2 and openpi's `websocket_policy_server.py`.
"""

from __future__ import annotations

from typing import Any

from simedit.errors import SimeditError, shortened
from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.link import Link, refused
from simedit.protocols import PolicyLost


class OpenPI:
    """One connection's conversation.

    Args:
        link: just opened.
        url: for messages.
        seconds: for the server's metadata.

    Attributes:
        metadata: what the server says of itself.

    Raises:
        PolicyAway: the server speaks otherwise.
        PolicyLost: it went away, or says nothing.
    """

    def __init__(self, link: Link, url: str, seconds: float) -> None:
        self._link = link
        try:
            said = link.receive(seconds)
        except PolicyLost as error:
            silent = " (openpi's servers speak first, vla_eval's do not: which is it?)" if link.open else ""
            raise PolicyLost(f"{error}{silent}") from error
        try:
            metadata = unpack(said) if isinstance(said, bytes) else None
        except SimeditError as error:
            raise refused(url, "openpi", str(error)) from error
        if not isinstance(metadata, dict):
            raise refused(url, "openpi", f"its first word is no metadata but {shortened(repr(said), 80)}")
        self.metadata: dict[Any, Any] = metadata

    def begin(self, instruction: str, seed: int) -> None:
        """An episode begins: of that the protocol knows nothing."""

    def ask(self, observation: dict[str, Any], seconds: float) -> Any:
        """The server's answer.

        Raises:
            PolicyLost: it went away, or gave none in time.
            SimeditError: the policy there raised, or the answer cannot be read.
        """
        self._link.send(pack(observation), seconds)
        said = self._link.receive(seconds)
        if isinstance(said, str):
            lines = said.strip().splitlines() or ["nothing"]
            raise SimeditError(f"its server says {shortened(lines[-1], 500)}")
        return unpack(said)
