"""Tests of simedit.envs.drawer.simpler: on the original where it is installed, else on its format."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
import simpler_format

import simedit.envs  # noqa: F401 (registers the environment)
from simedit.envs.drawer.poses import DRAWERS, POSES, TASKS
from simedit.errors import SimeditError
from simedit.eval.rollout import Stage, rollout
from simedit.eval.trials import Trial
from simedit.library import SpecialistLibrary
from simedit.policies.scripted import ScriptedExpert
from simedit.protocols import Action
from simedit.wrapper import EditObservation, find_image_key

ID = "simedit/SimplerDrawer-v1"
HEIGHT, WIDTH = 64, 80
needs_original = pytest.mark.skipif(
    find_spec("mani_skill2_real2sim") is None, reason="needs SimplerEnv's mani_skill2_real2sim"
)


@pytest.fixture
def formatted(monkeypatch, tmp_path):
    """The environment of the original's format, in the original's place."""
    simpler_format.install(monkeypatch, tmp_path / "data")


@pytest.fixture(params=["format", pytest.param("original", marks=[needs_original, pytest.mark.slow])])
def env(request, monkeypatch, tmp_path):
    if request.param == "format":
        simpler_format.install(monkeypatch, tmp_path / "data")
    made = gym.make(ID, width=WIDTH, height=HEIGHT)
    yield made
    made.close()


def leaves(node, path=""):
    if not isinstance(node, dict):
        return {path: (node.shape, str(node.dtype))}
    return {at: what for key in node for at, what in leaves(node[key], f"{path}/{key}").items()}


def test_54_trials_start_from_36_frames_at_the_asked_poses(env):
    frames = {}
    for name, pose in POSES.items():
        for task in TASKS:
            for drawer in DRAWERS:
                obs, info = env.reset(options={"pose": name, "task": task, "drawer": drawer})
                np.testing.assert_allclose(info["pose"], pose, rtol=0, atol=1e-6)
                assert info["drawer_extension"] == pytest.approx(0.2 if task == "close" else 0.0)
                assert info["success"] is False
                assert env.unwrapped.instruction == f"{task} {drawer} drawer"
                rgb = obs["image"]["overhead_camera"]["rgb"]
                frames.setdefault((task, name), set()).add(rgb.tobytes())
    assert all(len(found) == (1 if task == "open" else 3) for (task, _), found in frames.items())
    assert len(set().union(*frames.values())) == 36


def test_observations_keep_the_format_of_the_original(env):
    obs, _ = env.reset(seed=3, options={"pose": (0.7, 0.1, 0.05)})
    assert env.observation_space.contains(obs)
    camera = {"rgb": ((HEIGHT, WIDTH, 3), "uint8"), "depth": ((HEIGHT, WIDTH, 1), "float32")}
    camera["Segmentation"] = (HEIGHT, WIDTH, 4), "uint32"
    other = {name: ((128, 128, shape[2]), dtype) for name, (shape, dtype) in camera.items()}
    parameters = {"extrinsic_cv": ((4, 4), "float32"), "cam2world_gl": ((4, 4), "float32")}
    parameters["intrinsic_cv"] = (3, 3), "float32"
    agent = {"qpos": 11, "qvel": 11, "controller/gripper/target_qpos": 2, "base_pose": 7}
    assert leaves(obs) == {
        **{f"/agent/{name}": ((size,), "float32") for name, size in agent.items()},
        **{f"/image/overhead_camera/{name}": what for name, what in camera.items()},
        **{f"/image/base_camera/{name}": what for name, what in other.items()},
        **{f"/camera_param/{c}_camera/{k}": v for c in ("base", "overhead") for k, v in parameters.items()},
    }
    assert find_image_key(env.observation_space) == find_image_key(obs) == "image/overhead_camera/rgb"


def test_state_is_what_the_reset_asked_for(env):
    _, info = env.reset(options={"pose": (0.7, 0.1, 0.05), "task": "close", "drawer": "bottom"})
    np.testing.assert_allclose(info["pose"], (0.7, 0.1, 0.05), atol=1e-6)
    state = env.unwrapped.privileged_state()
    assert (state.task, state.drawer, state.extension) == ("close", "bottom", info["drawer_extension"])
    facing = np.array([[-np.cos(0.05), np.sin(0.05)], [-np.sin(0.05), -np.cos(0.05)]])
    np.testing.assert_allclose(state.base[:2, :2], facing, atol=1e-6)
    np.testing.assert_allclose(state.base[:3, 3], (0.7, 0.1, 0.06205 + 0.017), atol=1e-6)
    before = (state.base @ state.handle)[:3, 3]
    env.reset(options={"task": "open"})
    state = env.unwrapped.privileged_state()
    assert (state.task, state.drawer) == ("open", "bottom")
    # What the options do not name stays; the handle has gone in with its drawer, along x.
    np.testing.assert_allclose(before - (state.base @ state.handle)[:3, 3], (0.2, 0, 0), atol=1e-5)


def test_the_robot_knows_of_itself(formatted):
    env = gym.make(ID, width=WIDTH, height=HEIGHT)
    env.reset()
    found, tcp = env.unwrapped.proprioception(), env.unwrapped.privileged_state().tcp
    np.testing.assert_allclose(found["joint_positions"], np.arange(11) / 10, atol=1e-6)
    assert found["gripper"] == pytest.approx((0.7 + 0.8) / 4)
    np.testing.assert_allclose(found["tool_pose"][:3], tcp[:3, 3], atol=1e-6)
    assert found["tool_pose"].dtype == np.float32


def test_an_edit_changes_the_cabinet_alone(env, tiny_root):
    library = SpecialistLibrary.load(tiny_root, steps=1)
    edited = EditObservation(env, library, "gold", keep_raw="raw_rgb")
    obs, _ = edited.reset(seed=0, options={"task": "close", "drawer": "middle"})
    camera = obs["image"]["overhead_camera"]
    cabinet = np.isin(camera["Segmentation"][..., 1], env.unwrapped.edit_segmentation_ids)
    changed = (camera["rgb"] != camera["raw_rgb"]).any(axis=-1)
    assert changed[cabinet].mean() > 0.9
    assert not changed[~cabinet].any()
    assert 0.1 < cabinet.mean() < 0.9
    assert edited.observation_space.contains(obs)


class Mover:
    """Gives the action's first number as the test says, step by step."""

    uses_images = True

    def __init__(self, *ways):
        self._ways = ways

    def reset(self, instruction, *, seed=0):
        self._left = iter(self._ways)

    def act(self, frame):
        assert frame.shape == (HEIGHT, WIDTH, 3)
        return Action(np.array([next(self._left), 0, 0], np.float32), np.zeros(3, np.float32), 0.0)


