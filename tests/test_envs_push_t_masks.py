"""Tests of simedit.envs.push_t.masks, against what gym-pusht's simulator fills and against its geometry."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from simedit import factories
from simedit.envs.push_t import masks
from simedit.envs.push_t.env import arrange, drawn, simulator, state
from simedit.envs.push_t.proxy_real import photograph
from simedit.envs.push_t.scene import GOAL, REGIONS, SIDE, TEE, draw_state, placed
from simedit.errors import SimeditError

pytest.importorskip("gym_pusht", reason="needs the extra: push-t")
STATES = 40


def states() -> Iterator[np.ndarray]:
    """States as in episodes, near walls too, and of an agent that pushes."""
    random = np.random.default_rng(0)
    for number in range(STATES):
        found = draw_state(random)
        if number % 5 == 0:
            found[2:4] = random.choice([40, 470]), random.uniform(100, 400)
            found[:2] = random.choice([12, 500], 2)
        yield found
    env = simulator(512)
    arrange(env, draw_state(random))
    for _ in range(STATES // 2):
        env.step(np.array(env.block.position) + random.normal(0, 15, 2))
        yield state(env)


@pytest.fixture(scope="module")
def drawings() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """States, their frames at 512 pixels, and which region the simulator fills each pixel for."""
    env, found = simulator(512), []
    for each in states():
        arrange(env, each)
        frame = drawn(env)
        found.append((each, frame, filled(env)))
    return found


def filled(env) -> np.ndarray:
    """The number of each pixel's region, [512, 512]: every shape is drawn in a colour of its own."""
    own = {env.agent: (0, 0, 100), env.block: (100, 0, 0)}
    for shape in env.space.shapes:
        shape.color = (*own.get(shape.body, (0, 100, 0)), 255)
    red, green, blue = np.moveaxis(drawn(env).astype(int), -1, 0)
    goal = (red == 144) & (green == 238)
    return np.select([goal, (red > 0) & (green == 0), (blue > 0) & (green == 0)], [2, 1, 3], 0)


def fill(each: np.ndarray) -> np.ndarray:
    """The number of each pixel's region, [512, 512], by polygons where the simulator has them.

    Corners and the disc's centre are on whole pixels, as gym-pusht draws. Its outline is what its DrawOptions
    ask for along each edge: a line four pixels thick, and a quadrilateral that only edges of one slant have
    at right angles. A disc of pygame's has a radius of 14.8 for 15. Walls are on top.
    """
    label = np.zeros((512, 512), np.uint8)
    y, x = np.mgrid[:512, :512]
    cv2.fillPoly(label, [np.rint(placed(GOAL)).astype(np.int32)], 2)
    centre = np.rint(each[:2])
    label[(x + 0.5 - centre[0]) ** 2 + (y + 0.5 - centre[1]) ** 2 <= 14.8**2] = 3
    for box in (TEE[[0, 1, 2, 7]], TEE[[3, 4, 5, 6]]):
        corners = np.rint(placed(each[2:], box)).astype(np.int32)
        cv2.fillPoly(label, [corners], 1)
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            wide, high = abs(end - start)
            thick = np.array([0, 1] if wide > high else [1, 0], np.int32)
            across = np.rint(np.array([high, wide]) * 2 / np.hypot(wide, high)).astype(np.int32)
            for low, far in ((-thick, 2 * thick), (-across, across)):
                cv2.fillConvexPoly(label, np.array([start + low, end + low, end + far, start + far]), 1)
    label[np.minimum(abs(x - 5), abs(x - 506)) <= 2] = 0
    label[np.minimum(abs(y - 5), abs(y - 506)) <= 2] = 0
    return label


def numbers(frame: np.ndarray) -> np.ndarray:
    found = masks.regions(frame)
    assert list(found) == list(REGIONS)
    assert (sum(mask.astype(int) for mask in found.values()) == 1).all()
    return np.argmax(list(found.values()), 0)


def overlaps(pairs) -> list[float]:
    """The intersection over the union of each region, over all pairs of labels."""
    both, either = np.zeros(4), np.zeros(4)
    for one, other in pairs:
        for i in range(4):
            both[i] += ((one == i) & (other == i)).sum()
            either[i] += ((one == i) | (other == i)).sum()
    return (both / either).tolist()


def test_at_full_size_every_pixel_is_of_what_was_filled_there(drawings):
    assert overlaps((numbers(frame), label) for _, frame, label in drawings) == [1.0] * 4


def test_at_full_size_they_are_the_simulators_geometry(drawings):
    assert min(overlaps((numbers(frame), fill(each)) for each, frame, _ in drawings)) > 0.98


@pytest.mark.parametrize("size", [64, 96, 128, 256, 680])
def test_a_mixed_pixel_is_of_the_larger_share(drawings, size):
    pairs = []
    for _, frame, label in drawings[:: 6 if size > 256 else 1]:
        shares = cv2.resize(np.stack([label == i for i in range(4)], -1).astype(np.float32), (size, size))
        found = numbers(cv2.resize(frame, (size, size)))
        own = np.take_along_axis(shares, found[..., None], -1)[..., 0]
        pairs.append((found, np.where(own > shares.max(-1) - 0.02, found, shares.argmax(-1))))
    assert min(overlaps(pairs)) > 0.99


def test_a_codec_blurs_colours_and_not_the_regions(drawings):
    pairs = []
    for _, frame, label in drawings:
        small = cv2.resize(frame, (128, 128))
        _, coded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        shares = cv2.resize(np.stack([label == i for i in range(4)], -1).astype(np.float32), (128, 128))
        pairs.append((numbers(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]), shares.argmax(-1)))
    background, block, goal, agent = overlaps(pairs)
    assert min(background, block, goal) > 0.93
    assert agent > 0.85


@pytest.mark.parametrize("name", REGIONS)
def test_a_config_names_a_region_and_it_takes_frames_and_observations(drawings, name):
    frame = cv2.resize(drawings[0][1], (96, 96))
    mask = factories.find(f"simedit.envs.push_t.masks:{name}")
    expected = masks.regions(frame)[name]
    for given in (frame, {"image": frame, "agent_pos": np.zeros(2)}, {"observation": {"pixels": frame}}):
        np.testing.assert_array_equal(mask(given), expected)
    assert expected.dtype == bool
    assert expected.any()


def test_what_is_no_flat_render_is_refused(drawings):
    each, frame, _ = drawings[3]
    photo, _ = photograph(each, 128, 0)
    edited = frame.copy()
    edited[masks.block(frame)] = (214, 110, 40)
    for wrong, share in ((photo, "[89].%"), (edited, "[23]%")):
        with pytest.raises(SimeditError, match=f"no flat render of gym-pusht: {share} of its pixels"):
            masks.regions(wrong)
    for wrong, found in ((frame[None], r"uint8 \[1, 512, 512, 3\]"), (frame / 255, "float64"), (7, "int")):
        with pytest.raises(SimeditError, match=f"one frame, uint8 .*, got {found}"):
            masks.regions(wrong)


def test_the_frame_is_the_square_of_the_simulator():
    assert simulator(96).action_space.high.tolist() == [SIDE, SIDE]
