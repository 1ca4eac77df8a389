"""Tests of simedit.envs.drawer.twin, on the shipped skin where no assets are needed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import simedit.envs  # noqa: F401 (registers the environment)
from simedit.envs.drawer.domains import VARIANTS, poses
from simedit.envs.drawer.poses import DRAWERS, POSES, TASKS, find_pose
from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.wrapper import EditObservation

pytest.importorskip("mani_skill", reason="needs the extra: sim")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "simpler"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no SIMPLER assets at {SHARED}")
CAMERA = "overhead_camera"


@pytest.fixture(scope="module")
def small() -> Iterator[Any]:
    env: Any = gymnasium.make("simedit/Drawer-v1", width=80, height=64)
    yield env
    env.close()


def rgb(obs: dict[str, Any]) -> np.ndarray:
    return obs["sensor_data"][CAMERA]["rgb"][0].numpy()


@pytest.mark.slow
def test_54_trials_start_from_36_frames_at_the_asked_poses(small: Any) -> None:
    frames: dict[tuple[str, str], set[bytes]] = {}
    for name, pose in POSES.items():
        for task in TASKS:
            for drawer in DRAWERS:
                obs, info = small.reset(options={"pose": name, "task": task, "drawer": drawer})
                np.testing.assert_allclose(info["pose"][0], pose, rtol=0, atol=1e-6)
                assert info["drawer_extension"].item() == pytest.approx(0.2 if task == "close" else 0.0)
                assert not info["success"].item()
                frames.setdefault((task, name), set()).add(rgb(obs).tobytes())
    assert all(len(found) == (1 if task == "open" else 3) for (task, _), found in frames.items())
    assert len(set().union(*frames.values())) == 36


def test_frames_are_converted_as_mani_skill_converts_them() -> None:
    from mani_skill.envs.sapien_env import BaseEnv

    twin: Any = gymnasium.make("simedit/Drawer-v1", pose="b2", width=64, height=48).unwrapped
    obs, _ = twin.reset()
    theirs = BaseEnv._get_obs_sensor_data(twin)[CAMERA]
    for name, ours in obs["sensor_data"][CAMERA].items():
        assert torch.equal(ours, theirs[name].to(ours.dtype)), name
    assert obs["sensor_data"][CAMERA]["segmentation"].unique().numel() >= 8
    twin.close()


@pytest.mark.parametrize(("domain", "variant"), [("raw", ""), ("vismatch", "plain"), ("proxy_real", "")])
def test_the_camera_draws_no_more_pixels_than_a_study_shows(domain: str, variant: str) -> None:
    env: Any = DrawerSuite(width=80, height=64, photographs="proxy_real").make(domain, variant)
    obs, _ = env.reset(seed=0, options={"task": "open", "scene": ("top", "a0")})
    camera = env.unwrapped._sensors[CAMERA].camera._render_cameras[0]
    assert rgb(obs).shape == (camera.height, camera.width, 3) == (64, 80, 3)
    env.close()


def test_observations_lie_in_the_space(small: Any) -> None:
    obs, _ = small.reset(options={"pose": "b1", "task": "close", "drawer": "middle"})
    stepped, reward, terminated, truncated, info = small.step(np.zeros(7, dtype=np.float32))
    for given in (obs, stepped):
        assert_in_space(small.observation_space, given)
    seen = stepped["sensor_data"][CAMERA]
    assert {key: (str(v.dtype), tuple(v.shape)) for key, v in seen.items()} == {
        "rgb": ("torch.uint8", (1, 64, 80, 3)),
        "depth": ("torch.int16", (1, 64, 80, 1)),
        "segmentation": ("torch.int16", (1, 64, 80, 1)),
    }
    assert not terminated.item()
    assert not truncated.item()
    assert reward.item() == 0
    assert info["elapsed_steps"].item() == 1


def assert_in_space(space: gymnasium.Space, value: Any) -> None:
    if isinstance(space, gymnasium.spaces.Dict):
        assert set(space.spaces) == set(value)
        for key, inner in space.spaces.items():
            assert_in_space(inner, value[key])
    else:
        array = value.numpy()
        assert array.dtype == space.dtype
        assert space.contains(array)


def test_the_cabinet_is_in_view_under_its_segmentation_ids(small: Any) -> None:
    obs, _ = small.reset(options={"pose": "b0", "task": "open", "drawer": "top"})
    seen = obs["sensor_data"][CAMERA]
    cabinet = np.isin(seen["segmentation"][0, ..., 0].numpy(), small.unwrapped.edit_segmentation_ids)
    assert 0.1 < cabinet.mean() < 0.9
    depth = seen["depth"][0, ..., 0].numpy()[cabinet]
    assert depth.min() > 300
    assert depth.max() < 3000


def test_options_keep_what_they_do_not_name(small: Any) -> None:
    small.reset(options={"pose": "c1", "task": "close", "drawer": "bottom"})
    _, info = small.reset(options={"drawer": "top"})
    assert small.unwrapped.instruction == "close top drawer"
    np.testing.assert_allclose(info["pose"][0], POSES["c1"], atol=1e-6)
    _, info = small.reset(options={"pose": (0.7, 0.1, 0.05)})
    np.testing.assert_allclose(info["pose"][0], (0.7, 0.1, 0.05), rtol=0, atol=1e-6)


def test_an_arranged_scene_looks_as_after_a_reset(small: Any) -> None:
    start = {"pose": "c2", "task": "close", "drawer": "bottom"}
    expected = small.reset(options=start)[0]["sensor_data"][CAMERA]
    small.reset(options={"pose": "a0", "task": "open", "drawer": "top"})
    for _ in range(2):
        small.unwrapped.arrange("b1", {"top": 0.1, "middle": 0.0, "bottom": 0.3})
        assert not torch.equal(small.unwrapped.get_obs()["sensor_data"][CAMERA]["rgb"], expected["rgb"])
        small.unwrapped.arrange("c2", {"top": 0.0, "middle": 0.0, "bottom": 0.2})
        arranged = small.unwrapped.get_obs()["sensor_data"][CAMERA]
        assert all(torch.equal(arranged[name], expected[name]) for name in expected)


def test_the_robot_knows_of_itself(small: Any) -> None:
    from simedit.envs.drawer.robot import START_QPOS

    small.reset(seed=0)
    found, tcp = small.unwrapped.proprioception(), small.unwrapped.privileged_state().tcp
    np.testing.assert_allclose(found["joint_positions"], [*START_QPOS.values()], atol=1e-6)
    np.testing.assert_allclose(found["tool_pose"][:3], tcp[:3, 3], atol=1e-6)
    assert found["gripper"] < 0.01
    small.step(np.array([0, 0, 0, 0, 0, 0, 1], np.float32))
    assert 0.1 < small.unwrapped.proprioception()["gripper"] < 0.5


def test_privileged_state_agrees_with_the_scene(small: Any) -> None:
    obs, _ = small.reset(options={"pose": "a0", "task": "close", "drawer": "top"})
    state = small.unwrapped.privileged_state()
    assert (state.task, state.drawer) == ("close", "top")
    assert state.extension == pytest.approx(0.2)
    np.testing.assert_allclose(state.tcp[:3, 3], obs["extra"]["tcp_pose"][0, :3], atol=1e-6)
    # Cabinet at (-0.295, 0, 0.017), top drawer 0.668 above that, its handle at (0.3425, 0, 0.02) of it.
    handle = (state.base @ state.handle)[:3, 3]
    np.testing.assert_allclose(handle, (-0.295 + 0.3425 + 0.2, 0, 0.017 + 0.668 + 0.02), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posse": "a1"}, "did you mean 'pose'"),
        ({"pose": "a3"}, "unknown pose 'a3'"),
        ({"task": "opn"}, "did you mean 'open'"),
        ({"drawer": "left"}, "unknown drawer 'left'"),
        ({"pose": (0.1, 0.2)}, "numbers"),
    ],
)
def test_reset_refuses_and_changes_nothing(small: Any, options: dict, message: str) -> None:
    small.reset(options={"pose": "b2", "task": "open", "drawer": "middle"})
    with pytest.raises(SimeditError, match=message):
        small.reset(options={"task": "close", **options})
    assert small.unwrapped.instruction == "open middle drawer"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"skin": "primitve"}, "did you mean 'primitive'"),
        ({"shader": "ray"}, "unknown shader"),
        ({"task": "shut"}, "unknown task"),
        ({"robot_variant": "recolour"}, "unknown robot_variant"),
        ({"robot_variant": "recolor_cabinet_visual_matching_1"}, "needs skin='simpler'"),
        ({"cabinet": "mk_station9"}, "unknown cabinet"),
        ({"room": "modern_ofice_no_roof"}, "did you mean 'modern_office_no_roof'"),
        ({"skin": "simpler", "room": "modern_ofice_no_roof"}, "did you mean 'modern_office_no_roof'"),
        ({"light": "dark"}, "did you mean 'darker'"),
        ({"denoiser": "optics"}, "did you mean 'optix'"),
        ({"samples_per_pixel": 0}, "at least 1"),
        ({"width": 0}, "at least 1"),
        ({"height": 10**6}, "at most 8192"),
        ({"width": 64.0}, "width must be a whole number"),
        ({"samples_per_pixel": True}, "samples_per_pixel must be a whole number"),
        ({"overlay": True, "pose": (0.7, 0.0, 0.0)}, "photograph"),
        ({"skin": "simpler", "asset_root": "/nonexistent"}, "/nonexistent"),
    ],
)
def test_make_refuses(kwargs: dict, message: str) -> None:
    with pytest.raises(SimeditError, match=message):
        gymnasium.make("simedit/Drawer-v1", **kwargs)


def test_primitives_stand_in_for_the_scenes_of_variant_aggregation() -> None:
    pictures, ids = {}, {}
    for variant, look in VARIANTS["varagg"].items():
        env: Any = gymnasium.make("simedit/Drawer-v1", width=80, height=64, **asdict(look))
        obs, _ = env.reset(options={"pose": poses("varagg")["b1"]})
        pictures[variant] = rgb(obs).astype(float)
        segmentation = obs["sensor_data"][CAMERA]["segmentation"][0, ..., 0].numpy()
        ids[variant] = np.isin(segmentation, env.unwrapped.edit_segmentation_ids)
        env.close()
    base, cabinet = pictures["base"], ids["base"]
    assert all((found == cabinet).all() for found in ids.values())
    for variant, picture in pictures.items():
        apart = np.abs(picture - base).mean(-1)
        if variant.startswith("modern"):
            assert apart[~cabinet].mean() > 10 > apart[cabinet].mean()
        elif variant.startswith("mk"):
            assert apart[cabinet].mean() > 10 > apart[~cabinet].mean()
            assert picture[cabinet].min() < 30  # the handles stay black
    assert pictures["darker"].mean() < base.mean() - 5 < pictures["brighter"].mean() - 10


@pytest.mark.parametrize(
    "action",
    [
        [0.0] * 6,
        [0.0] * 6 + [float("nan")],
        [float("inf")] + [0.0] * 6,
        [1e300] * 7,
        None,
        "open",
        [[0.0], [1, 2]],
    ],
)
def test_step_refuses_what_is_not_seven_finite_numbers(small: Any, action: Any) -> None:
    small.reset()
    with pytest.raises(SimeditError, match="seven finite numbers"):
        small.step(action)


def test_truncates_at_the_step_limit() -> None:
    env: Any = gymnasium.make("simedit/Drawer-v1", width=16, height=16, max_episode_steps=2)
    env.reset()
    hold = np.zeros((1, 7), dtype=np.float32)
    assert [env.step(hold)[3].item() for _ in range(2)] == [False, True]
    env.close()


def test_the_wrappers_answers_are_tensors_and_share_nothing(small: Any) -> None:
    obs, info = small.reset(seed=0)
    before = info["elapsed_steps"].item(), obs["sensor_param"][CAMERA]["intrinsic_cv"].clone()
    stepped, reward, *_, after = small.step(np.zeros(7, dtype=np.float32))
    assert reward.dtype == torch.float32
    stepped["sensor_param"][CAMERA]["intrinsic_cv"] += 1
    assert (info["elapsed_steps"].item(), after["elapsed_steps"].item()) == (before[0], 1)
    assert torch.equal(obs["sensor_param"][CAMERA]["intrinsic_cv"], before[1])


@pytest.fixture
def another() -> Iterator[Any]:
    """One that wrappers may tell of their keys."""
    env: Any = gymnasium.make("simedit/Drawer-v1", width=80, height=64)
    yield env
    env.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["alone", "edit outside", "edit inside"])
def test_gymnasium_checks_the_twin_alone_and_edited(another: Any, kind: str) -> None:
    from gymnasium.utils.env_checker import check_env
    from mani_skill.utils.wrappers import CPUGymWrapper

    env = another if kind != "edit inside" else EditObservation(another, Red(), "red", keep_raw="raw")
    env = CPUGymWrapper(env)
    if kind == "edit outside":
        env = EditObservation(env, Red(), "red", keep_raw="raw")
    check_env(env, skip_render_check=True, skip_close_check=True)


class Red:
    styles = ("red", "reddish")

    def edit(self, frames, *, styles, masks=None, seeds):
        return np.where(masks[..., None], np.uint8([255, 0, 0]), frames)


def test_keep_raw_is_in_the_spaces_that_mani_skills_wrappers_read(another: Any) -> None:
    from mani_skill.utils.wrappers import CPUGymWrapper

    space = another.observation_space
    env = CPUGymWrapper(EditObservation(another, Red(), "red", keep_raw="raw"))
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    assert obs["sensor_data"][CAMERA]["raw"].shape == (64, 80, 3)
    # Wrapped anew, the environment has forgotten the key.
    EditObservation(another, Red(), "red", keep_raw="raw")
    again = EditObservation(another, Red(), "red")
    assert again.observation_space == another.observation_space == space


def test_a_vector_of_twins_is_edited_as_a_lone_one(small: Any) -> None:
    pytest.importorskip("gymnasium", minversion="1.1")
    from simedit.vector import EditVectorObservation

    envs = gymnasium.make_vec("simedit/Drawer-v1", num_envs=2, vectorization_mode="sync", width=80, height=64)
    envs = EditVectorObservation(envs, Red(), "red")
    lone, _ = EditObservation(small, Red(), "red").reset(
        seed=0, options={"pose": "a0", "task": "open", "drawer": "top"}
    )
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    for frame in obs["sensor_data"][CAMERA]["rgb"]:
        np.testing.assert_array_equal(frame, lone["sensor_data"][CAMERA]["rgb"].numpy())
    envs.close()


def test_it_renders_what_it_shows_and_a_specification_makes_it_anew(small: Any) -> None:
    env: Any = gymnasium.make("simedit/Drawer-v1", width=80, height=64, pose="b1", max_episode_steps=3)
    env.reset()
    assert env.render() is None
    again: Any = gymnasium.make(env.spec, render_mode="rgb_array")
    obs, info = again.reset(seed=2**63)
    np.testing.assert_array_equal(again.render(), rgb(obs))
    np.testing.assert_allclose(info["pose"][0], POSES["b1"], atol=1e-6)
    obs, *_ = again.step(np.full(7, 0.3))
    np.testing.assert_array_equal(again.render(), rgb(obs))
    edited = EditObservation(again, Red(), "red")
    obs, _ = edited.reset(seed=0)
    np.testing.assert_array_equal(edited.render(), rgb(obs))
    with pytest.raises(SimeditError, match="render_mode 'sensors'"):
        gymnasium.make(env.spec, render_mode="sensors")
    env.close()
    again.close()


@pytest.mark.parametrize("seed", [-1, 1.5, "0", [0, 1], True])
def test_seeds_are_whole_numbers(small: Any, seed: Any) -> None:
    with pytest.raises(SimeditError, match="seed"):
        small.unwrapped.reset(seed=seed)


def test_the_seed_is_the_generators(small: Any) -> None:
    small.reset(seed=5)
    assert small.unwrapped.np_random_seed == 5
    draws = small.unwrapped.np_random.random(3)
    small.reset(seed=[5])
    np.testing.assert_array_equal(small.unwrapped.np_random.random(3), draws)


def test_old_scenes_go_without_a_garbage_collection(small: Any) -> None:
    def scenes() -> int:
        return sum(
            type(thing).__name__ == "ManiSkillScene" and bool(vars(thing)) for thing in gc.get_objects()
        )

    small.reset()
    gc.collect()
    gc.disable()
    try:
        before = scenes()
        for _ in range(3):
            small.reset()
        assert scenes() == before
    finally:
        gc.enable()


def test_closed_it_closes_again_and_refuses_a_step(small: Any) -> None:
    env: Any = gymnasium.make("simedit/Drawer-v1", width=16, height=16)
    first, _ = env.reset()
    env.close()
    env.close()
    with pytest.raises(SimeditError, match="closed"):
        env.unwrapped.step(np.zeros(7))
    assert torch.equal(env.reset()[0]["sensor_data"][CAMERA]["rgb"], first["sensor_data"][CAMERA]["rgb"])
    env.close()


def _make_in_a_fork(pipe: Any) -> None:
    try:
        gymnasium.make("simedit/Drawer-v1", width=16, height=16)
        pipe.send("made")
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def test_a_fork_with_the_renderer_in_use_is_refused(small: Any) -> None:
    small.reset()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_make_in_a_fork, args=(theirs,), daemon=True)
    process.start()
    assert ours.poll(60), "it hangs"
    assert "SimeditError: this process was forked" in ours.recv()
    process.join()


def push(env: Any, pose: str, drawer: str) -> bytes:
    """Lean on a drawer: open loop, with much contact. Returns every joint position after every step."""
    env.reset(options={"pose": pose, "task": "close", "drawer": drawer})
    height = {"top": 0.0, "middle": -0.03, "bottom": -0.06}[drawer]
    trace = []
    for k in range(14):
        env.step(np.array([0.06, 0.01, height, 0, 0.1 * (k % 3 - 1), 0, 1], dtype=np.float32))
        trace += [env.unwrapped.agent.robot.qpos.numpy(), env.unwrapped.cabinet.qpos.numpy()]
    return np.concatenate(trace, axis=1).tobytes()


@pytest.mark.slow
def test_an_episode_does_not_depend_on_those_before_it() -> None:
    def fresh() -> gymnasium.Env:
        return gymnasium.make("simedit/Drawer-v1", width=16, height=16)

    trials = [("a0", "top"), ("c0", "middle"), ("b1", "top")]
    alone = {trial: push(fresh(), *trial) for trial in trials}
    env = fresh()
    for trial in [*reversed(trials), *trials]:
        assert push(env, *trial) == alone[trial]


def test_a_machine_that_cannot_render_is_told_what_to_install() -> None:
    code = "import gymnasium, simedit.envs; gymnasium.make('simedit/Drawer-v1')"
    env = {**os.environ, "VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode
    assert "SimeditError: no Vulkan device can render" in done.stderr


def test_importing_the_package_needs_no_simulator() -> None:
    code = "import sys, simedit.envs; assert not {'mani_skill', 'sapien', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def frame(size: tuple[int, int] = (80, 64), pose: Any = "b1", **settings: Any) -> np.ndarray:
    """The first frame of a new environment, float [H, W, 3], with the cabinet's mask in a fourth channel."""
    env: Any = gymnasium.make("simedit/Drawer-v1", width=size[0], height=size[1], **settings)
    obs, info = env.reset(options={"pose": pose, "task": "open", "drawer": "top"})
    np.testing.assert_allclose(info["pose"][0], find_pose(pose), atol=1e-6)
    segmentation = obs["sensor_data"][CAMERA]["segmentation"][0].numpy()
    cabinet = np.isin(segmentation, env.unwrapped.edit_segmentation_ids)
    env.close()
    return np.concatenate([rgb(obs).astype(float), cabinet], axis=2)


