"""`kind: server`: a policy that another process plays, reached over a websocket."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from simedit.config import Config
from simedit.errors import SimeditError
from simedit.policies.kinds import PolicyKind
from simedit.policies.mappings import Mapping, Protocol, named_mapping
from simedit.protocols import Policy


def _address(url: str) -> str:
    if not re.fullmatch(r"wss?://[^\s/?#@]+(/[^\s#]*)?", url):
        raise ValueError("must read ws://HOST:PORT, for example ws://127.0.0.1:8000")
    return url


class Timeouts(Config):
    """Seconds that a server is waited for.

    Attributes:
        connect: for it to be there, when a run and when an episode begins.
        start: for its first answer on a connection: models are loaded and compiled then.
        call: for every other answer.
    """

    connect: float = Field(default=60.0, gt=0, le=1e6)
    start: float = Field(default=600.0, gt=0, le=1e6)
    call: float = Field(default=60.0, gt=0, le=1e6)


class Server(PolicyKind):
    """A policy behind a server.

    Part of what a trial means are the protocol, all of the mapping, and what the server says of itself in its
    metadata; where it is, and how long it is waited for, are not. A server whose metadata do not say which
    weights it plays can change them unnoticed: give the policy another name then.

    Attributes:
        protocol: "openpi" or "vla_eval".
        url: ws://HOST:PORT.
        mapping: what is sent and how the answer is read: the name of one that ships, or one's own.
        execute: how many steps of an answer are played before the server is asked again; None: as the mapping
            says.
        timeouts: how long it is waited for.
    """

    kind: Literal["server"]
    protocol: Protocol
    url: Annotated[str, AfterValidator(_address)]
    mapping: str | Mapping
    execute: int | None = Field(default=None, gt=0)
    timeouts: Timeouts = Timeouts()
    incidental: ClassVar[frozenset[str]] = frozenset({"url", "timeouts"})

    @model_validator(mode="after")
    def _known(self) -> Server:
        try:
            made_for = self._mapping.protocol
        except SimeditError as error:
            raise ValueError(str(error)) from None
        if made_for not in (None, self.protocol):
            raise ValueError(f"the mapping {self.mapping} is for protocol: {made_for}")
        return self

    @property
    def uses_images(self) -> bool:
        return bool(self._mapping.images or self._mapping.cameras)

    def problems(self) -> list[str]:
        try:
            self._identity()
        except SimeditError as error:
            return [str(error)]
        return []

    def meaning(self) -> dict[str, Any]:
        return {"mappings": self._mapping.meaning(), "servers": self._identity()}

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.wire.remote import RemotePolicy

        return RemotePolicy(
            self.url, self.protocol, self._mapping, execute=self.execute, timeouts=self.timeouts
        )

    @property
    def _mapping(self) -> Mapping:
        return named_mapping(self.mapping) if isinstance(self.mapping, str) else self.mapping

    def _identity(self) -> dict[str, Any]:
        from simedit.policies.wire.remote import RemotePolicy

        policy = self.load(lambda: None)
        assert isinstance(policy, RemotePolicy)
        policy.close()
        return policy.identity
