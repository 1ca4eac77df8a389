from __future__ import annotations

import numpy as np
import pytest
from small_drawer import CONFIG, Mover, Painter, SmallDrawer, changed, make_env

from simedit.errors import SimeditError
from simedit.eval import worker
from simedit.eval.config import TimeoutConfig
from simedit.eval.rollout import Stage
from simedit.eval.trials import Result, trials
from simedit.eval.worker import Phases, Worker, build, rehearse_policies

FEW = changed(CONFIG, domains=["raw"], scenes={"pose": ["a0"], "drawer": ["top"]})
TIMEOUTS = TimeoutConfig(first_frame=100, reset=1, step=2, edit=3, act=400)


def told(*phases):
    """What `Phases` tells of these."""
    heard = []
    enter = Phases(TIMEOUTS, lambda *told: heard.append(told))
    for phase in phases:
        enter(*phase)
    return heard


def test_first_times_may_take_as_long_as_a_first_frame():
    assert told(("reset",), ("step",), ("step",), ("reset",)) == [
        ("reset", 100, "first_frame"),
        ("step", 100, "first_frame"),
        ("step", 2, "step"),
        ("reset", 1, "reset"),
    ]
    assert [seconds for _, seconds, _ in told(("load",), ("load",), ("build",), ("build",))] == [100] * 4
    # A longer one stays as it is.
    assert told(("act", "one"), ("act", "one")) == [("act", 400, "act")] * 2


def test_a_new_environment_begins_anew_and_each_style_and_policy_has_a_first_time():
    styles = [("edit", "gold"), ("edit", "wood"), ("edit", "gold"), ("build",), ("edit", "gold")]
    assert [seconds for _, seconds, _ in told(*styles)] == [100, 100, 3, 100, 100]
    again = told(("reset",), ("build",), ("reset",), ("reset",))
    assert [seconds for _, seconds, _ in again] == [100, 100, 100, 1]


@pytest.fixture
def small(monkeypatch):
    """The studies of `build` play in the small drawer, edited by a painter."""

    def scene(study, domain, variant, editor):
        return make_env(domain, SmallDrawer())

    monkeypatch.setattr(worker, "scene", scene)
    monkeypatch.setattr(worker, "load_editor", lambda study, specialists: Painter())


def test_a_worker_loads_what_a_trial_needs_and_tells_its_phases(small):
    heard = []
    study = CONFIG.model_copy(update={"max_steps": 2})
    made = build(study, {"gold": ""}, tell=lambda *phase: heard.append(phase[0]))
    trial = next(trial for trial in trials(study) if trial.domain == "raw")
    assert made.play(trial, record=False)[1] is None
    assert heard == ["load", "build", "reset", "act", "act", "step", "act", "step"]
    heard.clear()
    _, recording = made.play(trial, record=True)
    assert len(recording.raw) == 3
    assert heard[0] == "reset"
    heard.clear()
    made.play(next(trial for trial in trials(study) if trial.domain == "edited"), record=False)
    assert heard[:3] == ["load", "build", "reset"]  # the editor


def test_edits_are_a_phase_of_their_own():
    heard = []
    editor = worker.TimedEditor(Painter(), Phases(TIMEOUTS, lambda *phase: heard.append(phase)))
    assert editor.styles == Painter.styles
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    edits = editor.edit(frames, styles=["gold", "wood", "gold"], seeds=[0, 1, 2])
    np.testing.assert_array_equal(
        edits, Painter().edit(frames, styles=["gold", "wood", "gold"], seeds=[0, 1, 2])
    )
    assert heard == [("edit", 100, "first_frame")] * 2


def test_a_policy_that_cannot_be_loaded_is_named(small):
    policies = {"bad": {"kind": "cloned", "checkpoint": "absent"}}
    study = type(CONFIG).model_validate(CONFIG.model_dump() | {"policies": policies})
    made = build(study, {}, tell=lambda *phase: None)
    with pytest.raises(SimeditError, match=r"^policy 'bad': "):
        made.rehearse(next(trials(study)))


def test_an_editor_that_cannot_be_loaded_is_refused_before_the_first_raw_trial(small, monkeypatch):
    def refuse(study, specialists):
        raise SimeditError("no such weights")

    monkeypatch.setattr(worker, "load_editor", refuse)
    made = build(CONFIG, {"gold": ""}, tell=lambda *phase: None)
    with pytest.raises(SimeditError, match="no such weights"):
        made.rehearse(next(trials(CONFIG)))


def test_policies_rehearse_once_each_and_not_those_that_have_finished_a_trial():
    class Noting(Mover):
        asked = 0

        def act(self, frame):
            self.asked += 1
            return super().act(frame)

    stage = Stage(lambda domain, _: make_env(domain, SmallDrawer()))
    policies = {name: Noting(stage.state, 1.0) for name in FEW.policies}
    wanted, (first, *others) = list(trials(FEW)), FEW.policies
    done = [next(trial for trial in wanted if trial.policy == name) for name in (first, others[0])]
    stored = {done[0]: Result(done[0], "failure"), done[1]: Result(done[1], "error")}
    rehearse_policies(wanted, stored, Worker(stage, policies, FEW.max_steps))
    assert {name: policy.asked for name, policy in policies.items()} == {
        first: 0,
        **dict.fromkeys(others, 1),
    }