def test_light_brightens_what_it_falls_on() -> None:
    assert frame(light="darker")[..., :3].mean() < frame(light="brighter")[..., :3].mean() - 10


def test_denoisers_that_need_a_gpu_say_so() -> None:
    if sapien_can_denoise():
        pytest.skip("this machine has an NVIDIA GPU that renders")
    with pytest.raises(SimeditError, match="denoiser 'optix' needs an NVIDIA GPU"):
        gymnasium.make("simedit/Drawer-v1", shader="rt", denoiser="optix")


def sapien_can_denoise() -> bool:
    import sapien

    try:
        return sapien.Device("cuda").can_render()
    except RuntimeError:
        return False


@needs_shared
@pytest.mark.slow
def test_variants_of_variant_aggregation_look_different() -> None:
    common = {"pose": poses("varagg")["b1"], "skin": "simpler", "asset_root": SHARED / "assets"}
    names = ("base", "darker", "brighter", "mk_station3")
    frames = {name: frame(**common, **asdict(VARIANTS["varagg"][name])) for name in names}
    base, mask = frames["base"], frames["base"][..., 3] > 0
    assert (frames["mk_station3"] != base)[mask].any()
    for part in (mask, ~mask):
        means = {name: found[part, :3].mean() for name, found in frames.items()}
        assert means["darker"] < means["base"] - 2 < means["brighter"] - 4


