from __future__ import annotations

import contextlib
import http.server
import io
import re
import socket
import threading

import numpy as np
import pytest
from pydantic import TypeAdapter
from wire_servers import Counter, foreign, frame, openpi, ours, vla_eval

from simedit.errors import SimeditError
from simedit.policies.kinds import AnyPolicy
from simedit.policies.kinds.server import Server
from simedit.policies.wire.codec import pack
from simedit.protocols import PolicyAway, PolicyLost

KINDS = TypeAdapter(AnyPolicy)
PLAIN = {"images": [{"key": "image"}], "instruction": "prompt"}
STEP = [0.1, 0, 0, 0, 0, 0.2, 1]


def kind(url, protocol="openpi", mapping=PLAIN, **settings) -> Server:
    settings = {"timeouts": {"connect": 0.3, "start": 5, "call": 5}, **settings}
    return KINDS.validate_python(
        {"kind": "server", "protocol": protocol, "url": url, "mapping": mapping, **settings}
    )


def nothing():
    raise AssertionError("nobody looks at it")


@contextlib.contextmanager
def playing(talk, **settings):
    with foreign(talk) as url:
        policy = kind(url, **settings).load(nothing)
        yield policy
        policy.close()


def said(policy, number=0):
    return policy.act(frame(number)).to_array().tolist()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_policy_of_ours_acts_over_the_wire_as_in_the_process_to_the_last_bit():
    here = Counter()
    with ours() as server:
        there = kind(server.url, mapping="simedit").load(nothing)
        for seed, instruction in ((3, "open top drawer"), (3, "open top drawer"), (4, "close it")):
            here.reset(instruction, seed=seed)
            there.reset(instruction, seed=seed)
            for step in range(6):
                mine, theirs = here.act(frame(step)), there.act(frame(step))
                assert mine.to_array().tobytes() == theirs.to_array().tobytes()
                assert mine.terminate == theirs.terminate == (step == 4)
        there.close()


def test_a_policy_for_another_environment_acts_over_the_wire_as_in_the_process():
    class Two(Counter):
        def act(self, seen):
            return super().act(seen).to_array()[[2, 5]] * 1e3

    here = Two()
    with ours(Two) as server:
        there = kind(server.url, mapping="simedit").load(nothing)
        for policy in (here, there):
            policy.reset("push", seed=1)
        for step in range(3):
            np.testing.assert_array_equal(there.act(frame(step)), here.act(frame(step)), strict=True)
        there.close()


def test_a_policy_is_shown_what_it_needs():
    seen = []

    class Needy(Counter):
        needs = ("frame", "proprioception", "cameras", "observation")

        def act(self, given):
            seen.append(given)
            return super().act(given)

    given = {
        "frame": frame(),
        "proprioception": {
            "joint_positions": np.arange(3, dtype=np.float32),
            "gripper": 0.5,
            "tool_pose": np.arange(7, dtype=np.float32),
        },
        "cameras": {"hand": frame(1)},
        "observation": {"pixels": frame(), "state": {"velocity": np.zeros((0, 2)), "at": [np.ones(2)]}},
    }
    with ours(Needy) as server:
        policy = kind(server.url, mapping="simedit").load(nothing)
        assert policy.needs == Needy.needs
        policy.reset("x")
        policy.act(given)
        policy.close()
        with pytest.raises(SimeditError, match="needs proprioception, which the mapping does not send"):
            kind(server.url, mapping={"images": [{"key": "frame"}]}).load(nothing)
    np.testing.assert_equal(seen, [given])


def test_a_chunk_is_played_to_execute_and_forgotten_with_its_episode():
    asked = []

    def answer(observation):
        asked.append(observation["prompt"])
        return {"actions": np.full((4, 7), len(asked), np.float32)}

    with playing(openpi(answer), mapping={**PLAIN, "action": {"chunk": 4, "execute": 3}}) as policy:
        policy.reset("a")
        assert [said(policy)[0] for _ in range(4)] == [1, 1, 1, 2]
        policy.reset("b")
        assert said(policy)[0] == 3
    assert asked == ["a", "a", "b"]


