from __future__ import annotations

import numpy as np
import pytest

from simedit.envs.drawer.proprioception import JOINTS, proprioception


def test_joints_go_by_name_and_the_gripper_by_its_limits():
    names = [*reversed(JOINTS)]
    at = {name: float(number) for number, name in enumerate(JOINTS)}
    at["joint_finger_right"], at["joint_finger_left"] = 0.3, 0.6
    limits = np.array([[-0.1, 0.9] if "finger" in name else [-4, 4] for name in names])
    found = proprioception(names, np.array([at[name] for name in names]), limits, [1, 2, 3], [1, 0, 0, 0])
    np.testing.assert_array_equal(found["joint_positions"], np.array([*at.values()], np.float32))
    assert found["gripper"] == pytest.approx(0.55)
    assert found["tool_pose"].tolist() == [1, 2, 3, 1, 0, 0, 0]
    assert found["tool_pose"].dtype == found["joint_positions"].dtype == np.float32


def test_the_twins_joints_are_these():
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    from simedit.envs.drawer.robot import START_QPOS

    assert tuple(START_QPOS) == JOINTS