def roll(env, policy, *, task, drawer="middle", pose="b1", max_steps):
    trial = Trial("p", task, drawer, pose, domain="raw", variant="", style="", seed=0)
    return rollout(trial, Stage(lambda *_: env), policy, max_steps=max_steps)


@pytest.mark.parametrize(("ways", "outcome"), [((0.1, 0.1), "success"), ((0.1, 0.1, -0.1, -0.1), "failure")])
def test_success_is_that_of_the_last_step(formatted, ways, outcome):
    env = gym.make(ID, width=WIDTH, height=HEIGHT)
    result = roll(env, Mover(*ways), task="open", max_steps=len(ways))
    assert (result.outcome, result.steps, result.message) == (outcome, len(ways), "")
    assert result.start == pytest.approx(POSES["b1"], abs=1e-6)


@needs_original
@pytest.mark.slow
def test_the_expert_closes_a_drawer_of_the_original():
    env = gym.make(ID, width=WIDTH, height=HEIGHT)
    for _ in range(2):
        result = roll(env, ScriptedExpert(env.unwrapped.privileged_state), task="close", max_steps=60)
        assert (result.outcome, result.message) == ("success", "")
    env.close()


def test_overlay_follows_the_pose(formatted):
    env = gym.make(ID, width=WIDTH, height=HEIGHT, overlay=True)
    corners = {}
    for pose in ("a1", "c2", "a1"):
        obs, _ = env.reset(options={"pose": pose})
        corners.setdefault(pose, set()).add(tuple(obs["image"]["overhead_camera"]["rgb"][-1, 0].tolist()))
    assert corners == {"a1": {(1, 20, 90)}, "c2": {(8, 160, 90)}}
    with pytest.raises(SimeditError, match="overlay needs a pose with a photograph"):
        env.reset(options={"pose": (0.7, 0.0, 0.0)})


def test_light_reaches_the_original(formatted):
    reds = []
    for light in ("darker", "base", "simple", "brighter"):
        obs, _ = gym.make(ID, width=WIDTH, height=HEIGHT, light=light).reset()
        camera = obs["image"]["overhead_camera"]
        reds.append(camera["rgb"][camera["Segmentation"][..., 1] == 42][0, 0])
    assert reds == [100, 180, 200, 240]


