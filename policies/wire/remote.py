"""A policy that a server plays; a `simedit.protocols.Policy`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from simedit.errors import SimeditError
from simedit.policies.mappings import Mapping, Protocol
from simedit.policies.wire.convert import Actions, needs, observation
from simedit.policies.wire.fit import check_fit, differ, identity, wanted
from simedit.policies.wire.link import Link, patiently
from simedit.policies.wire.openpi import OpenPI
from simedit.policies.wire.vla_eval import VlaEval
from simedit.protocols import Action, PolicyAway, PolicyLost

if TYPE_CHECKING:
    from simedit.policies.kinds.server import Timeouts

_PROTOCOLS = {"openpi": OpenPI, "vla_eval": VlaEval}


class RemotePolicy:
    """Sends what it sees, and plays what is answered.

    An episode whose server goes away or answers late is lost, for what the server remembered of it is gone;
    the next one begins on a new connection.

    Args:
        url, protocol, mapping: of the server.
        execute: how many steps of an answer are played; None asks the mapping.
        timeouts: how long it is waited for.

    Attributes:
        identity: who the server says it is.
        needs: what it must be shown.
        uses_images: whether frames are sent.

    Raises:
        PolicyAway: there is no server that speaks the protocol.
        SimeditError: the mapping does not fit the server's metadata.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol,
        mapping: Mapping,
        *,
        execute: int | None,
        timeouts: Timeouts,
    ) -> None:
        self._url, self._protocol, self._mapping, self._timeouts = url, protocol, mapping, timeouts
        self._actions = Actions(mapping.action, execute or mapping.action.execute)
        self._ahead: deque[Action | np.ndarray] = deque()
        self._link: Link | None = None
        self._talk: OpenPI | VlaEval
        self._open()
        metadata = self._talk.metadata
        check_fit(mapping, metadata)
        self.identity = identity(metadata)
        self.needs = needs(mapping, wanted(metadata))
        self.uses_images = bool(mapping.images or mapping.cameras)

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode, on a new connection where the last one broke.

        Raises:
            PolicyAway: there is no server any more.
        """
        self._ahead.clear()
        self._actions.reset()
        self._instruction, self._seed, self._first = instruction, seed, True
        try:
            if self._link is not None and self._link.open:
                self._talk.begin(instruction, seed)
                return
        except PolicyLost:
            pass  # it was restarted between two episodes
        self._open()
        if (now := identity(self._talk.metadata)) != self.identity:
            self.close()
            told = differ(self.identity, now)
            raise PolicyAway(f"{self._url} is not the server that it was: its metadata differ in {told}")
        self._talk.begin(instruction, seed)

    def act(self, seen: Any) -> Action | np.ndarray:
        """The next action: of the last answer, while there is one.

        Raises:
            PolicyLost: the server went away, or gave no answer in time.
            SimeditError: the policy there raised, or its answer is no action.
        """
        if not self._ahead:
            if self._link is None:
                raise PolicyLost(f"{self._url}: the connection broke earlier in this episode")
            sent = observation(
                self._mapping,
                seen,
                self._instruction,
                seed=self._seed,
                first=self._first,
                needs=self.needs,
            )
            try:
                answer = self._talk.ask(sent, self._timeouts.start if self._cold else self._timeouts.call)
                self._ahead.extend(self._actions.read(answer))
            except SimeditError:
                self.close()  # a late answer would be taken for that to the next question
                raise
            self._first = self._cold = False
        return self._ahead.popleft()

    def close(self) -> None:
        """Hang up; the next episode calls again."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _open(self) -> None:
        self.close()

        def attempt(seconds: float) -> None:
            self._link = Link(self._url, seconds)
            try:
                self._talk = _PROTOCOLS[self._protocol](self._link, self._url, self._timeouts.call)
            except PolicyLost as error:
                self.close()
                raise ConnectionError(str(error)) from error
            except BaseException:
                self.close()
                raise

        patiently(attempt, self._url, self._timeouts.connect)
        self._cold = True
