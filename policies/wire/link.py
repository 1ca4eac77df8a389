"""A websocket to a policy's server: every call has a deadline, and what goes wrong is told in one line."""

from __future__ import annotations

import http
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from simedit.errors import SimeditError, shortened
from simedit.protocols import PolicyAway, PolicyLost

T = TypeVar("T")

LARGEST = 1 << 28
"""Bytes of the largest message either side takes: several cameras' frames many times over."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_COMES_BACK = {
    http.HTTPStatus.BAD_GATEWAY,
    http.HTTPStatus.SERVICE_UNAVAILABLE,
    http.HTTPStatus.GATEWAY_TIMEOUT,
}
"""What is answered in place of a server that is being started."""


class Link:
    """An open websocket.

    Args:
        url: ws://HOST:PORT or wss://...; no proxy is asked, whatever the environment says.
        seconds: for the socket to be open, and for the server's handshake.

    Raises:
        ConnectionError: nothing is there, or it went away: trying again may help.
        PolicyAway: what answers is no websocket.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._stack = url, ExitStack()
        try:
            # The server may compute for minutes without answering pings.
            opened = connect(
                url,
                proxy=None,
                compression=None,
                max_size=LARGEST,
                open_timeout=seconds,
                ping_interval=None,
                close_timeout=1,
            )
            self._socket: ClientConnection = self._stack.enter_context(opened)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _COMES_BACK:
                raise ConnectionError(f"it answers {status}") from error
            raise PolicyAway(f"{url} is a web server, not a policy's: it answers {status}") from error
        except TimeoutError as error:
            raise ConnectionError("it does not answer") from error
        except WebSocketException as error:
            if isinstance(error.__cause__, EOFError | OSError):  # it died over the handshake
                raise ConnectionError("it closes the connection") from error
            reason = error.__cause__ or error
            what = "is a web server, not a policy's" if "HTTP/" in str(reason) else "speaks no websocket"
            raise PolicyAway(f"{url} {what}: {shortened(reason, 200)}") from error
        except socket.gaierror as error:
            raise PolicyAway(f"{url}: there is no such host ({error.strerror})") from error
        except OSError as error:
            raise ConnectionError(error.strerror or str(error)) from error

    @property
    def open(self) -> bool:
        """Whether the server is not known to have gone."""
        return self._socket.state is State.OPEN

    def send(self, data: bytes, seconds: float) -> None:
        """Send one binary frame.

        Raises:
            PolicyLost: the server went away, or does not take it in time.
        """
        # websockets has no deadline of its own here: a server that is stopped takes what its socket holds.
        whole = int(seconds)
        limit = struct.pack("ll", whole, int((seconds - whole) * 1e6))
        self._asked(lambda: self._socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit))
        self._asked(lambda: self._socket.send(data))

    def receive(self, seconds: float) -> bytes | str:
        """The next frame.

        Raises:
            PolicyLost: the server went away, or does not answer in time.
        """
        try:
            return self._asked(lambda: self._socket.recv(seconds))
        except TimeoutError:
            raise PolicyLost(f"{self._url} gave no answer in {seconds:g} s") from None

    def close(self) -> None:
        """Hang up."""
        self._stack.close()

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ConnectionClosed as error:
            said = f": {shortened(error.rcvd, 200)}" if error.rcvd else ""
            raise PolicyLost(f"{self._url} went away{said}") from error
        except TimeoutError:
            raise
        except OSError as error:
            raise PolicyLost(f"{self._url} went away: {error.strerror}") from error


def patiently(attempt: Callable[[float], T], url: str, seconds: float) -> T:
    """What `attempt` gives, tried with ever longer pauses while it raises ConnectionError.

    Args:
        attempt: is told how many seconds are left.
        seconds: after so many it is given up.

    Raises:
        PolicyAway: there is no server.
    """
    end, pause, told = time.monotonic() + seconds, _FIRST_PAUSE, False
    while True:
        try:
            return attempt(max(end - time.monotonic(), 1.0))
        except ConnectionError as error:
            left = end - time.monotonic()
            if left <= 0:
                raise PolicyAway(
                    f"no policy's server at {url} ({error}): start it, then try again"
                ) from error
            if not told:
                print(f"waiting up to {seconds:g} s for {url} ({error})", file=sys.stderr, flush=True)
                told = True
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)


def refused(url: str, protocol: str, reason: str) -> SimeditError:
    """The error of a server that speaks otherwise than its protocol does."""
    return PolicyAway(f"{url} does not speak {protocol}: {reason}")
