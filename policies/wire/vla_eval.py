"""vla-eval's protocol, as its harness speaks it: HELLO, then episodes of observations for actions.

Source: vla-eval 0.8.0, `vla_eval/connection.py` and `vla_eval/model_servers/serve.py`.
"""

from __future__ import annotations

import time
from typing import Any

from simedit.errors import SimeditError, shortened
from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.link import Link, refused

VERSION = 1
"""Of the protocol, as vla-eval counts."""


class VlaEval:
    """One connection's conversation; see `simedit.policies.wire.openpi.OpenPI`."""

    def __init__(self, link: Link, url: str, seconds: float) -> None:
        self._link, self._seq, self._playing = link, 0, False
        self._say("hello", {"harness_version": "simedit", "protocol_version": VERSION}, seconds)
        try:
            kind, metadata, _ = self._hear(seconds)
        except _Garbled as error:
            raise refused(url, "vla_eval", str(error)) from error
        if kind != "hello":
            raise refused(url, "vla_eval", f"it answers {shortened(repr(kind), 80)} to hello")
        if (version := metadata.get("protocol_version")) != VERSION:
            raise refused(url, "vla_eval", f"its version is {shortened(repr(version))}, this is {VERSION}")
        self.metadata: dict[Any, Any] = metadata

    def begin(self, instruction: str, seed: int) -> None:
        if self._playing:
            self._say("episode_end", {}, _SOON)
        self._say("episode_start", {"task": {"name": instruction, "seed": seed}}, _SOON)
        self._playing = True

    def ask(self, observation: dict[str, Any], seconds: float) -> Any:
        asked = self._say("observation", observation, seconds)
        kind, payload, answered = self._hear(seconds)
        if kind == "error":
            raise SimeditError(f"its server says {shortened(payload.get('error'), 500)}")
        if kind != "action" or answered != asked:
            raise SimeditError(
                f"its server answers {shortened(repr(kind), 80)} {answered} to observation {asked}"
            )
        return payload

    def _say(self, kind: str, payload: dict[str, Any], seconds: float) -> int:
        self._seq += 1
        frame = {"type": kind, "payload": payload, "seq": self._seq, "timestamp": time.time()}
        self._link.send(pack(frame, "vla_eval"), seconds)
        return self._seq

    def _hear(self, seconds: float) -> tuple[Any, dict[Any, Any], Any]:
        """Type, payload and number of the next frame."""
        said = self._link.receive(seconds)
        try:
            frame = unpack(said) if isinstance(said, bytes) else said
        except SimeditError as error:
            raise _Garbled(str(error)) from error
        if not isinstance(frame, dict) or not {"type", "payload", "seq"} <= frame.keys():
            raise _Garbled(f"it says {shortened(repr(frame), 80)}, no frame with type, payload and seq")
        if not isinstance(frame["payload"], dict):
            raise _Garbled(f"the payload of its {shortened(frame['type'])} is no mapping")
        return frame["type"], frame["payload"], frame["seq"]


_SOON = 60.0
"""Seconds in which a server takes a frame that it does not answer."""


class _Garbled(SimeditError):
    """A frame that is none."""
