"""Policies' servers in a thread of the test: simedit's own, and foreign ones that behave as they are told."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.serve import PolicyServer
from simedit.protocols import Action


class Counter:
    """A policy whose actions tell what it was asked, in float32 numbers that are no round ones."""

    uses_images = True
    needs: tuple[str, ...] = ("frame",)

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        self._rng, self._steps = np.random.default_rng([seed, len(instruction)]), 0

    def act(self, seen: Any) -> Action:
        self._steps += 1
        frame = seen if isinstance(seen, np.ndarray) else seen["frame"]
        noise = self._rng.standard_normal(6).astype(np.float32) * np.float32(1e-9 + frame.mean() / 3e4)
        return Action(noise[:3], noise[3:], float(np.float32(0.1)), terminate=self._steps == 5)


def frame(number: int = 0) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)


@contextmanager
def ours(load: Callable[[], Any] = Counter, **metadata: Any) -> Iterator[PolicyServer]:
    """A `PolicyServer`; `server.url` says where."""
    server = PolicyServer(load, {"server": "simedit", **metadata}, host="127.0.0.1", port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join()


@contextmanager
def foreign(talk: Callable[[ServerConnection], None], *, port: int = 0, **settings: Any) -> Iterator[str]:
    """The URL of a websocket server that runs `talk` for each connection."""

    def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            talk(connection)

    server = serve(handle, "127.0.0.1", port, max_size=None, compression=None, close_timeout=0.1, **settings)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def openpi(answer: Callable[[dict[str, Any]], Any], **metadata: Any) -> Callable[[ServerConnection], None]:
    """Talks as openpi does; an answer of bytes or text goes out as it is."""

    def talk(connection: ServerConnection) -> None:
        connection.send(pack(metadata))
        for said in connection:
            found = answer(unpack(said))
            connection.send(found if isinstance(found, bytes | str) else pack(found))

    return talk


def vla_eval(
    answer: Callable[[dict[str, Any]], Any], heard: list[Any] | None = None, **hello: Any
) -> Callable[[ServerConnection], None]:
    """Talks as vla-eval's model servers do; an exception of `answer` is an error frame."""

    def talk(connection: ServerConnection) -> None:
        for said in connection:
            frame = unpack(said)
            if heard is not None:
                heard.append((frame["type"], frame["payload"]))
            kind, payload = None, {}
            if frame["type"] == "hello":
                kind, payload = "hello", {"protocol_version": 1, "harness_version": str(time.time()), **hello}
            elif frame["type"] == "observation":
                try:
                    kind, payload = "action", answer(frame["payload"])
                except Exception as error:
                    kind, payload = "error", {"error": f"observation_failed: {error!r}"}
            if kind:
                whole = {"type": kind, "payload": payload, "seq": frame["seq"], "timestamp": 0.0}
                connection.send(pack(whole, "vla_eval"))

    return talk


class Puller:
    """Acts on a `small_drawer.SmallDrawer` from instruction and seed alone, right six times in ten."""

    uses_images = True

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        self._way, self._random = (0.1 if "open" in instruction else -0.1), np.random.default_rng(seed)

    def act(self, frame: np.ndarray) -> np.ndarray:
        way = self._way if self._random.random() < 0.6 else -self._way
        return np.array([way, *(frame.mean(axis=(0, 1)) / 1e3), 0, 0, 0], np.float32)


if __name__ == "__main__":  # serves one: wire_servers.py PORT
    PolicyServer(Puller, {"server": "simedit"}, host="127.0.0.1", port=int(sys.argv[1])).run()
