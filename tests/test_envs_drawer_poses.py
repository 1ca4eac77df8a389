"""Tests of simedit.envs.drawer.poses."""

from __future__ import annotations

import pytest

from simedit.envs.drawer.poses import (
    CLOSED_AT,
    OPEN_AT,
    POSES,
    Pose,
    check_task,
    find_pose,
    instruction,
    succeeded,
)
from simedit.errors import SimeditError


def test_poses_are_three_rows_of_three() -> None:
    assert sorted(POSES) == [row + column for row in "abc" for column in "012"]
    assert len(set(POSES.values())) == 9


def test_find_pose_takes_names_and_numbers() -> None:
    assert find_pose("c2") == Pose(0.865, 0.222, -0.025)
    assert find_pose([1, 0.5, 0]) == Pose(1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        ("a9", "did you mean"),
        ((1, 2), "three numbers|numbers"),
        ((1, 2, float("nan")), "finite"),
        (None, "None"),
    ],
)
def test_find_pose_refuses(pose: object, message: str) -> None:
    with pytest.raises(SimeditError, match=message):
        find_pose(pose)  # type: ignore[arg-type]


def test_check_task_refuses_unknown_names() -> None:
    check_task("close", "bottom")
    with pytest.raises(SimeditError, match="unknown task 'shut'"):
        check_task("shut", "top")
    with pytest.raises(SimeditError, match="did you mean 'middle'"):
        check_task("open", "midle")


def test_instruction_is_what_rt1_was_trained_with() -> None:
    assert instruction("open", "top") == "open top drawer"


def test_success_is_inclusive_at_both_thresholds() -> None:
    assert succeeded("open", OPEN_AT)
    assert not succeeded("open", OPEN_AT - 1e-9)
    assert succeeded("close", CLOSED_AT)
    assert not succeeded("close", CLOSED_AT + 1e-9)
