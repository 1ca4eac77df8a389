from __future__ import annotations

import numpy as np
import pytest
import torch
from small_drawer import HEIGHT, STEPS, WIDTH, Mover, SmallDrawer, make_env

from simedit.envs.drawer.poses import POSES
from simedit.errors import SimeditError
from simedit.eval.recording import Recording
from simedit.eval.rollout import EnvironmentDied, Stage, rehearse, rollout
from simedit.eval.trials import Trial
from simedit.protocols import Action


def trial(**changes):
    fields = {
        "task": "open",
        "scene": "top/b1",
        "domain": "raw",
        "variant": "",
        "style": "",
        "seed": 0,
    }
    return Trial(policy="p", **{**fields, **changes})


def run(one, policy=None, *, env=SmallDrawer, stage=None, recording=None):
    stage = stage or Stage(lambda domain, _: make_env(domain, env()))
    policy = policy or Mover(stage.state, 1.0)
    return rollout(one, stage, policy, max_steps=STEPS, recording=recording)


class Still(Mover):
    """Does nothing, or what the test says at each step."""

    def __init__(self, *actions):
        self.actions, self.seen = list(actions), []

    def reset(self, instruction, *, seed=0):
        self.instruction = instruction

    def act(self, frame):
        self.seen.append(frame)
        given = self.actions[len(self.seen) - 1] if len(self.seen) <= len(self.actions) else 0.0
        return given if isinstance(given, Action) else action(given)


def action(way=0.0, **more):
    return Action(np.array([way, 0, 0], np.float32), np.zeros(3, np.float32), 0.0, **more)


def test_success_and_failure():
    done = run(trial())
    assert (done.outcome, done.steps) == ("success", STEPS)
    assert done.measures["extension"] == pytest.approx(0.3)
    assert done.start == POSES["b1"]
    assert len(done.frame_hash) == 32
    assert run(trial(), Still()).outcome == "failure"
    assert run(trial(task="close"), Still()).outcome == "failure"


def test_success_is_read_at_the_last_step():
    # Opened at step 2, shut again at the end.
    assert run(trial(), Still(0.1, 0.1, 0.0, 0.0, -0.1, -0.1)).outcome == "failure"


def test_a_terminating_action_is_carried_out_and_ends_the_episode():
    result = run(trial(), Still(0.1, action(0.1, terminate=True)))
    assert (result.outcome, result.steps) == ("success", 2)


def test_truncation_by_the_environment_ends_the_episode():
    class Short(SmallDrawer):
        def step(self, action):
            obs, reward, terminated, _, info = super().step(action)
            return obs, reward, terminated, torch.tensor([True]), info

    assert run(trial(), env=Short).steps == 1


def test_the_policy_sees_the_edit_and_the_recording_both():
    recording, policy = Recording(), Still()
    result = run(trial(domain="edited", style="gold"), policy, recording=recording)
    assert policy.instruction == "open top drawer"
    assert len(recording.raw) == len(recording.edited) == STEPS + 1
    assert np.array_equal(recording.edited[0], policy.seen[0])
    assert not np.array_equal(recording.raw[0], recording.edited[0])
    assert policy.seen[0].shape == (HEIGHT, WIDTH, 3)
    assert result.frame_hash == run(trial()).frame_hash  # the hash is of the unedited frame


def test_style_changes_without_a_new_environment():
    made = []
    stage = Stage(lambda *place: made.append(place) or make_env(place[0], SmallDrawer()))
    policies = [Still(), Still()]
    for policy, style in zip(policies, ("gold", "wood"), strict=True):
        run(trial(domain="edited", style=style), policy, stage=stage)
    assert made == [("edited", "")]
    assert not np.array_equal(policies[0].seen[0], policies[1].seen[0])


def test_every_variant_gets_its_own_environment_and_its_domains_poses():
    made = []
    stage = Stage(lambda *place: made.append(place) or make_env(place[0], SmallDrawer()))
    variants = ("base", "base", "darker")
    results = [run(trial(domain="varagg", variant=v, scene="top/c2"), stage=stage) for v in variants]
    assert made == [("varagg", "base"), ("varagg", "darker")]
    assert {result.start for result in results} == {(0.85, 0.2, 0.0)}
    assert run(trial(domain="vismatch", variant="plain", scene="top/c2")).start == POSES["c2"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_policy_that_returns_no_number_is_an_error_that_names_it(bad):
    result = run(trial(), Still(0.1, bad))
    assert (result.outcome, result.steps) == ("error", 2)
    assert "policy 'p'" in result.message
    assert "7 finite numbers" in result.message


def test_a_policy_that_raises_is_an_error_too():
    class Broken(Still):
        def act(self, frame):
            raise RuntimeError("out of memory")

    assert "policy 'p': RuntimeError: out of memory" in run(trial(), Broken()).message


@pytest.mark.parametrize("error", [SystemExit("bye"), GeneratorExit(), MemoryError()])
def test_a_policy_that_ends_in_another_way_is_an_error_and_not_the_end(error):
    class Leaving(Still):
        def act(self, frame):
            raise error

    assert f"policy 'p': {type(error).__name__}" in run(trial(), Leaving()).message


def test_an_error_that_cannot_be_told_or_is_endless_is_told_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise ValueError("no words")

    class Broken(Still):
        def __init__(self, error):
            super().__init__()
            self.error = error

        def act(self, frame):
            raise self.error

    assert "Mute" in run(trial(), Broken(Mute())).message
    assert len(run(trial(), Broken(RuntimeError("x" * 10**6))).message) < 1200


def test_ctrl_c_is_nobodys_error():
    class Interrupted(Still):
        def act(self, frame):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(trial(), Interrupted())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [0.0] * 6,
        Action(np.zeros(300_000), np.zeros(3), 0.0),
        Action(np.array(["a", "b", "c"]), np.zeros(3), 0.0),
        Action(np.zeros(3), np.zeros(3), 0.0, terminate=np.zeros(2)),
    ],
)
def test_what_is_no_action_is_the_policys_error(answer):
    class Odd(Still):
        def act(self, frame):
            return answer

    result = run(trial(), Odd())
    assert result.outcome == "error"
    assert "policy 'p'" in result.message
    assert len(result.message) < 500


