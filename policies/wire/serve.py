"""The other end: a policy of simedit behind openpi's protocol.

Source: openpi's `websocket_policy_server.py`, whose clients are served as they are.
"""

from __future__ import annotations

import http
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from simedit.errors import SimeditError, shortened, told
from simedit.policies.player import Player
from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.link import LARGEST
from simedit.protocols import Action

FRAME, PROMPT, RESET, SEED = "frame", "prompt", "reset", "seed"
"""Keys of an observation; what else the policy needs, see `simedit.protocols.NEEDS`, comes beside them."""
_WRONG = 1011
"""The websocket's code of a server that failed, as openpi's server closes."""


class PolicyServer:
    """Serves policies that `load` makes: one for each connection that asks, and again for later ones.

    An observation holds the frame (uint8 [H, W, 3], also under the only key that such an array has), the
    `prompt`, and perhaps `reset` (an episode begins) and its `seed` (0). An episode begins also with each
    connection and where the prompt changes, so clients that only know `infer` are served too. The answer has
    `actions`, float32 [1, 7] (metres; axis-angle, radians; gripper, 1 closes) or as many numbers as the
    policy gives, and `terminate`, bool [1].

    Args:
        load: gives a policy, ready to act.
        metadata: what is said of it to each client.
        host, port: where; port 0 takes a free one.

    Attributes:
        port, url: where it listens.

    Raises:
        SimeditError: the policy cannot be had, or the port.
    """

    def __init__(self, load: Callable[[], Any], metadata: dict[str, Any], *, host: str, port: int) -> None:
        self._load, self._lock = load, threading.Lock()
        self._open: set[ServerConnection] = set()
        with ExitStack() as stack:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = stack.enter_context(socket.socket(family))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with _telling(host, port):  # before the policy is loaded, which may take minutes
                bound.bind((host, port))
            self._idle = [self._player()]
            with _telling(host, port):
                bound.listen()
            stack.pop_all()
        self._metadata = {**metadata, "needs": list(self._idle[0].needs)}
        # A browser says which page asks: no page has business here. And policies may compute for long.
        self._server: Server = serve(
            self._talk,
            sock=bound,
            origins=[None],
            process_request=_health,
            compression=None,
            max_size=LARGEST,
            ping_interval=None,
            close_timeout=1,
        )
        self.port: int = bound.getsockname()[1]
        self.url = f"ws://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self) -> None:
        """Serve until `close`, or Ctrl-C."""
        try:
            self._server.serve_forever()
        finally:
            self.close()

    def close(self) -> None:
        """Take no more connections, and end those that are."""
        for connection in list(self._open):
            threading.Thread(target=connection.close, args=(1001,), daemon=True).start()
        self._server.shutdown()

    def _player(self) -> Player:
        return Player(self._load(), size=None)  # whose client knows how many numbers its environment takes

    def _take(self) -> Player:
        with self._lock:
            return self._idle.pop() if self._idle else self._player()

    def _talk(self, connection: ServerConnection) -> None:
        self._open.add(connection)
        episode = None
        try:
            connection.send(pack(self._metadata))
            for said in connection:
                if episode is None:  # who only asks for the metadata takes no policy
                    episode = _Episode(self._take())
                connection.send(pack(episode.answer(said)))
        except ConnectionClosed:
            pass
        except BaseException as error:  # a policy may call sys.exit
            known = isinstance(error, SimeditError)
            line = shortened(error if known else told(error), 300)
            print(f"{_who(connection)}: {line}", file=sys.stderr, flush=True)
            text = str(error) if known else traceback.format_exc()
            try:
                connection.send(text)
                connection.close(_WRONG, "the error is in the frame before")
            except ConnectionClosed:
                pass
        finally:
            self._open.discard(connection)
            if episode is not None:
                with self._lock:
                    self._idle.append(episode.player)


@contextmanager
def _telling(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SimeditError(
            f"cannot listen at {host}:{port}: {error.strerror}. Choose another --host or --port"
        ) from error


class _Episode:
    """What one client asks of one policy."""

    def __init__(self, player: Player) -> None:
        self.player = player
        self._prompt: str | None = None

    def answer(self, said: str | bytes) -> dict[str, Any]:
        asked = unpack(said) if isinstance(said, bytes) else said
        if not isinstance(asked, dict):
            raise SimeditError(
                f"an observation must be a mapping in msgpack, not {shortened(repr(asked), 80)}"
            )
        prompt, seed, reset = asked.get(PROMPT, ""), asked.get(SEED, 0), asked.get(RESET, False)
        _check(PROMPT, prompt, str, "a string")
        _check(SEED, seed, int | np.integer, "a whole number")
        _check(RESET, reset, bool | np.bool_, "true or false")
        if reset or prompt != self._prompt:
            self.player.reset(prompt, seed=int(seed))
            self._prompt = prompt
        action = self.player.act(_seen(asked, self.player.needs))
        whole = isinstance(action, Action)
        return {
            "actions": (action.to_array() if whole else action)[None],
            "terminate": np.array([whole and bool(action.terminate)]),
        }


def _check(key: str, value: Any, kinds: Any, what: str) -> None:
    if not isinstance(value, kinds):
        raise SimeditError(f"{key} must be {what}, not {shortened(repr(value), 80)}")


def _seen(asked: dict[Any, Any], needs: tuple[str, ...]) -> Any:
    seen = {need: _frame(asked) if need == FRAME else _given(asked, need) for need in needs}
    return seen[FRAME] if tuple(needs) == (FRAME,) else seen


def _frame(asked: dict[Any, Any]) -> np.ndarray:
    frames = [asked[FRAME]] if FRAME in asked else [value for value in asked.values() if _is_frame(value)]
    if len(frames) == 1 and _is_frame(frames[0]):
        return frames[0]
    raise SimeditError(f"an observation needs one {FRAME}, uint8 [H, W, 3], not {_told(asked)}")


def _given(asked: dict[Any, Any], need: str) -> Any:
    if need not in asked or not (need == "observation" or isinstance(asked[need], dict)):
        raise SimeditError(f"this policy needs {need}: the observation has {_told(asked)}")
    return asked[need]


def _is_frame(value: Any) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.shape[2:] == (3,)
        and value.size > 0
    )


def _told(asked: dict[Any, Any]) -> str:
    parts = (
        f"{key}: {value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else str(key)
        for key, value in asked.items()
    )
    return shortened(", ".join(parts) or "nothing", 300)


def _who(connection: ServerConnection) -> str:
    return ":".join(str(part) for part in connection.remote_address[:2])


def _health(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(http.HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None
