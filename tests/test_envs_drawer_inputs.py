"""Tests of simedit.envs.drawer.inputs, on the shipped skin where no assets are needed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from simedit.envs.drawer.inputs import TwinInputs
from simedit.errors import SimeditError
from simedit.training.config import TwinConfig

pytest.importorskip("mani_skill", reason="needs the extra: sim")

ASSETS = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "assets"
needs_shared = pytest.mark.skipif(not ASSETS.is_dir(), reason=f"no SIMPLER assets at {ASSETS}")


@pytest.fixture(scope="module")
def small() -> Iterator[TwinInputs]:
    inputs = TwinInputs(TwinConfig(frames=36), 32, 32, seed=0)
    yield inputs
    inputs.close()


def same(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_frames_and_masks_have_the_asked_shape(small: TwinInputs) -> None:
    assert len(small) == 36
    frame, mask = small[7]
    assert (frame.dtype, frame.shape) == (np.uint8, (32, 32, 3))
    assert (mask.dtype, mask.shape) == (np.bool_, (32, 32))


def test_a_frame_depends_on_its_index_alone(small: TwinInputs) -> None:
    order = [11, 0, 20, 3, 2]
    found = {index: small[index] for index in order}
    again = TwinInputs(TwinConfig(frames=36), 32, 32, seed=0)
    assert all(same(again[index], found[index]) for index in sorted(order))
    again.close()
    assert same(again[20], found[20])  # in an environment built anew
    again.close()
    other = TwinInputs(TwinConfig(frames=36), 32, 32, seed=1)
    assert not same(other[20], found[20])
    other.close()


def test_frames_vary_in_pose_drawers_and_arm(small: TwinInputs) -> None:
    frames, masks = map(np.stack, zip(*(small[index] for index in range(36)), strict=True))
    assert len({frame.tobytes() for frame in frames}) == 36
    cabinet = masks.mean(axis=(1, 2))
    assert 0.1 < cabinet.min() < cabinet.max() - 0.1 < 0.6
    # The floor is white and the robot is not.
    robot = (~masks & (frames.min(axis=-1) < 245)).mean(axis=(1, 2))
    assert robot.min() < 0.05
    assert robot.max() > 0.15
    # Only what lies behind an open drawer's front is dark brown.
    inside = (masks & (frames[..., 0] < 125) & (frames[..., 0] > frames[..., 2] + 25.0)).mean(axis=(1, 2))
    assert inside.min() < 0.06
    assert inside.max() > 0.12


def test_the_mask_is_where_the_cabinet_is(small: TwinInputs) -> None:
    for index in range(9):
        frame, mask = small[index]
        red, _, blue = np.moveaxis(frame.astype(int), -1, 0)
        wood = red > blue + 25  # of all there is, only the cabinet is brown
        assert (wood & ~mask).mean() < 0.02
        assert (mask & ~wood).mean() < 0.02  # handles


def test_the_view_is_cut_at_the_centre(small: TwinInputs) -> None:
    wide = TwinInputs(TwinConfig(frames=36), 40, 32, seed=0)
    frame, mask = wide[4]
    wide.close()
    assert same((frame[:, 4:36], mask[:, 4:36]), small[4])
    low = TwinInputs(TwinConfig(frames=36), 40, 20, seed=0)
    assert same((frame[6:26], mask[6:26]), low[4])
    low.close()


def test_there_are_no_more_frames_than_asked(small: TwinInputs) -> None:
    with pytest.raises(IndexError, match="no input 36"):
        small[36]


def test_missing_assets_are_named_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="is not a folder"):
        TwinInputs(TwinConfig(skin="simpler", asset_root=str(tmp_path / "none")), 32, 32, seed=0)
    with pytest.raises(SimeditError, match=r"lacks .*google_robot.*\.urdf \(missing\)"):
        TwinInputs(TwinConfig(skin="simpler", asset_root=str(tmp_path)), 32, 32, seed=0)
    with pytest.raises(SimeditError, match=r"lacks .*open_drawer_a0\.png \(missing\)"):
        TwinInputs(TwinConfig(overlay=True, asset_root=str(tmp_path)), 32, 32, seed=0)


def test_the_module_needs_no_simulator_to_be_imported() -> None:
    code = "import sys, simedit.envs.drawer.inputs; assert not {'mani_skill', 'sapien'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_shared
def test_photographs_lie_behind_simplers_robot_and_cabinet() -> None:
    look = {"frames": 9, "skin": "simpler", "asset_root": str(ASSETS)}
    plain = TwinInputs(TwinConfig.model_validate(look), 32, 32, seed=0)
    laid = TwinInputs(TwinConfig.model_validate({**look, "overlay": True}), 32, 32, seed=0)
    for index in (0, 8, 3):
        (bare, mask), (frame, other) = plain[index], laid[index]
        assert np.array_equal(mask, other)
        assert np.array_equal(bare[mask], frame[mask])
        assert (bare != frame).any(axis=-1).mean() > 0.2
    plain.close()
    laid.close()
