"""simedit.envs.drawer.robot: the links that it is made of, and what the solver has to do with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import simedit.envs  # noqa: F401 (registers the environment)

pytest.importorskip("mani_skill", reason="needs the extra: sim")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "simpler"


def closed(skin: str, links: list[str]) -> Any:
    """A twin whose fingers have closed on each other; the robot's links go to `links`."""
    root = SHARED / "assets" if skin == "simpler" else None
    twin: Any = gymnasium.make("simedit/Drawer-v1", skin=skin, asset_root=root, width=16, height=16).unwrapped
    twin.reset(options={"task": "open", "drawer": "top", "pose": "a0"})
    links += [link.name for link in twin.agent.robot.links]
    for _ in range(5):
        twin.step(np.array([0.02, 0, -0.02, 0, 0, 0, 1], np.float32))
    return twin


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no SIMPLER assets at {SHARED}")
def test_empty_links_are_left_out_and_no_bit_of_the_motion_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    few: list[str] = []
    every: list[str] = []
    found = closed("simpler", few).agent.robot
    monkeypatch.setattr("simedit.envs.drawer.robot._drop_empty_links", lambda builder: None)
    expected = closed("simpler", every).agent.robot
    assert set(few) < set(every)
    assert {"link_camera", "link_gripper_tcp"} < set(few)
    assert not {"link_base_inertial", "imu.neck", "link_neck_imu_mount"} & set(few)
    assert found.qpos.numpy().tobytes() == expected.qpos.numpy().tobytes()
    assert found.qvel.numpy().tobytes() == expected.qvel.numpy().tobytes()


@pytest.mark.parametrize("skin", ["primitive", "simpler"])
def test_the_solver_gets_little_that_does_not_press(skin: str) -> None:
    if skin == "simpler" and not SHARED.is_dir():
        pytest.skip(f"no SIMPLER assets at {SHARED}")
    points = [point for contact in closed(skin, []).scene.px.get_contacts() for point in contact.points]
    pressing = sum(bool(np.any(point.impulse)) for point in points)
    assert pressing >= 2
    assert len(points) < 20