def test_truncates_at_the_step_limit(formatted):
    env = gym.make(ID, width=8, height=8)
    env.reset()
    ends = [env.step(np.full(7, 0.1))[2:4] for _ in range(113)]
    assert ends == [(False, False)] * 112 + [(False, True)]


def test_it_renders_what_it_shows_and_a_specification_makes_it_anew(formatted):
    env = gym.make(ID, width=WIDTH, height=HEIGHT, pose="c1")
    assert (env.reset(), env.render())[1] is None
    again = gym.make(env.spec, render_mode="rgb_array")
    obs, info = again.reset(seed=0)
    np.testing.assert_array_equal(again.render(), obs["image"]["overhead_camera"]["rgb"])
    np.testing.assert_allclose(info["pose"], POSES["c1"], atol=1e-6)
    np.testing.assert_array_equal(
        again.render(), again.step(np.zeros(7))[0]["image"]["overhead_camera"]["rgb"]
    )
    with pytest.raises(SimeditError, match="render_mode"):
        gym.make(ID, render_mode="cameras")


@pytest.mark.parametrize(
    "options",
    [{"posse": "a1"}, {"pose": "a9"}, {"task": "shut"}, {"drawer": "third"}, {"pose": (0.7, np.nan, 0.0)}],
)
def test_a_refused_reset_changes_nothing(formatted, options):
    env = gym.make(ID, width=8, height=8, task="close", drawer="bottom", pose="c1")
    with pytest.raises(SimeditError):
        env.reset(options={"task": "open", "drawer": "top", "pose": "a0", **options})
    _, info = env.reset()
    assert env.unwrapped.instruction == "close bottom drawer"
    np.testing.assert_allclose(info["pose"], POSES["c1"], atol=1e-6)


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_seeds_are_whole_numbers(formatted, seed):
    with pytest.raises(SimeditError, match="a seed must be"):
        gym.make(ID, width=8, height=8).unwrapped.reset(seed=seed)


@pytest.mark.parametrize("action", [np.zeros(6), np.array([0, 0, np.inf, 0, 0, 0, 0]), None, [1e300] * 7])
def test_step_refuses_what_is_not_seven_finite_numbers(formatted, action):
    env = gym.make(ID, width=8, height=8)
    env.reset()
    with pytest.raises(SimeditError, match="seven finite numbers"):
        env.step(action)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"shader": "rtx"}, "shader"),
        ({"light": "dim"}, "light"),
        ({"cabinet": "mk_station9"}, "cabinet"),
        ({"cabinet": "mk_station2"}, "lacks .*mk_station2.urdf"),
        ({"room": "modern_office"}, "did you mean 'modern_office_no_roof'"),
        ({"room": "modern_office_no_roof"}, "lacks .*modern_office_no_roof.glb"),
        ({"robot_variant": "blue"}, "robot_variant"),
        ({"denoiser": "oidn"}, "denoiser"),
        ({"samples_per_pixel": 0}, "at least 1"),
        ({"width": 8.0}, "width must be a whole number"),
        ({"height": 10**6}, "at most 8192"),
        ({"asset_root": "nowhere"}, "lacks nowhere/data/custom"),
    ],
)
def test_make_refuses(formatted, kwargs, message):
    with pytest.raises(SimeditError, match=message):
        gym.make(ID, **kwargs)


def test_without_the_original_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mani_skill2_real2sim", None)
    with pytest.raises(SimeditError, match=r"environment of its own[\s\S]*sapien==2\.2\.2") as raised:
        gym.make(ID)
    assert "numpy<2" in str(raised.value)


def test_the_numpy_that_crashes_sapien_2_is_refused(formatted, monkeypatch):
    monkeypatch.setattr("simedit.envs.drawer.simpler.version", lambda _: "2.2.2")
    monkeypatch.setattr(np, "__version__", "2.2.6")
    with pytest.raises(SimeditError, match=r"numpy 2\.2\.6: pip install 'numpy<2'"):
        gym.make(ID)


def test_a_machine_that_cannot_render_is_told(formatted, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("vk::PhysicalDevice::createDeviceUnique: ErrorExtensionNotPresent")

    monkeypatch.setattr(sys.modules["mani_skill2_real2sim.utils.registration"], "make", fail)
    with pytest.raises(SimeditError, match=r"ErrorExtensionNotPresent.*GPU driver with Vulkan"):
        gym.make(ID)
