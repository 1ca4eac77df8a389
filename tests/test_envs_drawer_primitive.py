from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

sapien = pytest.importorskip("sapien")
urdf_loader = pytest.importorskip("sapien.wrapper.urdf_loader")

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "assets"
ROBOT = "mani_skill2_real2sim/assets/descriptions/googlerobot_description"
ORIGINALS = {
    "google_robot.urdf": ASSETS / ROBOT / "google_robot_meta_sim_fix_wheel_fix_fingertip.urdf",
    "mk_station.urdf": ASSETS / "data/custom/mk_station_recolor.urdf",
}
SENSORS = ("imu", "time_of_flight", "cliff", "link_base_imu", "link_neck_imu", "link_base_inertial")


@pytest.fixture(scope="module")
def load():
    scene = sapien.Scene([sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(sapien.Device("cpu"))])

    def load(path):
        loader = urdf_loader.URDFLoader()
        loader.set_scene(scene)
        return loader.load(str(path))

    return load


def ours(name):
    return files("simedit.envs") / "primitive" / name


def limits(robot):
    return {j.name: j.limits for j in robot.active_joints}


def link_poses(robot, qpos):
    robot.set_qpos(np.array([qpos[j.name] for j in robot.active_joints]))
    return {link.name: link.entity_pose.to_transformation_matrix() for link in robot.links}


@pytest.mark.parametrize("name", ORIGINALS)
def test_same_frames_and_limits_as_the_original(name, load):
    if not ORIGINALS[name].is_file():
        pytest.skip(f"needs SIMPLER's {ORIGINALS[name].name} in ../shared")
    mine, original = load(ours(name)), load(ORIGINALS[name])
    assert limits(mine).keys() == limits(original).keys()
    for joint, limit in limits(original).items():
        np.testing.assert_allclose(limits(mine)[joint], limit, atol=1e-6)

    rng = np.random.default_rng(0)
    for _ in range(20):
        qpos = {joint: rng.uniform(*limit[0]) for joint, limit in limits(original).items()}
        expected, actual = link_poses(original, qpos), link_poses(mine, qpos)
        left_out = expected.keys() - actual.keys()
        assert actual.keys() <= expected.keys()
        assert all(link.startswith(SENSORS) for link in left_out), left_out
        for link in actual:
            np.testing.assert_allclose(actual[link], expected[link], atol=1e-6, err_msg=link)


@pytest.mark.parametrize("name", ORIGINALS)
def test_same_masses_as_the_original(name, load):
    if not ORIGINALS[name].is_file():
        pytest.skip(f"needs SIMPLER's {ORIGINALS[name].name} in ../shared")
    original = {link.name: link for link in load(ORIGINALS[name]).links}
    for link in load(ours(name)).links:
        if "rear_wheel" in link.name:  # no inertial in either: fixed to the base, which never moves
            continue
        expected = original[link.name]
        np.testing.assert_allclose(link.mass, expected.mass, rtol=1e-4, atol=2e-6, err_msg=link.name)
        np.testing.assert_allclose(link.inertia, expected.inertia, rtol=1e-3, atol=1e-8, err_msg=link.name)
        np.testing.assert_allclose(link.cmass_local_pose.p, expected.cmass_local_pose.p, atol=2e-4)


@pytest.mark.parametrize("name", ORIGINALS)
def test_is_made_of_primitives_and_can_be_touched(name, load):
    robot = load(ours(name))
    touchable = {link.name for link in robot.links if link.collision_shapes}
    assert touchable >= (
        {"body", "top_drawer", "middle_drawer", "bottom_drawer"}
        if name == "mk_station.urdf"
        else {f"link_finger{part}_{side}" for part in ("", "_tip") for side in ("left", "right")}
    )
    assert "<mesh" not in ours(name).read_text(encoding="utf-8")
