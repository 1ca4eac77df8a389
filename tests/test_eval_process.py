from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.eval.config import TimeoutConfig
from simedit.eval.process import Process
from simedit.eval.rollout import EnvironmentDied
from simedit.protocols import PolicyAway, PolicyLost

TIMEOUTS = TimeoutConfig(first_frame=120, step=60)
ERRORS = {kind.__name__: kind for kind in (EnvironmentDied, PolicyAway, PolicyLost, SimeditError)}


class Thing:
    """Does what it is asked for in its process."""

    def __init__(self, *, tell, editor=None):
        self._tell, self._editor = tell, editor

    def twice(self, array):
        return array * 2

    def fail(self, kind):
        raise ERRORS[kind]("enough") if kind in ERRORS else KeyError(kind)

    def leave(self):
        sys.exit("enough")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def odd(self):
        return threading.Lock()

    def hang(self, seconds):
        self._tell("act", 60.0, "act")
        self._tell("step", seconds, "step")
        threading.Event().wait()

    def edited(self, frames):
        return self._editor.edit(frames, styles=["light"] * len(frames), seeds=[0] * len(frames))

    def child(self):
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    def pid(self):
        return os.getpid()


class Brighter:
    styles = ("light",)

    def edit(self, frames, *, styles, masks=None, seeds):
        return frames // 2 + 128


class Refusing:
    def __init__(self, *, tell):
        raise SimeditError("no such skin")


@pytest.fixture
def process():
    made = []

    def make(kind=Thing, timeouts=TIMEOUTS, editor=None) -> Process:
        made.append(Process(kind, timeouts, editor))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def gone(pid: int) -> bool:
    """Whether a process ends, soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        threading.Event().wait(0.05)
    return False


def test_an_object_answers_from_its_own_process(process):
    thing = process()
    np.testing.assert_array_equal(thing.call("twice", np.arange(3)), [0, 2, 4])
    assert thing.call("pid") == thing.pid != os.getpid()
    for name, kind in ERRORS.items():
        with pytest.raises(kind, match=r"^enough$"):
            thing.call("fail", name)
    with pytest.raises(RuntimeError, match="KeyError: 'x'"):
        thing.call("fail", "x")
    with pytest.raises(RuntimeError, match="cannot pickle"):
        thing.call("odd")
    with pytest.raises(RuntimeError, match="SystemExit: enough"):
        thing.call("leave")
    np.testing.assert_array_equal(thing.call("twice", np.ones(2)), [2, 2])  # nothing of it lingers
    with pytest.raises(RuntimeError, match="exit code -9"):
        thing.call("die")
    with pytest.raises(RuntimeError, match="exit code -9"):
        thing.call("pid")


def test_what_refuses_its_settings_is_an_error_of_the_first_call(process):
    with pytest.raises(SimeditError, match="no such skin"):
        process(Refusing).call("twice", 1)


def test_who_takes_too_long_is_killed_with_its_children(process):
    thing = process()
    child, pid = thing.call("child"), thing.pid
    with pytest.raises(TimeoutError, match=r"no end of step within 0.05 s \(timeouts.step\): its"):
        thing.call("hang", 0.05)
    assert gone(child)
    assert gone(pid)


def test_children_end_with_a_process_that_died_by_itself(process):
    thing = process()
    child = thing.call("child")
    os.kill(thing.pid, signal.SIGKILL)
    assert gone(child)


def test_a_process_that_is_stopped_is_killed(process):
    thing = process(timeouts=TimeoutConfig(first_frame=120, step=0.05))
    pid = thing.call("pid")
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match=r"no end of call within 0.05 s \(timeouts.step\)"):
        thing.call("twice", 1)
    assert gone(pid)


def test_edits_are_asked_for_here(process):
    frames = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    edits = process(editor=Brighter()).call("edited", frames)
    np.testing.assert_array_equal(edits, frames // 2 + 128)


def test_a_large_edit_for_one_that_is_stopped_holds_up_nobody(process):
    class Stopping(Brighter):
        def edit(self, frames, **settings):
            os.kill(thing.pid, signal.SIGSTOP)
            return super().edit(frames, **settings)

    thing = process(timeouts=TimeoutConfig(first_frame=5, step=0.05), editor=Stopping())
    with pytest.raises(TimeoutError):
        thing.call("edited", np.zeros((8, 512, 512, 3), np.uint8))


def test_processes_end_quietly_with_a_killed_parent(tmp_path):
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_eval_process import TIMEOUTS, Process, Thing
if __name__ == "__main__":
    made = [Process(Thing, TIMEOUTS), Process(Thing, TIMEOUTS)]
    print(*(each.call("pid") for each in made), *(each.call("child") for each in made), flush=True)
    os.kill(made[0].pid, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "script.py").write_text(script)
    # communicate() returns when all who hold its pipes are gone.
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        shown, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert len(shown.split()) == 4
    assert errors == ""


def test_a_process_without_editor_gets_none(process):
    with pytest.raises(RuntimeError, match="NoneType"):
        process(partial(Thing)).call("edited", np.zeros((1, 8, 8, 3), np.uint8))
