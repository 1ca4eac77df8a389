from __future__ import annotations

import numpy as np

from simedit.training.painted import frame_shading, paint, usual_brightness


def test_light_is_kept_and_nothing_else_of_the_frame() -> None:
    frame = np.full((8, 8, 3), 100, np.uint8)
    frame[:, 4:] = 50
    frame[0] = 255
    mask = np.zeros((8, 8), bool)
    mask[1:] = True
    usual = usual_brightness(frame[None], mask[None])
    assert abs(usual - 75 / 255) < 1e-6
    photograph = np.full((8, 8, 3), (120, 60, 30), np.uint8)
    painted = paint(frame, mask, photograph, frame_shading(frame, 100 / 255))
    assert (painted[0] == 255).all()
    assert (painted[1:, :4] == [120, 60, 30]).all()
    assert abs(painted[1:, 4:].astype(int) - [60, 30, 15]).max() <= 1


def test_bright_light_never_leaves_the_range_nor_turns_round() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
    mask, light = np.ones((1, 256), bool), np.full((1, 256), 1.8, np.float32)
    painted = paint(ramp, mask, ramp, light).astype(int)
    assert (np.diff(painted[0, :, 0]) >= 0).all()
    assert painted[0, 0, 0] == 0
    assert painted[0, -1, 0] == 255
    assert (painted[0, 1:-1, 0] > ramp[0, 1:-1, 0]).mean() > 0.95


def test_no_mask_no_brightness() -> None:
    assert usual_brightness(np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4), bool)) == 1
