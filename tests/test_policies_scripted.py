from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.policies.scripted import ScriptedExpert
from simedit.protocols import DrawerState

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "assets"
FRAME = np.zeros((2, 2, 3), np.uint8)
POSES = [row + column for row in "abc" for column in "012"]
DRAWERS = ["top", "middle", "bottom"]


def states(n, task="open", extension=0.0):
    """A tool on its way to the handle: the robot 0.8 m from the drawers, facing them."""
    base = np.diag([-1.0, -1.0, 1.0, 1.0])
    base[:3, 3] = 0.8, -0.1, 0.08
    tool, handle = np.eye(4), np.eye(4)
    handle[:3, 3] = 0.75, -0.1, 0.6
    tool[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    for i in range(n):
        tool = tool.copy()
        tool[:3, 3] = 0.4 + 0.3 * i / n, -0.2, 0.9
        yield DrawerState(tool, handle, base, extension, task, "top")


def actions(expert, n, seed=0):
    expert.reset("open top drawer", seed=seed)
    return np.array([expert.act(FRAME).to_array() for _ in range(n)])


def test_noise_follows_the_seed_and_scales_with_the_ranges():
    (state,) = states(1)
    clean = actions(ScriptedExpert(lambda: state), 500)
    noisy = ScriptedExpert(lambda: state, noise=0.2)
    first = actions(noisy, 500, seed=3)
    assert np.array_equal(first, actions(noisy, 500, seed=3))
    assert not np.array_equal(first, actions(noisy, 500, seed=4))
    noise = (first - clean).std(axis=0)
    np.testing.assert_allclose(noise[:6], 0.2 * np.array([0.1] * 3 + [0.4] * 3), rtol=0.15)
    assert noise[6] == 0


@pytest.mark.parametrize("delay", [1, 3])
def test_delay_acts_on_older_states_exactly(delay):
    seen = list(states(20))
    now = iter(seen)
    prompt = actions(ScriptedExpert(lambda: next(now)), 20)
    later = iter(seen)
    delayed = actions(ScriptedExpert(lambda: next(later), delay=delay), 20)
    np.testing.assert_array_equal(delayed[delay:, :6], prompt[:-delay, :6])
    np.testing.assert_array_equal(delayed[:delay, :6], np.tile(prompt[0, :6], (delay, 1)))
    assert not np.array_equal(delayed, prompt)


@pytest.mark.parametrize(("task", "working", "finished"), [("open", 0.16, 0.18), ("close", 0.04, 0.01)])
def test_ends_once_the_drawer_is_there_and_has_stayed(task, working, finished):
    (state,) = states(1, task, working)
    expert = ScriptedExpert(lambda: state)
    expert.reset("", seed=0)
    action = expert.act(FRAME)
    assert not action.terminate
    assert action.to_array().any()
    state = replace(state, extension=finished)
    action = expert.act(FRAME)
    assert not action.terminate
    assert not action.to_array().any()
    assert expert.act(FRAME).terminate


def test_gives_up_after_sixty_steps_and_starts_afresh():
    (state,) = states(1)
    expert = ScriptedExpert(lambda: state)
    for _ in range(2):
        expert.reset("open top drawer")
        assert [expert.act(FRAME).terminate for _ in range(60)] == [False] * 59 + [True]


def test_moves_stay_within_their_ranges():
    (state,) = states(1)
    action = ScriptedExpert(lambda: state).act(FRAME)
    # The ranges bound each component in world axes; here the base's axes are the world's, turned by pi.
    assert np.abs(action.world_vector).max() <= 0.1 + 1e-6
    assert np.abs(action.rot_axangle).max() <= 0.4 + 1e-6


@pytest.mark.parametrize(
    ("handicap", "message"),
    [
        ({"noise": -0.1}, "noise must be 0 to 100"),
        ({"noise": float("nan")}, "noise must be 0 to 100"),
        ({"noise": 1e300}, "noise must be 0 to 100"),
        ({"delay": -1}, "delay must be a whole number"),
        ({"delay": 1.5}, "delay must be a whole number"),
    ],
)
def test_refuses_impossible_handicaps(handicap, message):
    with pytest.raises(SimeditError, match=message):
        ScriptedExpert(lambda: next(states(1)), **handicap)


def test_a_delay_beyond_any_episode_sees_only_its_start():
    ScriptedExpert(lambda: next(states(1)), delay=10**30)


def test_refuses_a_negative_seed():
    with pytest.raises(SimeditError, match="seed must be 0 or more"):
        ScriptedExpert(lambda: next(states(1))).reset("", seed=-1)


def make_env(skin):
    pytest.importorskip("mani_skill")
    import simedit.envs  # noqa: F401

    if skin == "simpler" and not ASSETS.is_dir():
        pytest.skip("needs SIMPLER's assets in ../shared")
    root = ASSETS if skin == "simpler" else None
    return gym.make("simedit/Drawer-v1", skin=skin, asset_root=root, width=20, height=16)


def succeeds(env, expert, task, drawer, pose):
    env.reset(seed=0, options={"pose": pose, "task": task, "drawer": drawer})
    expert.reset(f"{task} {drawer} drawer")
    for _ in range(60):
        action = expert.act(FRAME)
        info = env.step(action.to_array())[-1]
        if action.terminate:
            break
    return bool(info["success"])


@pytest.mark.parametrize("task", ["open", "close"])
def test_moves_a_drawer(task):
    env = make_env("primitive")
    expert = ScriptedExpert(env.unwrapped.privileged_state)
    assert succeeds(env, expert, task, "top", "b1")
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("skin", ["primitive", "simpler"])
def test_succeeds_in_nearly_all_trials(skin):
    """A third of them: each task from every pose, each drawer from every row and column of poses."""
    env = make_env(skin)
    expert = ScriptedExpert(env.unwrapped.privileged_state)
    trials = [
        (task, DRAWERS[(number + number // 3 + shift) % 3], pose)
        for shift, task in enumerate(["open", "close"])
        for number, pose in enumerate(POSES)
    ]
    failed = [trial for trial in trials if not succeeds(env, expert, *trial)]
    env.close()
    assert len(failed) <= 1, failed