def test_vla_eval_hears_its_episodes():
    heard = []
    with playing(vla_eval(lambda _: {"actions": STEP}, heard), protocol="vla_eval") as policy:
        for seed in (1, 2):
            policy.reset("open it", seed=seed)
            assert said(policy) == pytest.approx(STEP)
    kinds = ["hello", "episode_start", "observation", "episode_end", "episode_start", "observation"]
    assert [name for name, _ in heard] == kinds
    assert heard[4][1] == {"task": {"name": "open it", "seed": 2}}
    assert heard[5][1]["prompt"] == "open it"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"actions": np.zeros((10, 14))}, r"are \[10, 14\], the mapping expects \[T, 7\]: x y z"),
        ({"actions": np.zeros((0, 7))}, r"are \[0, 7\]"),
        ({"actions": np.zeros((1, 1, 7))}, r"are \[1, 1, 7\]"),
        ({"actions": np.full((1, 7), np.nan)}, "not finite numbers"),
        ({"actions": np.full((1, 7), 1e39)}, "not finite numbers"),
        ({"actions": "left"}, "must be numbers, not 'left'"),
        ({"actions": [["a"] * 7]}, "must be numbers"),
        ({"action": STEP}, "unknown key 'actions': did you mean 'action'"),
        ([1, 2], "the server's answer has no 'actions'"),
        ("Traceback ...\n  line\nValueError: no such key", "its server says ValueError: no such key"),
        ("", "its server says nothing"),
        (b"\xc1garbage", "no msgpack with arrays"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_action_is_the_policys_error_and_the_next_episode_can_be_played(answer, message):
    answers = [answer, {"actions": STEP}]
    with playing(openpi(lambda _: answers.pop(0))) as policy:
        policy.reset("a")
        with pytest.raises(SimeditError, match=message) as caught:
            policy.act(frame())
        assert not isinstance(caught.value, PolicyLost | PolicyAway)
        policy.reset("b")
        assert said(policy) == pytest.approx(STEP)


def test_what_vla_evals_policy_raises_is_told():
    def answer(_):
        raise KeyError("primary")

    with playing(vla_eval(answer), protocol="vla_eval") as policy:
        policy.reset("a")
        with pytest.raises(SimeditError, match=r"its server says observation_failed: KeyError\('primary'\)"):
            policy.act(frame())


def test_a_server_that_goes_away_loses_the_episode_and_the_next_one_calls_again():
    left = [1]

    def answer(_):
        if left and left.pop():
            raise SystemExit
        return {"actions": STEP}

    def talk(connection):
        with contextlib.suppress(SystemExit):
            return openpi(answer)(connection)
        connection.socket.shutdown(socket.SHUT_RDWR)

    with playing(talk) as policy:
        policy.reset("a")
        with pytest.raises(PolicyLost, match="went away"):
            policy.act(frame())
        with pytest.raises(PolicyLost, match="broke earlier"):
            policy.act(frame())
        policy.reset("a")
        assert said(policy) == pytest.approx(STEP)


def test_a_server_that_is_slow_loses_the_episode_and_its_late_answer_is_nobodys():
    done, asked = threading.Event(), []

    def answer(_):
        asked.append(1)
        if len(asked) == 1:
            done.wait(30)
        return {"actions": np.full(7, len(asked), np.float32)}

    with playing(openpi(answer), timeouts={"connect": 5, "start": 0.2, "call": 5}) as policy:
        policy.reset("a")
        with pytest.raises(PolicyLost, match=r"no answer in 0\.2 s"):
            policy.act(frame())
        done.set()
        policy.reset("a")
        assert said(policy)[0] == 2


def test_a_server_that_stays_away_is_away():
    with foreign(openpi(lambda _: {"actions": STEP})) as url:
        policy = kind(url).load(nothing)
        policy.reset("a")
        said(policy)
    with pytest.raises(PolicyLost):
        policy.act(frame())
    with pytest.raises(PolicyAway, match=f"no policy's server at {url}.*start it"):
        policy.reset("a")


class Said(io.StringIO):
    """A standard error that lets the test know when something is said there."""

    def __init__(self):
        super().__init__()
        self.something = threading.Event()

    def flush(self):
        self.something.set()


def test_a_server_is_waited_for(monkeypatch):
    port, found, told = free_port(), [], Said()
    monkeypatch.setattr("sys.stderr", told)
    waits = kind(f"ws://127.0.0.1:{port}", timeouts={"connect": 30})
    thread = threading.Thread(target=lambda: found.append(waits.load(nothing)))
    thread.start()
    assert told.something.wait(30)
    assert told.getvalue().startswith("waiting up to 30 s for ")
    with foreign(openpi(lambda _: {"actions": STEP}), port=port):
        thread.join()
        found[0].reset("a")
        assert said(found[0]) == pytest.approx(STEP)
        found[0].close()


def test_another_server_in_its_place_is_refused():
    port = free_port()
    with foreign(openpi(lambda _: {"actions": STEP}, weights="one"), port=port) as url:
        policy = kind(url).load(nothing)
        policy.close()
    message = "not the server that it was: its metadata differ in weights"
    with foreign(openpi(lambda _: {}, weights="two"), port=port), pytest.raises(PolicyAway, match=message):
        policy.reset("a")


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"ws://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def talker(says):
    """A port at which something says `says` to whatever it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            with contextlib.suppress(OSError):
                while True:
                    with listening.accept()[0] as connection:
                        connection.recv(1 << 16)
                        connection.sendall(says)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("server", "protocol", "message"),
    [
        (lambda: web(), "openpi", "is a web server, not a policy's: it answers 404"),
        (lambda: talker(b"HTTP/1.0 200 OK\r\n\r\n"), "openpi", "is a web server.*HTTP/1.0 200"),
        (lambda: talker(b"SSH-2.0-OpenSSH\r\n"), "openpi", "speaks no websocket"),
        (lambda: talker(b""), "openpi", "no policy's server at .*closes the connection"),
        (lambda: foreign(lambda c: c.send("hello")), "openpi", "its first word is no metadata but 'hello'"),
        (lambda: foreign(lambda c: c.send(b"\xc1")), "openpi", "does not speak openpi: no msgpack"),
        (lambda: foreign(lambda c: c.send(pack([1]))), "openpi", "its first word is no metadata"),
        (lambda: foreign(openpi(lambda _: {})), "vla_eval", "does not speak vla_eval: it says {}, no frame"),
        (lambda: foreign(vla_eval(lambda _: {}, protocol_version=2)), "vla_eval", "its version is 2"),
        (lambda: foreign(vla_eval(lambda _: {})), "openpi", "no answer in .*which is it?"),
    ],
    ids=["web", "old web", "ssh", "closes", "text", "garbage", "list", "openpi", "version", "vla_eval"],
)  # fmt: skip
def test_what_is_no_such_server_is_told_before_the_first_trial(server, protocol, message):
    with server() as url:
        found = kind(url, protocol, timeouts={"connect": 0.2, "call": 0.2})
        (problem,) = found.problems()
    assert len(problem.splitlines()) == 1
    assert re.search(message, problem)


def test_a_host_that_does_not_exist_is_not_waited_for():
    (problem,) = kind("ws://no.such.host.invalid:1", timeouts={"connect": 1000}).problems()
    assert "there is no such host" in problem


def test_a_server_that_takes_nothing_is_not_waited_for_without_end():
    hold = threading.Event()

    def talk(connection):
        connection.send(pack({}))
        hold.wait(30)

    with foreign(talk, max_queue=1) as url:
        policy = kind(url, timeouts={"connect": 5, "start": 0.3}).load(nothing)
        policy.reset("a")
        with pytest.raises(PolicyLost):
            policy.act(np.zeros((2048, 4096, 3), np.uint8))
        hold.set()
