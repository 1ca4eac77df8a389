from __future__ import annotations

import textwrap
import urllib.request

import foreign_python
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire_servers import Counter, frame, ours

from simedit.errors import SimeditError
from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.serve import PolicyServer


def dial(server, **settings):
    return connect(server.url, max_size=None, proxy=None, **settings)


def ask(connection, **observation):
    connection.send(pack(observation))
    found = connection.recv(30)
    return unpack(found) if isinstance(found, bytes) else found


def first(instruction, seed, seen):
    here = Counter()
    here.reset(instruction, seed=seed)
    return here.act(seen).to_array()


def test_who_only_knows_infer_begins_an_episode_with_each_connection_and_prompt():
    with ours(policy="x") as server:
        for _ in range(2):
            with dial(server) as client:
                metadata = {"server": "simedit", "policy": "x", "needs": ["frame"]}
                assert unpack(client.recv(30)) == metadata
                one = ask(client, **{"observation/image": frame(), "prompt": "open it"})
                assert one["actions"].dtype == np.float32
                assert one["actions"].shape == (1, 7)
                np.testing.assert_array_equal(one["actions"][0], first("open it", 0, frame()))
                second = ask(client, frame=frame(), prompt="open it")["actions"]
                assert not np.array_equal(second, one["actions"])
                again = ask(client, frame=frame(), prompt="open it", reset=True, seed=0)["actions"]
                np.testing.assert_array_equal(again, one["actions"])
                other = ask(client, frame=frame(), prompt="close")["actions"]
                np.testing.assert_array_equal(other[0], first("close", 0, frame()))
                seeded = ask(client, frame=frame(), prompt="close", reset=True, seed=7)["actions"]
                np.testing.assert_array_equal(seeded[0], first("close", 7, frame()))


def test_connections_have_policies_of_their_own_and_use_them_again():
    made = []

    def load():
        made.append(Counter())
        return made[-1]

    with ours(load) as server:
        with dial(server) as one, dial(server) as two:
            for client in (one, two):
                client.recv(30)
            assert len(made) == 1  # nobody has asked
            expected = first("a", 0, frame())
            np.testing.assert_array_equal(ask(one, frame=frame(), prompt="a")["actions"][0], expected)
            np.testing.assert_array_equal(ask(two, frame=frame(), prompt="a")["actions"][0], expected)
            assert not np.array_equal(ask(one, frame=frame(), prompt="a")["actions"][0], expected)
        for _ in range(3):
            with dial(server) as client:
                client.recv(30)
                ask(client, frame=frame(), prompt="a")
    assert len(made) in (2, 3)  # a policy is free a moment after its client has gone


def test_a_chunk_is_played_by_the_server():
    class Chunks(Counter):
        def act(self, seen):
            return np.repeat(super().act(seen).to_array()[None], 2, axis=0)

    with ours(Chunks) as server, dial(server) as client:
        client.recv(30)
        found = [ask(client, frame=frame(), prompt="a")["actions"] for _ in range(3)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("hello", "must be a mapping in msgpack, not 'hello'"),
        (b"\xc1", "no msgpack"),
        (pack([1]), r"not \[1\]"),
        (pack({"prompt": "a"}), "needs one frame, uint8 .* not prompt"),
        (pack({"frame": np.zeros((2, 2, 3))}), r"not frame: float64 \[2, 2, 3\]"),
        (pack({"a": frame(), "b": frame()}), r"needs one frame.* not a: uint8 \[24, 32, 3\], b: uint8"),
        (pack({"frame": frame(), "prompt": 3}), "prompt must be a string, not 3"),
        (pack({"frame": frame(), "seed": "x"}), "seed must be a whole number"),
        (pack({"frame": frame(), "reset": np.zeros(2)}), "reset must be true or false"),
    ],
)
def test_what_is_no_observation_is_told_to_its_client_and_others_are_served(said, message, capsys):
    with ours() as server, dial(server) as other:
        other.recv(30)
        with dial(server) as client:
            client.recv(30)
            client.send(said)
            with pytest.raises(SimeditError, match=message):
                raise SimeditError(client.recv(30))
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(30)
            assert closed.value.rcvd.code == 1011
        assert ask(other, frame=frame(), prompt="a")["actions"].shape == (1, 7)
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("error", [RuntimeError("no weights"), SystemExit(3)])
def test_what_a_policy_raises_goes_to_its_client_with_the_traceback(error, capsys):
    class Broken(Counter):
        def act(self, seen):
            raise error

    with ours(Broken) as server, dial(server) as client:
        client.recv(30)
        said = ask(client, frame=frame(), prompt="a")
        assert said.startswith("Traceback")
        assert said.strip().endswith(f"{type(error).__name__}: {error}")


def test_health_and_no_pages():
    with ours() as server:
        with urllib.request.urlopen(server.url.replace("ws", "http") + "/healthz") as found:
            assert (found.status, found.read()) == (200, b"OK\n")
        with pytest.raises(InvalidStatus, match="403"):
            dial(server, origin="https://page.example")


def test_a_port_that_is_taken_is_told():
    with (
        ours() as server,
        pytest.raises(SimeditError, match=rf"cannot listen at 127.0.0.1:{server.port}: .*--port"),
    ):
        PolicyServer(pytest.fail, {}, host="127.0.0.1", port=server.port)  # before it is loaded


def test_the_real_openpi_client_gets_the_actions_of_the_policy_in_the_process_to_the_last_bit():
    python = foreign_python.interpreter("openpi-client")
    script = """
        import sys, numpy as np
        from openpi_client.websocket_client_policy import WebsocketClientPolicy
        client = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
        assert client.get_server_metadata()["server"] == "simedit"
        for episode in range(2):
            for step in range(5):
                frame = np.random.default_rng(step).integers(0, 256, (24, 32, 3), np.uint8)
                seen = {"frame": frame, "prompt": "open it", "reset": step == 0, "seed": episode}
                found = client.infer(seen)
                print(found["actions"].tobytes().hex(), bool(found["terminate"][0]))
        try:
            client.infer({"prompt": "open it"})
        except RuntimeError as error:
            print(error)
    """
    with ours() as server:
        said = foreign_python.run(python, textwrap.dedent(script), str(server.port)).splitlines()
    here, expected = Counter(), []
    for episode in range(2):
        here.reset("open it", seed=episode)
        for step in range(5):
            action = here.act(frame(step))
            expected.append(f"{action.to_array().tobytes().hex()} {action.terminate}")
    assert said[:10] == expected
    assert said[10:] == [
        "Error in inference server:",
        "an observation needs one frame, uint8 [H, W, 3], not prompt",
    ]
