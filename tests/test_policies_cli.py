from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from simedit.packaged import policy_folder
from simedit.policies import cli
from simedit.policies.cloned import ClonedPolicy
from simedit.policies.kinds.server import Server

MAIN = "import sys; from simedit.policies.cli import main; sys.exit(main())"


def client(url) -> Server:
    return Server(kind="server", protocol="openpi", url=url, mapping="simedit")


def serving(*command: str, cwd=None):
    """A command that serves, and where."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if "ws://" not in line:
        raise AssertionError(process.communicate()[1])
    return process, next(word for word in line.split() if word.startswith("ws://"))


def end(process):
    """Ctrl-C, while a client is there; what went to stderr."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    return said


@pytest.mark.slow
def test_a_policy_of_the_lab_is_served_as_it_is(tmp_path):
    process, url = serving("-c", MAIN, "serve", "lab:last", "--port", "0", cwd=tmp_path)
    try:
        there = client(url).load(lambda: None)
        here = ClonedPolicy(policy_folder("lab:last"))
        frame = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
        for policy in (here, there):
            policy.reset("open top drawer", seed=1)
        for _ in range(3):
            np.testing.assert_array_equal(there.act(frame).to_array(), here.act(frame).to_array())
        meaning = client(url).meaning()["servers"]
        assert meaning["policy"] == {"kind": "cloned", "checkpoint": "lab:last"}
        assert len(meaning["fingerprints"]["checkpoints"]) == 16
        assert end(process) == "interrupted\n"
    finally:
        process.kill()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_example_serves_a_policy_of_ones_own():
    example = Path(__file__).parents[1] / "examples" / "policy_server.py"
    process, url = serving(str(example), "--port", "0")
    try:
        policy = client(url).load(lambda: None)
        policy.reset("close top drawer", seed=3)
        frame = np.full((24, 32, 3), 255, np.uint8)
        frame[:, 28] = 0
        action = policy.act(frame)
        assert action.world_vector[1] < 0 < action.world_vector[0]
        assert end(process) == "interrupted\n"
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["lab"], "lab has several policies: say which, lab:last"),
        (["lab:lst"], "unknown policy in lab 'lst': did you mean 'last'"),
        (["labb:last"], "unknown config 'labb': did you mean 'lab'"),
        (["absent.yaml"], "cannot read config absent.yaml"),
        (["one.yaml", "--set", "policies.one.noise=-1"], "policies.one.scripted.noise"),
        (["one.yaml:one"], "acts from the environment's privileged state"),
        (["lab:last", "--port", "70000"], "--port must be 0 to 65535, not 70000"),
        (["paper:RT-1-X"], "policy 'RT-1-X' cannot be played"),
    ],
)
def test_what_cannot_be_served_is_told(given, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("policies: {one: {kind: scripted}}\nother: 3\n")
    assert cli.main(["serve", *given, *([] if "--port" in given else ["--port", "0"])]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "serving" not in said.out


@pytest.fixture
def not_run(monkeypatch):
    monkeypatch.setattr(
        "simedit.policies.wire.serve.PolicyServer.run", lambda server: server._server.socket.close()
    )


def test_a_policy_of_ones_own_lies_beside_its_study(not_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "served_by_a_test.py").write_text(
        "class Still:\n"
        "    def reset(self, instruction, *, seed=0): ...\n"
        "    def act(self, frame): return [0, 0]\n"
    )
    (tmp_path / "one.yaml").write_text(
        "policies: {still: {kind: python, factory: 'served_by_a_test:Still'}}\n"
    )
    assert cli.main(["serve", str(tmp_path / "one.yaml"), "--port", "0"]) == 0
    assert "serving 'still' at ws://127.0.0.1:" in capsys.readouterr().out


def test_another_host_is_warned_of(not_run, capsys):
    assert cli.main(["serve", "lab:last", "--host", "0.0.0.0", "--port", "0"]) == 0
    said = capsys.readouterr()
    assert "warning: whoever reaches 0.0.0.0:0 can use this policy" in said.err
    assert "serving 'last' at ws://0.0.0.0:" in said.out


def test_mappings_are_listed_and_shown(capsys):
    assert cli.main(["mappings"]) == 0
    assert "openvla      OpenVLA behind vla-eval's model server; not run" in capsys.readouterr().out
    assert cli.main(["mappings", "openvla"]) == 0
    assert "read: change, sticky: 15" in capsys.readouterr().out
    assert cli.main(["mappings", "openvl"]) == 2
    assert "did you mean 'openvla'" in capsys.readouterr().err
