from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from small_drawer import CONFIG, Doomed, Painter, Refusing, SmallDrawer, changed, movers

from simedit.envs.drawer.suite import StudyEnv
from simedit.errors import SimeditError
from simedit.eval.config import TimeoutConfig
from simedit.eval.remote import RemoteEditor, RemoteWorker, SharedEditor, _networks, local_workers
from simedit.eval.rollout import RAW_KEY, EnvironmentDied, Stage
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.trials import trials
from simedit.eval.worker import Phases, TimedEditor
from simedit.wrapper import EditObservation

TIMEOUTS = TimeoutConfig(first_frame=120)


def worker(env, *, tell, editor=None):
    """A worker of the small drawer, edited by a painter of its own or by the editor given."""
    enter = Phases(TIMEOUTS, tell)

    def make(domain, _):
        enter("build")
        made = StudyEnv(env(), domain)
        timed = TimedEditor(editor or Painter(), enter)
        return EditObservation(made, timed, "gold", keep_raw=RAW_KEY) if domain == "edited" else made

    return movers(Stage(make, enter=enter))


def play(folder, env, workers=1, config=CONFIG, editor=None, progress=lambda *result: None):
    made = [RemoteWorker(partial(worker, env), TIMEOUTS, editor) for _ in range(workers)]
    if not workers:
        made = [worker(env, tell=lambda *phase: None)]
    with Store(folder, write=True) as store:
        wanted = list(trials(config))
        run_study(wanted, store=store, workers=made, report=config.report, progress=progress)
        return store.results()


@pytest.mark.slow
def test_three_workers_give_the_results_of_one_here(tmp_path):
    alone = play(tmp_path / "one", SmallDrawer, 0)
    assert len(alone) == len(list(trials(CONFIG)))
    assert play(tmp_path / "three", SmallDrawer, 3) == alone
    assert play(tmp_path / "shared", SmallDrawer, 2, editor=SharedEditor(Painter())) == alone


@pytest.mark.slow
def test_a_trial_whose_worker_dies_is_tried_again(tmp_path):
    (tmp_path / "marks").mkdir()
    few = changed(CONFIG, domains=["raw"], scenes={"pose": ["a0"]})
    survived = play(tmp_path / "dying", partial(Doomed, tmp_path / "marks"), 2, few)
    assert len(list((tmp_path / "marks").iterdir())) >= 2
    assert survived == play(tmp_path / "well", SmallDrawer, 0, few)


def test_networks_that_a_killed_driver_left_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with _networks() as another:
        for name in ("left", "new"):
            (tmp_path / f"simedit-networks-{name}").mkdir()
            (tmp_path / f"simedit-networks-{name}" / "network").touch()
        for folder in (another, tmp_path / "simedit-networks-left"):
            os.utime(folder, (0, 0))
        with _networks() as own:
            found = set(tmp_path.iterdir())
    assert found == {another, own, tmp_path / "simedit-networks-new"}
    assert {folder.name for folder in tmp_path.iterdir()} == {"simedit-networks-new"}


@pytest.mark.slow
def test_an_interrupted_study_leaves_no_process_and_begins_no_other(tmp_path):
    def interrupt(*result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path, partial(SmallDrawer, 0.05), 3, progress=interrupt)
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("worker") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.1)
    assert multiprocessing.active_children() == []
    with Store(tmp_path, write=False) as store:
        assert len(store.results()) == 1


def test_a_refused_setting_stops_all(tmp_path):
    with pytest.raises(SimeditError, match="no such skin"):
        play(tmp_path, Refusing, 2)


class Sticking:
    """An editor that dies, or sticks, when it is asked for that style."""

    styles = Painter.styles

    def __init__(self, *, tell):
        self._tell = tell

    def edit(self, frames, *, styles, masks=None, seeds):
        if styles[0] == "wood":
            self._tell("edit", 0.05, "edit")
            threading.Event().wait()
        if styles[0] == "steel":
            os.kill(os.getpid(), signal.SIGKILL)
        return Painter().edit(frames, styles=styles, masks=masks, seeds=seeds)


def test_an_editor_that_dies_or_sticks_is_replaced():
    editor = RemoteEditor(Sticking, TIMEOUTS, Painter.styles)
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    expected = Painter().edit(frames, styles=["gold"], seeds=[0])
    try:
        for style, message in (
            ("wood", r"^the editor: no end of edit within 0.05 s"),
            ("steel", "exit code -9"),
        ):
            with pytest.raises(EnvironmentDied, match=message):
                editor.edit(frames, styles=[style], seeds=[0])
            np.testing.assert_array_equal(editor.edit(frames, styles=["gold"], seeds=[0]), expected)
    finally:
        editor.close()


def test_closing_ends_the_editor_that_workers_share(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with local_workers(CONFIG, {"gold": "", "wood": ""}, 2) as workers:
        assert [each._editor.styles for each in workers] == [("gold", "wood")] * 2
        assert workers[0]._editor is workers[1]._editor
        workers[0].prepare(lambda: True)
        assert multiprocessing.active_children()
    assert multiprocessing.active_children() == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with local_workers(CONFIG, {"gold": "", "wood": ""}, 2) as workers:
        assert [each._editor for each in workers] == [None, None]


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
