"""Tests of simedit.envs.push_t.suite and simedit.envs.push_t.env."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from simedit import extras
from simedit.config import parse_config
from simedit.envs.push_t import masks
from simedit.envs.push_t.env import arrange, drawn, simulator, state
from simedit.envs.push_t.scene import GOAL, REGIONS
from simedit.envs.push_t.suite import PushTSuite
from simedit.envs.suite import check_suite
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.rollout import Stage, rollout
from simedit.eval.trials import Trial
from simedit.wrapper import EditObservation

needs_gym_pusht = pytest.mark.skipif(not extras.has("gym_pusht"), reason="needs the extra: push-t")


def suite(**settings) -> PushTSuite:
    return parse_config(PushTSuite, {"kind": "push_t", **settings}, where="suite")


def begun(domain: str = "raw", start: str = "0", seed: int | None = 3, **settings):
    env = suite(**settings).make(domain, "")
    return env, *env.reset(seed=seed, options={"task": "push", "scene": (start,)})


def test_it_is_a_suite_with_a_reality_and_starts_to_be_had():
    found = suite(starts=3)
    check_suite(found, "push_t")
    assert found.scenes == {"start": ("0", "1", "2")}
    study = {"policies": {"p": {"kind": "python", "factory": "a:b"}}, "suite": "push_t", "domains": ["raw"]}
    config = resolved(parse_config(StudyConfig, study, where="study"))
    assert (config.realities, config.max_steps, len(config.scenes["start"])) == (["proxy_real"], 300, 50)
    assert found.meaning({}) == suite(starts=9).meaning({}) != suite(size=96).meaning({})


def test_without_gym_pusht_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(extras, "has", lambda package: False)
    assert suite().problems({}) == ["Push-T needs gym-pusht: pip install 'simedit[push-t]'"]
    monkeypatch.setitem(sys.modules, "gym_pusht.envs", None)
    with pytest.raises(SimeditError, match=r"Push-T needs gym-pusht .*simedit\[push-t\]"):
        suite().make("raw", "")


@needs_gym_pusht
@pytest.mark.parametrize("domain", ["raw", "proxy_real"])
def test_what_a_policy_sees(domain):
    env, obs, info = begun(domain, size=96)
    assert obs in env.observation_space
    assert (obs["image"].shape, obs["image"].dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_array_equal(obs["agent_pos"], info["start"][:2])
    assert info["instruction"] == "push the T-shaped block onto its goal"
    seen = env.step(np.array([100, 400], np.float32))[0]
    assert seen in env.observation_space
    assert (seen["agent_pos"] != obs["agent_pos"]).all()


@needs_gym_pusht
def test_a_start_is_gym_pushts_reset_with_that_seed_and_the_states_do_not_depend_on_the_domain():
    raw, _, info = begun(start="7")
    other, _, same = begun("proxy_real", start="7", seed=99)
    env = simulator(96)
    env.reset(seed=7)
    np.testing.assert_array_equal(info["start"], state(env))
    np.testing.assert_array_equal(info["start"], same["start"])
    assert (begun(start="8")[2]["start"] != info["start"]).all()
    for target in (np.array([250, 300], np.float32), np.array([120, 90], np.float32)):
        assert raw.step(target)[1:] == other.step(target)[1:]
    np.testing.assert_array_equal(raw.privileged_state(), other.privileged_state())


@needs_gym_pusht
def test_the_seed_draws_the_visit_of_proxy_real_and_nothing_of_raw():
    env, first, _ = begun("proxy_real")
    options = {"task": "push", "scene": ("0",)}
    again, same, other = (
        env.reset(seed=seed, options=options)[0]["image"] for seed in (None, 3, 4)
    )  # the first goes on in the sequence
    np.testing.assert_array_equal(first["image"], same)
    assert (again != same).mean() > 0.5
    assert (other != same).mean() > 0.5
    assert (again != other).any()
    np.testing.assert_array_equal(begun(seed=1)[1]["image"], begun(seed=2)[1]["image"])


@needs_gym_pusht
@pytest.mark.parametrize(("turn", "done"), [(0.0, True), (0.4, False)])
def test_success_is_the_coverage_at_a_step_and_ends_the_episode(turn, done):
    env, _, _ = begun()
    arrange(env._simulator, np.array([60, 60, *GOAL[:2], GOAL[2] + turn]))
    _, reward, terminated, truncated, told = env.step(np.array([60, 60], np.float32))
    coverage = told["measures"]["coverage"]
    assert (terminated, truncated, told["success"]) == (done, False, done)
    assert told["progress"] == reward == pytest.approx(min(1, coverage / 0.95))
    assert (coverage > 0.95) == done
    assert coverage > 0.4


class Watching:
    needs = ("frame", "observation")

    def reset(self, instruction, *, seed):
        self.seen = []

    def act(self, seen):
        self.seen.append(seen)
        return seen["observation"]["agent_pos"]


@needs_gym_pusht
def test_a_trial_is_played_by_a_policy_that_asks_where_the_agent_is():
    policy, trial = Watching(), Trial("p", "push", "4", "proxy_real", "", "", 0)
    result = rollout(trial, Stage(suite().make), policy, max_steps=3)
    assert (result.outcome, result.steps) == ("failure", 3)
    assert len(result.start) == 5
    for seen in policy.seen:
        np.testing.assert_array_equal(seen["frame"], seen["observation"]["image"])


class Red:
    styles = ("red",)

    def edit(self, frames, *, styles, masks=None, seeds):
        return np.where(masks[..., None], np.uint8([255, 0, 0]), frames)


@needs_gym_pusht
def test_each_region_is_edited_and_nothing_else():
    editing = suite().editing()
    assert (editing["image_key"], list(editing["mask"])) == ("image", list(REGIONS))
    for name, mask in editing["mask"].items():
        env = EditObservation(
            suite().make("raw", ""), Red(), "red", image_key="image", mask=mask, keep_raw="raw"
        )
        obs, _ = env.reset(seed=0, options={"task": "push", "scene": ("0",)})
        changed = (obs["image"] != obs["raw"]).any(-1)
        np.testing.assert_array_equal(changed, masks.regions(obs["raw"])[name])


@needs_gym_pusht
def test_a_state_is_arranged_exactly_where_gym_pushts_reset_moves_it():
    env, asked = simulator(96), np.array([100.0, 120.0, 300.0, 220.0, 1.0])
    arrange(env, asked)
    np.testing.assert_allclose(state(env), asked, atol=1e-9)
    shown = drawn(env)
    env.reset(seed=1, options={"reset_to_state": asked})
    assert abs(state(env) - asked).max() > 10
    assert (drawn(env) != shown).any()
