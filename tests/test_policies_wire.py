from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import msgpack
import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.policies.kinds.server import Timeouts
from simedit.policies.mappings import ActionSpec, Gripper, Image, Mapping, named_mapping, named_mappings
from simedit.policies.wire.codec import pack, unpack
from simedit.policies.wire.convert import Actions, resized
from simedit.policies.wire.remote import RemotePolicy
from simedit.policies.wire.serve import PolicyServer
from simedit.protocols import PolicyAway, PolicyLost

ROOT = Path(__file__).parents[1]
OPENPI, VLA_EVAL = (Path(os.environ.get(name, "absent")) for name in ("OPENPI_PYTHON", "VLA_EVAL_PYTHON"))
"""The interpreters of environments that hold the real packages."""
FRAME = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
QUICK = Timeouts(connect=0.2, start=20, call=5)


class Noisy:
    uses_images = True

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        self.noise = np.random.default_rng(seed + len(instruction))

    def act(self, frame: np.ndarray) -> np.ndarray:
        return (self.noise.normal(0, 0.1, 7) * frame.mean() / 255).astype(np.float32)


class Broken(Noisy):
    def act(self, frame: np.ndarray) -> np.ndarray:
        raise ValueError("the model is out of memory")


@pytest.fixture
def started():
    servers = []

    def start(policy=Noisy, port=0, **metadata) -> PolicyServer:
        server = PolicyServer(policy, {"server": "simedit", **metadata}, host="127.0.0.1", port=port)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.close()
        thread.join(10)


def remote(port: int, protocol="openpi", mapping: str | Mapping = "simedit", timeouts=QUICK) -> RemotePolicy:
    mapping = named_mapping(mapping) if isinstance(mapping, str) else mapping
    return RemotePolicy(f"ws://127.0.0.1:{port}", protocol, mapping, execute=None, timeouts=timeouts)


def local(instruction: str, seed: int, steps: int) -> np.ndarray:
    policy = Noisy()
    policy.reset(instruction, seed=seed)
    return np.stack([policy.act(FRAME) for _ in range(steps)])


def played(policy: RemotePolicy, instruction: str, seed: int, steps: int) -> np.ndarray:
    policy.reset(instruction, seed=seed)
    return np.stack([policy.act(FRAME).to_array() for _ in range(steps)])


class TestCodec:
    GOLDEN = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(1.5), "c": "x"}

    def test_bytes_are_those_of_openpi_client(self):
        golden = (
            "83a16184c40b5f5f6e6461727261795f5fc3c40464617461c418000000000000803f000000400000"
            "4040000080400000a040c4056474797065a33c6634c4057368617065920203a162cb3ff800000000"
            "0000a163a178"
        )
        assert pack(self.GOLDEN).hex() == golden

    @pytest.mark.parametrize("flavour", ["openpi", "vla_eval"])
    @pytest.mark.parametrize("dtype", ["u1", "i8", "f2", ">f4", "f8", "?", "U3"])
    def test_arrays_come_back(self, flavour, dtype):
        array = np.arange(6).reshape(1, 2, 3).astype(dtype)
        found = unpack(pack({"x": array}, flavour))["x"]
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)

    @pytest.mark.parametrize("value", [np.array([{}]), np.zeros(2, "i4,f4"), object(), np.zeros(1, "M8[s]")])
    def test_what_needs_pickle_is_not_sent(self, value):
        with pytest.raises(SimeditError, match="cannot be sent"):
            pack({"x": value})

    @pytest.mark.parametrize(
        "change",
        [{b"dtype": "|O"}, {b"shape": [1 << 40]}, {b"shape": [-1]}, {b"dtype": "V8"}, {b"data": b""}],
    )
    def test_what_needs_pickle_or_lies_is_not_read(self, change):
        array = {b"__ndarray__": True, b"data": b"8bytes!!", b"dtype": "<f8", b"shape": [1]}
        with pytest.raises(SimeditError, match="no msgpack with arrays"):
            unpack(msgpack.packb(array | change))


