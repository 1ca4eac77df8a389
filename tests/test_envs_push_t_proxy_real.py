"""Tests of simedit.envs.push_t.proxy_real, and of its look, camera and surfaces."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from simedit.envs.push_t.camera import Camera
from simedit.envs.push_t.look import Look, draw_look
from simedit.envs.push_t.proxy_real import Photographer, photograph
from simedit.envs.push_t.scene import GOAL, REGIONS, SIDE, draw_state, placed
from simedit.envs.push_t.surfaces import table

STATE = np.array([400.0, 120.0, 150.0, 250.0, 2.0])


def plain(seed: int = 0) -> Look:
    """A look without lens, noise or error of the camera."""
    look = draw_look(np.random.default_rng(seed))
    return replace(
        look, blur=0.0, grain=0.0, vignette=0.0, shift=(0.0, 0.0), roll=0.0, scale=1.0, quality=100
    )


def shown(state: np.ndarray, look: Look, size: int = 128) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    frame, regions = Photographer(look, size).photograph(state, np.random.default_rng(0))
    return frame.astype(float), regions


def test_a_photograph_follows_from_state_and_seed():
    one, regions = photograph(STATE, 96, 5)
    again, same = photograph(STATE, 96, 5)
    other, moved = photograph(STATE, 96, 6)
    assert (one.shape, one.dtype) == ((96, 96, 3), np.uint8)
    np.testing.assert_array_equal(one, again)
    for name in REGIONS:
        np.testing.assert_array_equal(regions[name], same[name])
    assert (one != other).mean() > 0.8
    assert (regions["block"] != moved["block"]).any()  # another error of the camera


def test_noise_is_the_frames_and_the_rest_the_visits():
    photographer = Photographer(draw_look(np.random.default_rng(1)), 96)
    random = np.random.default_rng(0)
    one, other = (photographer.photograph(STATE, random)[0].astype(float) for _ in range(2))
    assert 0.5 < np.abs(one - other).mean() < 12
    quiet = Photographer(replace(photographer.look, grain=0.0), 96)
    np.testing.assert_array_equal(*(quiet.photograph(STATE, random)[0] for _ in range(2)))


def test_looks_differ_and_the_camera_errs_by_little():
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(30)]
    assert len({look.lamp for look in looks}) == 30
    for look in looks:
        assert np.linalg.norm(look.lamp) == pytest.approx(1)
        assert max(map(abs, look.shift)) <= 5  # a pixel and a quarter of 128


def test_every_pixel_is_of_one_region_and_has_its_colours():
    random = np.random.default_rng(0)
    for seed in range(5):
        frame, regions = shown(draw_state(random), plain(seed))
        assert (sum(mask.astype(int) for mask in regions.values()) == 1).all()
        inner = {name: cv2.erode(m.astype(np.uint8), np.ones((3, 3))) > 0 for name, m in regions.items()}
        red, green, blue = frame[inner["block"]].T
        assert (red > green + 30).mean() > 0.99
        assert (green > blue).mean() > 0.99
        red, green, blue = frame[inner["goal"]].T
        assert (green > np.maximum(red, blue)).mean() > 0.95
        assert frame[regions["background"]].mean() < 110
        assert frame[inner["agent"]].max() > 120


def test_the_layout_is_the_drawings():
    random = np.random.default_rng(1)
    for seed in range(6):
        state = draw_state(random)
        state[:2] = 420, 420  # out of the way
        state[2:4] = np.clip(state[2:4], 150, 360)
        _, regions = shown(state, draw_look(np.random.default_rng(seed)))
        drawn = np.zeros((512, 512), np.uint8)
        cv2.fillPoly(drawn, [np.rint(placed(state[2:])).astype(np.int32)], 1)
        for name, there in (("block", np.argwhere(drawn)), ("agent", np.array([[420, 420]]))):
            middle = np.argwhere(regions[name]).mean(0)
            assert np.abs(middle - there.mean(0) / 4).max() < 4


def test_solids_throw_shadows_away_from_the_lamp():
    shares = []
    for side in (-1.0, 1.0):
        lamp = np.array([0.7 * side, 0.0, 0.7]) / np.linalg.norm([0.7, 0.7])
        frame, regions = shown(
            np.array([80.0, 80, 256, 200, 0]), replace(plain(), lamp=tuple(lamp), shine=0.0)
        )
        row = frame.mean(-1)[70:78]  # through the block's stem
        columns = np.flatnonzero(regions["block"][74])
        left, right = row[:, columns[0] - 5 : columns[0] - 1], row[:, columns[-1] + 2 : columns[-1] + 6]
        shares.append(left.mean() / right.mean())
    assert shares[0] > 1.4 * shares[1]


def test_what_stands_nearer_hides_what_stands_behind():
    # The camera is at the lower edge: the block hides the agent's foot behind it, whose top shows.
    behind, front = np.array([256.0, 254, 256, 272, 0]), np.array([256.0, 410, 256, 272, 0])
    for state in (behind, front):
        _, regions = shown(state, plain(), 256)
        alone = shown(np.array([*state[:2], 60, 400, 0.0]), plain(), 256)[1]["agent"]
        hidden = (alone & regions["block"]).sum()
        assert (hidden > 0) == (state is behind)


def test_a_block_that_was_pushed_out_of_the_picture_is_not_there():
    _, regions = shown(np.array([5000.0, 5000, 9000, 9000, 1]), plain())
    assert not regions["block"].any()
    assert not regions["agent"].any()


def test_the_camera_finds_on_the_table_what_it_sees():
    camera = Camera(64, (3.0, -4.0), 0.01, 1.01)
    where = camera.table()
    pixels = camera.project(np.concatenate([where, np.zeros((64, 64, 1))], -1))
    middle = np.arange(64) + 0.5
    np.testing.assert_allclose(pixels, np.stack(np.meshgrid(middle, middle), -1), atol=0.01)
    np.testing.assert_allclose(Camera(64).project(np.array([SIDE / 2, SIDE / 2, 0])), [32, 32], atol=1e-6)


def test_the_goal_is_painted_where_it_is():
    colour, gloss = table().at(Camera(128).table())
    inside = cv2.fillPoly(
        np.zeros((128, 128), np.uint8),
        [np.rint(Camera(128).project(np.pad(placed(GOAL), ((0, 0), (0, 1))))).astype(np.int32)],
        1,
    )
    inside = cv2.erode(inside, np.ones((3, 3)), iterations=2) > 0
    assert colour[inside][:, 1].min() > 2 * colour[~inside].mean()
    assert gloss[inside].max() < 0.5 < np.median(gloss)
