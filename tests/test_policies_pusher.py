"""The expert of Push-T in gym-pusht itself."""

import numpy as np
import pytest

from simedit.errors import SimeditError

pytest.importorskip("gym_pusht")

from gym_pusht.envs.pusht import PushTEnv

from simedit.policies.pusher import Pusher, _way
from simedit.policies.pushes import AGENT, GOAL, OUTLINE, Physics, all_pushes, off, place


@pytest.fixture
def env():
    return PushTEnv(obs_type="state")


def _state(env):
    return np.array([*env.agent.position, *env.agent.velocity, *env.block.position, env.block.angle])


def _play(env, pusher, seed, steps=300):
    env.reset(seed=seed)
    pusher.reset("")
    actions = []
    for _ in range(steps):
        actions.append(pusher.act(None))
        *_, done, _, info = env.step(actions[-1])
        if done:
            break
    return np.array(actions), info["coverage"]


def test_the_t_is_pushed_onto_its_goal_from_anywhere(env):
    pusher = Pusher(lambda: _state(env))
    found = [_play(env, pusher, seed) for seed in range(6)]
    assert all(coverage > 0.95 for _, coverage in found)
    assert all(len(actions) < 200 for actions, _ in found)


def test_the_same_start_is_played_the_same_way_again(env):
    pusher = Pusher(lambda: _state(env))
    first, _ = _play(env, pusher, 3)
    _play(env, pusher, 4, steps=5)
    again, _ = _play(env, pusher, 3)
    assert np.array_equal(first, again)


def test_actions_are_places_in_the_room(env):
    actions, _ = _play(env, Pusher(lambda: _state(env)), 1)
    assert actions.dtype == np.float32
    assert actions.shape[1:] == (2,)
    assert actions.min() >= 0
    assert actions.max() <= 512


def test_its_physics_is_the_environments(env):
    env.reset(seed=5)
    physics = Physics()
    state = _state(env)
    physics.set(state[:2], state[2:4], state[4:])
    for _ in range(20):
        target = np.array(env.block.position)
        env.step(target)
        physics.step(target)
    assert np.allclose(physics.pose, _state(env)[4:], atol=1e-6)
    assert np.abs(physics.pose - state[4:]).max() > 1


def test_what_a_push_does_is_the_same_wherever_the_t_lies():
    pushes, physics = all_pushes(), Physics()
    pose, contact, moved = np.array([200.0, 300.0, 2.0]), pushes._contact[0], pushes._moves[0]
    before = place(pose, pushes.before[contact][None])[0]
    inwards = place(np.array([0, 0, pose[2]]), pushes.inwards[contact][None])[0]
    physics.set(before, np.zeros(2), pose)
    for _ in range(int(pushes._steps[0])):
        physics.step(physics.agent + inwards * 30)
    expected = np.append(place(pose, moved[None, :2])[0], pose[2] + moved[2])
    assert np.allclose(physics.pose, expected, atol=0.05)


def test_how_far_off_is_that_of_the_corners():
    pose = np.array([240.0, 270.0, 0.3])
    apart = place(pose, OUTLINE) - place(GOAL, OUTLINE)
    assert off(pose) == pytest.approx(np.sqrt((apart**2).sum(1).mean()))
    assert off(GOAL) == 0


def test_the_way_leads_around_the_t():
    shapely = pytest.importorskip("shapely")
    pose = np.array([256.0, 200.0, 0.0])
    way = _way(np.array([256.0, 150.0]), np.array([256.0, 400.0]), pose)
    block = shapely.Polygon(place(pose, OUTLINE))
    assert np.allclose(way[[0, -1]], [[256, 150], [256, 400]])
    assert shapely.LineString(way).distance(block) > AGENT


@pytest.mark.parametrize("state", [np.zeros(5), np.full(7, np.nan)])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(SimeditError, match="seven finite numbers"):
        Pusher(lambda: state).act(None)