def test_a_pose_that_was_not_applied_is_an_error():
    class Stuck(SmallDrawer):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed, options={**options, "pose": "a0"})

    result = run(trial(), env=Stuck)
    assert result.outcome == "error"
    assert "asked for pose (0.752, 0.009, 0.0)" in result.message


def test_a_pose_that_is_no_number_is_an_error(monkeypatch):
    def lost(self):
        return {"pose": torch.full((1, 3), torch.nan)}

    monkeypatch.setattr(SmallDrawer, "_info", lost)
    assert "the scene is at (nan" in run(trial()).message


def test_a_drawer_that_is_nowhere_is_the_environments_death():
    class Exploding(SmallDrawer):
        def step(self, action):
            obs, *rest, info = super().step(action)
            return obs, *rest, {**info, "drawer_extension": torch.tensor([torch.inf])}

    with pytest.raises(EnvironmentDied, match="the drawer is inf m out"):
        run(trial(), env=Exploding)


@pytest.mark.parametrize("method", ["reset", "step", "privileged_state"])
def test_a_dying_environment_is_no_failure_of_the_policy(method, monkeypatch):
    def die(self, *args, **kwargs):
        raise RuntimeError("device lost")

    monkeypatch.setattr(SmallDrawer, method, die)
    with pytest.raises(EnvironmentDied, match="device lost"):
        run(trial())


def test_a_refused_setting_stops_at_once():
    with pytest.raises(SimeditError, match="unknown style 'gld'"):
        run(trial(domain="edited", style="gld"))


class Needing(Still):
    def __init__(self, *needs):
        super().__init__()
        self.needs = needs


class Knowing(SmallDrawer):
    def proprioception(self):
        return {"joint_positions": np.ones(2, np.float32), "gripper": 0.5, "tool_pose": np.zeros(7)}


def test_a_policy_sees_what_it_asks_for_and_nothing_else():
    policy = Needing("proprioception", "cameras")
    assert run(trial(domain="edited", style="gold"), policy, env=Knowing).outcome == "failure"
    seen, looking = policy.seen[0], Still()
    assert set(seen) == {"proprioception", "cameras"}
    assert seen["proprioception"]["gripper"] == 0.5
    run(trial(domain="edited", style="gold"), looking)
    np.testing.assert_array_equal(seen["cameras"]["overhead_camera"], looking.seen[0])  # the edit
    policy = Needing("frame", "cameras")
    run(trial(), policy)
    np.testing.assert_array_equal(policy.seen[0]["frame"], policy.seen[0]["cameras"]["overhead_camera"])
    policy = Needing("frame")
    run(trial(), policy)
    assert policy.seen[0].shape == (HEIGHT, WIDTH, 3)


def test_a_policy_that_needs_what_the_environment_has_not_is_refused():
    for play in (run, rehearsed):
        with pytest.raises(SimeditError, match="'p' needs proprioception, but a SmallDrawer has none"):
            play(trial(), Needing("proprioception"))


def rehearsed(one, policy):
    rehearse(one, Stage(lambda domain, _: make_env(domain, SmallDrawer())), policy)


def test_a_rehearsal_asks_once_and_moves_nothing():
    stage, policy = Stage(lambda domain, _: make_env(domain, SmallDrawer())), Still(0.1)
    rehearse(trial(), stage, policy)
    assert len(policy.seen) == 1
    assert stage.state().extension == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [(np.zeros(6), r"not of shape \[6\]"), (np.full(7, np.nan), "7 finite"), (None, "not None")],
)
def test_a_first_action_that_is_none_is_refused_in_a_rehearsal(answer, message):
    class Odd(Still):
        def act(self, frame):
            return answer

    with pytest.raises(SimeditError, match=f"policy 'p': .*{message}"):
        rehearsed(trial(), Odd())


def test_where_a_policy_raised_is_told():
    class Broken(Still):
        def act(self, frame):
            return np.zeros(3)[frame.shape[0]]

    with pytest.raises(SimeditError, match=r"IndexError: .* \(test_eval_rollout.py, line \d+\)"):
        rehearsed(trial(), Broken())


def test_what_a_policy_refuses_in_mid_episode_costs_that_trial():
    class Refusing(Still):
        def act(self, frame):
            raise SimeditError("the server is away")

    result = run(trial(), Refusing())
    assert (result.outcome, result.message) == ("error", "policy 'p': the server is away (step 1)")