class TestServedAsInProcess:
    def test_actions_are_equal_to_the_last_bit(self, started):
        policy = remote(started().port)
        for seed in (3, 4):
            assert np.array_equal(played(policy, "open", seed, 5), local("open", seed, 5))
        policy.close()

    def test_health(self, started):
        url = f"http://127.0.0.1:{started().port}/healthz"
        assert urllib.request.urlopen(url, timeout=5).read() == b"OK\n"

    def test_the_real_openpi_client(self, started):
        if not OPENPI.exists():
            pytest.skip("OPENPI_PYTHON is no Python with openpi-client")
        script = """if True:
            import json, sys, numpy as np
            from openpi_client.websocket_client_policy import WebsocketClientPolicy
            client = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
            frame = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
            said = [client.infer({"anything": frame, "prompt": "open"})["actions"] for _ in range(5)]
            print(np.concatenate(said).tobytes().hex())
        """
        command = [str(OPENPI), "-c", script, str(started().port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == local("open", 0, 5).tobytes().hex(), done.stderr

    def test_a_real_model_server_of_vla_eval(self, tmp_path):
        if not VLA_EVAL.exists():
            pytest.skip("VLA_EVAL_PYTHON is no Python with vla-eval")
        script = tmp_path / "server.py"
        script.write_text("""if True:
            import sys, numpy as np
            from vla_eval.model_servers.predict import PredictModelServer
            from vla_eval.model_servers.serve import serve
            class Model(PredictModelServer):
                def predict(self, obs, ctx):
                    if ctx.is_first:
                        self.noise = np.random.default_rng(3 + len(obs["task_description"]))
                    frame = obs["images"]["primary"]
                    action = self.noise.normal(0, 0.1, 7) * frame.mean() / 255
                    return {"actions": action.astype(np.float32)}
            serve(Model(), host="127.0.0.1", port=int(sys.argv[1]))
        """)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with open(tmp_path / "log", "w") as log:
            server = subprocess.Popen([str(VLA_EVAL), str(script), str(port)], stdout=log, stderr=log)
        try:
            mapping = Mapping(images=(Image(key=("images", "primary")),), instruction="task_description")
            policy = remote(port, "vla_eval", mapping, Timeouts(connect=60, start=30, call=10))
            for _ in range(2):
                assert np.array_equal(played(policy, "open", 3, 5), local("open", 3, 5))
            policy.close()
        finally:
            server.kill()
            server.wait()


class TestWhatGoesWrong:
    def test_no_server(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(PolicyAway, match="no policy's server at"):
            remote(port)

    def test_a_web_server(self):
        web = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        try:
            with pytest.raises(PolicyAway, match="is a web server"):
                remote(web.server_address[1])
        finally:
            web.shutdown()
            web.server_close()

    def test_the_other_protocol(self, started):
        with pytest.raises(PolicyAway, match="does not speak vla_eval"):
            remote(started().port, "vla_eval")

    def test_a_policy_that_raises_is_told_and_is_no_lost_server(self, started):
        policy = remote(started(Broken).port)
        policy.reset("open")
        with pytest.raises(SimeditError, match="out of memory") as caught:
            policy.act(FRAME)
        assert not isinstance(caught.value, PolicyLost | PolicyAway)

    def test_a_server_that_dies_loses_the_episode_and_its_restart_goes_on(self, started):
        first = started()
        policy = remote(first.port)
        played(policy, "open", 1, 2)
        first.close()
        with pytest.raises(PolicyLost, match="went away"):
            policy.act(FRAME)
        started(port=first.port)
        assert np.array_equal(played(policy, "open", 2, 3), local("open", 2, 3))
        policy.close()

    def test_another_server_in_its_place_is_refused(self, started):
        first = started(weights="a")
        policy = remote(first.port)
        first.close()
        policy.close()
        started(port=first.port, weights="b")
        with pytest.raises(PolicyAway, match="differ in weights"):
            policy.reset("open")


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ({"actions": np.full((1, 7), np.nan)}, "not finite"),
            ({"actions": np.zeros((2, 8))}, "the mapping expects"),
            ({"actions": np.zeros((0, 7))}, "the mapping expects"),
            ({"actions": "none"}, "must be numbers"),
            ({"action": np.zeros(7)}, "actions"),
            ([1, 2], "no 'actions'"),
        ],
    )
    def test_what_is_no_action(self, answer, message):
        with pytest.raises(SimeditError, match=message):
            Actions(ActionSpec(), None).read(answer)

    def test_a_quaternion_turns_as_its_axis_and_angle(self):
        spec = ActionSpec(columns=("x", "y", "z", "qx", "qy", "qz", "qw", "gripper"))
        step = [1, 2, 3, 0, 0, np.sin(0.1), np.cos(0.1), 1]
        found = Actions(spec, None).read({"actions": np.array(step)})[0]
        assert np.allclose(found.to_array(), [1, 2, 3, 0, 0, 0.2, 1])

    def test_a_gripper_that_sticks(self):
        spec = ActionSpec(gripper=Gripper(open=1, closed=0, read="switch", sticky=3))
        steps = np.zeros((6, 7))
        steps[:, 6] = [1, 0, 1, 1, 1, 1]  # closes, then opens once it may
        motions = [action.gripper for action in Actions(spec, None).read({"actions": steps})]
        assert motions == [0, 1, 1, 1, -1, -1]


def test_padding_is_openpis():
    if not OPENPI.exists():
        pytest.skip("OPENPI_PYTHON is no Python with openpi-client")
    script = """if True:
        import numpy as np
        from openpi_client.image_tools import resize_with_pad
        for size in ((24, 32), (33, 17), (50, 51)):
            frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
            print(resize_with_pad(frame, 21, 28).tobytes().hex())
    """
    theirs = subprocess.run([str(OPENPI), "-c", script], capture_output=True, text=True, timeout=60)
    image = Image(key="x", width=28, height=21, resize="pad")
    ours = [
        resized(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8), image).tobytes().hex()
        for size in ((24, 32), (33, 17), (50, 51))
    ]
    assert theirs.stdout.split() == ours, theirs.stderr


def test_named_mappings_say_where_they_are_from():
    for name in named_mappings():
        found = named_mapping(name)
        assert found.source
        assert found.note
        assert name == "simedit" or "not run against the real weights" in found.note


def test_the_example_serves_until_it_is_interrupted():
    command = [sys.executable, str(ROOT / "examples" / "policy_server.py"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        policy = remote(int(server.stdout.readline().rsplit(":", 1)[1]))
        assert 0 < played(policy, "open", 0, 1)[0, 0] < 0.02
        policy.close()
        os.kill(server.pid, signal.SIGINT)
        _, said = server.communicate(timeout=30)
        assert server.returncode == 130
        assert "Traceback" not in said
    finally:
        server.kill()
