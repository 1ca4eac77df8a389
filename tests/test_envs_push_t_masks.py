"""Tests of simedit.envs.push_t.masks, against what gym-pusht's simulator fills and against its geometry."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from simedit import factories
from simedit.envs.push_t import masks
from simedit.envs.push_t.proxy_real import photograph
from simedit.envs.push_t.scene import REGIONS
from simedit.errors import SimeditError

pytest.importorskip("gym_pusht", reason="needs the extra: push-t")
# Not `benchmarks.push_t`: pyarrow 17 installs a package of the name.
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from push_t import Drawing, fill, numbers, overlaps, scaled, shares
from push_t import drawings as every_drawing


@pytest.fixture(scope="module")
def drawings() -> list[Drawing]:
    return every_drawing()


def test_at_full_size_every_pixel_is_of_what_was_filled_there(drawings):
    assert overlaps((numbers(frame), label) for _, frame, label in drawings) == [1.0] * 4


def test_at_full_size_they_are_the_simulators_geometry(drawings):
    assert min(overlaps((numbers(frame), fill(each)) for each, frame, _ in drawings)) > 0.98


@pytest.mark.parametrize("size", [64, 96, 128, 256, 680])
def test_a_mixed_pixel_is_of_the_larger_share(drawings, size):
    pairs = []
    for _, frame, label in drawings[:: 6 if size > 256 else 1]:
        found, parts = numbers(scaled(frame, size)), shares(label, size)
        own = np.take_along_axis(parts, found[..., None], -1)[..., 0]
        pairs.append((found, np.where(own > parts.max(-1) - 0.02, found, parts.argmax(-1))))
    assert min(overlaps(pairs)) > 0.99


def test_a_codec_blurs_colours_and_not_the_regions(drawings):
    pairs = []
    for _, frame, label in drawings:
        small = scaled(frame, 128)[..., ::-1]
        _, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
        found = numbers(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
        pairs.append((found, shares(label, 128).argmax(-1)))
    background, block, goal, agent = overlaps(pairs)
    assert min(background, block, goal) > 0.93
    assert agent > 0.85


@pytest.mark.parametrize("name", REGIONS)
def test_a_config_names_a_region_and_it_takes_frames_and_observations(drawings, name):
    frame = scaled(drawings[0][1], 96)
    mask = factories.find(f"simedit.envs.push_t.masks:{name}")
    expected = masks.regions(frame)[name]
    for given in (frame, {"image": frame, "agent_pos": np.zeros(2)}, {"observation": {"pixels": frame}}):
        np.testing.assert_array_equal(mask(given), expected)
    assert expected.dtype == bool
    assert expected.any()


def test_every_pixel_is_of_one_region(drawings):
    found = masks.regions(scaled(drawings[0][1], 96))
    assert list(found) == list(REGIONS)
    assert (sum(mask.astype(int) for mask in found.values()) == 1).all()


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