@needs_shared
@pytest.mark.slow
def test_the_ray_tracer_draws_variant_aggregation() -> None:
    look = {
        **asdict(VARIANTS["varagg"]["base"]),
        "pose": poses("varagg")["b1"],
        "asset_root": SHARED / "assets",
    }
    traced = frame((40, 32), skin="simpler", shader="rt", samples_per_pixel=2, **look)
    raster = frame((40, 32), skin="simpler", **look)
    # Rays through the pixels differ by less than a pixel, and light that bounces adds a little.
    assert (traced[..., 3] == raster[..., 3]).mean() > 0.98
    for part in (raster[..., 3] > 0, raster[..., 3] == 0):
        assert abs(traced[part, :3].mean() - raster[part, :3].mean()) < 40


@needs_shared
def test_a_missing_room_is_named() -> None:
    with pytest.raises(SimeditError, match=r"modern_office_no_roof.glb \(missing\)"):
        frame(skin="simpler", asset_root=SHARED / "assets", room="modern_office_no_roof")


@needs_shared
def test_first_frame_equals_the_recorded_one() -> None:
    import imageio.v3 as iio

    env: Any = gymnasium.make(
        "simedit/Drawer-v1",
        skin="simpler",
        asset_root=SHARED / "assets",
        overlay=True,
        robot_variant="recolor_cabinet_visual_matching_1",
    )
    for task, drawer, pose in (("open", "top", "a0"), ("close", "middle", "c0")):
        obs, _ = env.reset(options={"task": task, "drawer": drawer, "pose": pose})
        recording = SHARED / "reference" / f"expert_{task}_{drawer}_{pose}_t000"
        expected, mask = iio.imread(f"{recording}.png"), iio.imread(f"{recording}_mask.png")
        segmentation = obs["sensor_data"][CAMERA]["segmentation"][0, ..., 0].numpy()
        cabinet = np.isin(segmentation, env.unwrapped.edit_segmentation_ids)
        assert (cabinet & (mask == 2)).sum() / (cabinet | (mask == 2)).sum() > 0.999
        error = np.mean((rgb(obs).astype(float) - expected) ** 2)
        assert 10 * np.log10(255**2 / error) > 40
    env.close()


@needs_shared
def test_overlay_follows_the_pose_and_hides_neither_robot_nor_cabinet() -> None:
    common = {"skin": "simpler", "asset_root": SHARED / "assets", "width": 160, "height": 128}
    plain: Any = gymnasium.make("simedit/Drawer-v1", **common)
    matched: Any = gymnasium.make("simedit/Drawer-v1", overlay=True, **common)
    backgrounds = []
    for pose in ("a0", "c2"):
        raw, _ = plain.reset(options={"pose": pose})
        laid, _ = matched.reset(options={"pose": pose})
        changed = (rgb(raw) != rgb(laid)).any(axis=-1)
        cabinet = np.isin(
            raw["sensor_data"][CAMERA]["segmentation"][0, ..., 0].numpy(),
            plain.unwrapped.edit_segmentation_ids,
        )
        assert changed.mean() > 0.2
        assert not changed[cabinet].any()
        backgrounds.append(rgb(laid)[0])
    assert (backgrounds[0] != backgrounds[1]).any()
    plain.close()
    matched.close()
