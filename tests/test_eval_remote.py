from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_drawer
import torch
from small_drawer import CONFIG, SKILLS, Doomed, Mover, Painter, Refusing, SmallDrawer, changed, painted

from simedit.envs.drawer.suite import StudyEnv
from simedit.errors import SimeditError
from simedit.eval.remote import RemoteEnv, SharedEditor
from simedit.eval.rollout import RAW_KEY, Stage
from simedit.eval.store import Store
from simedit.eval.study import Slot, run_study
from simedit.eval.trials import trials
from simedit.wrapper import EditObservation

RESET = {"options": {"pose": "b1", "task": "open", "drawer": "top"}}
PUSH = np.array([0.1, 0, 0, 0, 0, 0, 0], np.float32)


@pytest.fixture
def remote():
    made = []

    def make(build) -> RemoteEnv:
        made.append(RemoteEnv(build))
        return made[-1]

    yield make
    for env in made:
        env.close()


class Named(SmallDrawer):
    @property
    def segmentation_id_map(self):
        return {2: SimpleNamespace(name="cabinet", scene=lambda: None)}  # not to be pickled


def test_names_of_what_is_seen_are_known_here(remote):
    env = EditObservation(remote(Named), Painter(), "gold", mask_ids=["cabinet"])
    frame = env.reset(**RESET)[0]["sensor_data"]["overhead_camera"]["rgb"]
    known = EditObservation(remote(Named), Painter(), "gold", mask_ids=[2])
    np.testing.assert_array_equal(frame, known.reset(**RESET)[0]["sensor_data"]["overhead_camera"]["rgb"])
    with pytest.raises(SimeditError, match=r"'cabinets'.*did you mean 'cabinet'"):
        EditObservation(env.env, Painter(), "gold", mask_ids=["cabinets"]).reset(**RESET)


def test_a_remote_environment_does_what_it_does_here(remote):
    here, there = SmallDrawer(), remote(SmallDrawer)
    assert there.observation_space == here.observation_space
    assert there.action_space == here.action_space
    for one, other in ((here.reset(**RESET), there.reset(**RESET)), (here.step(PUSH), there.step(PUSH))):
        for key in ("rgb", "segmentation"):
            expected, got = (each[0]["sensor_data"]["overhead_camera"][key] for each in (one, other))
            assert isinstance(got, np.ndarray)
            np.testing.assert_array_equal(got, expected.numpy())
        assert set(other[-1]) == set(one[-1])
        np.testing.assert_array_equal(other[-1]["pose"], one[-1]["pose"].numpy())
    assert there.instruction == "open top drawer"
    assert there.edit_segmentation_ids == (2,)
    assert there.privileged_state().extension == here.privileged_state().extension


def test_an_editor_in_the_environments_process_takes_its_style_from_here(remote):
    here, there = painted(), remote(painted)
    assert there.style == "gold"
    for style in ("gold", "wood"):
        here.style = there.style = style
        one, other = (env.reset(**RESET)[0]["sensor_data"]["overhead_camera"] for env in (here, there))
        for key in ("rgb", RAW_KEY):
            np.testing.assert_array_equal(other[key], one[key].numpy())
    with pytest.raises(SimeditError, match="did you mean 'gold'"):
        there.style = "golf"


def test_what_goes_wrong_there_is_raised_here(remote):
    with pytest.raises(SimeditError, match="no such skin"):
        remote(Refusing)
    env = remote(SmallDrawer)
    with pytest.raises(RuntimeError, match="KeyError: 'pose'"):
        env.reset(options={})
    with pytest.raises(SimeditError, match="a SmallDrawer, has no proprioception"):
        remote(SmallDrawer).proprioception()
    dying = remote(Doomed)
    dying.reset(**RESET)
    dying.step(PUSH)
    with pytest.raises(RuntimeError, match="exit code -9"):
        dying.step(PUSH)


class Hanging(SmallDrawer):
    """Never answers to the calls named."""

    def __init__(self, *calls: str) -> None:
        super().__init__()
        self._calls = calls

    def reset(self, **settings):
        self._hang("reset")
        return super().reset(**settings)

    def step(self, action):
        self._hang("step")
        return super().step(action)

    def _hang(self, name):
        if name in self._calls:
            threading.Event().wait()


def test_who_does_not_answer_is_killed(remote):
    env = remote(partial(Hanging, "step"))
    env.reset(**RESET)
    env._start = 0.05
    with pytest.raises(TimeoutError, match=r"no answer to step within 0.05 s \(deadlines.start\)"):
        env.step(PUSH)
    with pytest.raises(RuntimeError, match="exit code -9"):
        env.reset(**RESET)
    assert not env._process.is_alive()


def test_first_answers_have_longer_and_so_have_those_in_a_new_style(remote):
    env = remote(painted)
    env._start, env._call = 60.0, 0.0  # no later call may be made
    env.reset(**RESET)
    env.step(PUSH)
    env.style = "wood"
    env.reset(**RESET)
    with pytest.raises(TimeoutError, match=r"reset within 0 s \(deadlines.call\)"):
        env.reset(**RESET)


def test_a_process_that_is_stopped_is_killed(remote):
    env = remote(SmallDrawer)
    env._start = 0.05
    os.kill(env._process.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="no answer to reset"):
        env.reset(**RESET)
    env.close()
    env.close()
    assert not env._process.is_alive()


