"""Tests of simedit.envs.drawer.controller, on the robot it drives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import simedit.envs  # noqa: F401 (registers the environment)

pytest.importorskip("mani_skill", reason="needs the extra: sim")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "simpler"


@pytest.fixture(scope="module")
def env() -> Iterator[gymnasium.Env]:
    env = gymnasium.make("simedit/Drawer-v1", pose="b2", width=16, height=16)
    yield env
    env.close()


@pytest.fixture
def twin(env: gymnasium.Env) -> Any:
    env.reset()
    return env.unwrapped


def act(twin: Any, *, move: tuple = (0, 0, 0), turn: tuple = (0, 0, 0), gripper: float = 0.0) -> None:
    twin.step(np.array([*move, *turn, gripper], dtype=np.float32))


def fingers(twin: Any) -> np.ndarray:
    joints = twin.agent.robot.active_joints_map
    index = [joints[f"joint_finger_{side}"].active_index.item() for side in ("right", "left")]
    return twin.agent.robot.qpos[0, index].numpy()


def test_moves_and_turns_in_base_axes(twin: Any) -> None:
    start = twin.agent.tcp_pose.to_transformation_matrix()
    goal = start[:3, 3] + (-0.04, 0.03, 0.02)
    turn = Rotation.from_rotvec([0.0, 0.0, 0.2])
    for _ in range(8):
        here = twin.agent.tcp_pose.to_transformation_matrix()
        left = turn * Rotation.from_matrix(start[:3, :3]) * Rotation.from_matrix(here[:3, :3]).inv()
        act(twin, move=tuple(goal - here[:3, 3]), turn=tuple(left.as_rotvec()))
    here = twin.agent.tcp_pose.to_transformation_matrix()
    np.testing.assert_allclose(here[:3, 3], goal, atol=0.004)
    turned = Rotation.from_matrix(here[:3, :3] @ start[:3, :3].T)
    np.testing.assert_allclose(turned.as_rotvec(), turn.as_rotvec(), atol=0.02)


def test_path_is_smooth_and_within_its_limits(twin: Any) -> None:
    arm = twin.agent.controller.controllers["arm"]
    act(twin, move=(0.1, 0.1, -0.1))
    first = arm.get_state()
    act(twin, move=(-0.1, 0.0, 0.1))
    second = arm.get_state()
    speed = second["path_qvel"].abs().max().item()
    assert 0.05 < speed <= 1.5
    moved = (second["path_qpos"] - first["path_qpos"]).abs().max().item()
    assert 0.0 < moved < 1.5 / 3


def test_unreachable_target_leaves_the_arm_where_it_is(twin: Any) -> None:
    before = twin.agent.tcp_pose.p
    act(twin, move=(5.0, 0.0, 0.0))
    assert np.linalg.norm(twin.agent.tcp_pose.p - before) < 1e-3


def test_gripper_closes_opens_and_keeps_its_goal(twin: Any) -> None:
    assert np.abs(fingers(twin)).max() < 0.02
    for _ in range(5):
        act(twin, gripper=1.0)
    closed = fingers(twin)
    assert closed.min() > 0.8
    for _ in range(2):
        act(twin, gripper=0.0)
    np.testing.assert_allclose(fingers(twin), closed, atol=0.1)
    for _ in range(6):
        act(twin, gripper=-1.0)
    assert np.abs(fingers(twin)).max() < 0.05


def test_drives_aim_no_further_than_the_joint_limits(twin: Any) -> None:
    joints = twin.agent.robot.active_joints_map
    for _ in range(2):
        act(twin, gripper=-1.0)
    state = twin.agent.controller.get_state()["gripper"]
    assert state["last_drive_target"].max() < -0.009  # the path itself goes on
    targets = [joints[f"joint_finger_{side}"]._objs[0].drive_target.item() for side in ("right", "left")]
    np.testing.assert_allclose(targets, -1e-4, atol=1e-6)


def test_drives_are_softer_than_configured_but_as_fast(twin: Any) -> None:
    act(twin)
    for uid, least in (("arm", 1.0), ("gripper", 4.0)):
        controller = twin.agent.controller.controllers[uid]
        config = controller.config
        for i, name in enumerate(config.joint_names):
            drive = twin.agent.robot.active_joints_map[name]._objs[0]
            assert drive.stiffness < config.stiffness[i] / least
            # In free motion a joint closes in on its target at the rate stiffness / damping.
            assert drive.stiffness / drive.damping == pytest.approx(config.stiffness[i] / config.damping[i])
            assert drive.force_limit == pytest.approx(config.force_limit[i])


def test_state_round_trips(twin: Any) -> None:
    act(twin, move=(0.02, 0.0, -0.02), gripper=1.0)
    controller = twin.agent.controller
    kept = controller.get_state()
    controller.reset()
    assert not np.array_equal(controller.get_state()["arm"]["path_qvel"], kept["arm"]["path_qvel"])
    controller.set_state(kept)
    for uid, state in kept.items():
        for key, value in state.items():
            np.testing.assert_array_equal(controller.get_state()[uid][key], value)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no SIMPLER recordings at {SHARED}")
def test_free_motion_follows_the_original_step_by_step() -> None:
    recording = np.load(SHARED / "reference" / "expert_open_top_a0.npz")
    twin: Any = gymnasium.make(
        "simedit/Drawer-v1", skin="simpler", asset_root=SHARED / "assets", width=16, height=16
    ).unwrapped
    twin.reset(options={"task": "open", "drawer": "top", "pose": "a0"})
    named = [str(name) for name in recording["joint_names"]]
    order = [named.index(joint.name) for joint in twin.agent.robot.active_joints]
    fingers = [named.index("joint_finger_right"), named.index("joint_finger_left")]
    errors, planned = [], []
    for t in range(1, len(recording["actions"])):
        if recording["qpos"][t : t + 2, fingers].max() >= 0.6:
            break  # from here on the fingertips touch
        twin.agent.robot.set_qpos(recording["qpos"][t][order].astype(np.float32))
        twin.agent.robot.set_qvel(recording["qvel"][t][order].astype(np.float32))
        state = {
            "arm": {"path_qpos": recording["arm_path_qpos"][t], "path_qvel": recording["arm_path_qvel"][t]},
            "gripper": {
                "last_drive_target": recording["gripper_last_drive_target"][t],
                "target": recording["gripper_target"][t],
            },
        }
        twin.agent.controller.set_state(state)
        twin.step(recording["actions"][t])
        path = twin.agent.controller.get_state()["arm"]["path_qpos"][0].numpy()
        planned.append(np.abs(path - recording["arm_path_qpos"][t + 1]).max())
        errors.append(np.linalg.norm(twin.agent.tcp_pose.p - recording["tcp_pose_base"][t + 1, :3]))
    assert len(errors) > 10
    assert np.median(errors) < 1e-4
    assert max(planned) < 1e-4