class Odd(SmallDrawer):
    """Ends or answers as no environment should."""

    def reset(self, *, seed=None, options=None):
        if seed == 1:
            sys.exit("enough")
        return threading.Lock(), {}


@pytest.mark.parametrize(("seed", "message"), [(1, "SystemExit: enough"), (0, "cannot pickle")])
def test_odd_ends_and_answers_are_errors(remote, seed, message):
    with pytest.raises(RuntimeError, match=message):
        remote(Odd).reset(seed=seed)


def test_a_process_ends_quietly_with_a_killed_parent(tmp_path):
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(small_drawer.__file__).parent)!r})
from small_drawer import SmallDrawer
from simedit.eval.remote import RemoteEnv
if __name__ == "__main__":
    envs = [RemoteEnv(SmallDrawer), RemoteEnv(SmallDrawer)]
    print(*(env._process.pid for env in envs), flush=True)
    os.kill(envs[0]._process.pid, signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "script.py").write_text(script)
    # communicate() returns when all who hold its pipes are gone.
    command = [sys.executable, str(tmp_path / "script.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        shown, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert len(shown.split()) == 2
    assert errors == ""


def studied(build):
    return StudyEnv(build(), "raw")


def play(folder, build, editor, slots, config=CONFIG, progress=lambda result: None):
    def make(domain, _):
        env = RemoteEnv(partial(studied, build)) if slots > 1 else studied(build)
        return EditObservation(env, editor, "gold", keep_raw=RAW_KEY) if domain == "edited" else env

    stages = [Stage(make) for _ in range(slots)]
    with Store(folder, write=True) as store:
        run_study(
            list(trials(config)),
            store=store,
            slots=[Slot(s, {name: Mover(s.state, skill) for name, skill in SKILLS.items()}) for s in stages],
            max_steps=config.max_steps,
            report=config.report,
            progress=progress,
        )
        return store.results()


@pytest.mark.slow
def test_three_environments_give_the_results_of_one(tmp_path):
    alone = play(tmp_path / "one", SmallDrawer, Painter(), 1)
    together = play(tmp_path / "three", SmallDrawer, SharedEditor(Painter()), 3)
    assert len(alone) == len(list(trials(CONFIG)))
    assert together == alone


@pytest.mark.slow
def test_a_trial_whose_process_dies_is_tried_again(tmp_path):
    (tmp_path / "marks").mkdir()
    few = changed(CONFIG, domains=["raw"], scenes={"pose": ["a0"]})
    survived = play(tmp_path / "dying", partial(Doomed, tmp_path / "marks"), Painter(), 2, few)
    assert len(list((tmp_path / "marks").iterdir())) >= 2
    assert survived == play(tmp_path / "well", SmallDrawer, Painter(), 1, few)


@pytest.mark.slow
def test_an_interrupted_study_leaves_no_process_and_begins_no_other(tmp_path):
    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, partial(SmallDrawer, 0.05), Painter(), 3, progress=interrupt)
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("slot") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert multiprocessing.active_children() == []
    with Store(tmp_path, write=False) as store:
        assert len(store.results()) == 1


def test_a_refused_setting_stops_all(tmp_path):
    with pytest.raises(SimeditError, match="no such skin"):
        play(tmp_path, Refusing, Painter(), 2)


class Slow(Painter):
    """Paints once all three threads have asked or the first batch is through; remembers batches' sizes."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go_on = threading.Event()

    def edit(self, frames, *, styles, masks=None, seeds):
        self.batches.append(len(frames))
        self.go_on.wait(10)
        return super().edit(frames, styles=styles, masks=masks, seeds=seeds)


def test_frames_that_wait_are_edited_together():
    slow = Slow()
    shared = SharedEditor(slow)
    assert shared.styles == Painter.styles
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    styles = ["gold", "wood", "gold", "wood", "wood"]
    found: dict[int, np.ndarray] = {}

    def ask(i: int) -> None:
        found[i] = shared.edit(frames[i : i + 1], styles=styles[i : i + 1], seeds=[i])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(5)]
    threads[0].start()
    while not slow.batches:
        pass
    for thread in threads[1:]:
        thread.start()
    while shared._waiting.qsize() < 4:
        pass
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert slow.batches == [1, 4]
    expected = Painter().edit(frames, styles=styles, seeds=list(range(5)))
    np.testing.assert_array_equal(np.concatenate([found[i] for i in range(5)]), expected)


def test_an_edit_that_fails_fails_for_all_who_wait_and_for_no_one_after():
    shared = SharedEditor(Painter())
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(SimeditError, match="did you mean 'gold'"):
        shared.edit(frames, styles=["golf"], seeds=[0])
    assert shared.edit(frames, styles=["gold"], seeds=[0]).shape == frames.shape


def test_tensors_stay_tensors():
    class Darker:
        styles = ("dark",)

        def edit(self, frames, *, styles, masks=None, seeds):
            return torch.where(masks[..., None], frames // 2, frames)

    frames, masks = torch.full((2, 8, 8, 3), 80, dtype=torch.uint8), torch.ones(2, 8, 8, dtype=torch.bool)
    edits = SharedEditor(Darker()).edit(frames, styles=["dark"] * 2, masks=masks, seeds=[0, 1])
    assert torch.equal(edits, frames // 2)
