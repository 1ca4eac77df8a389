from __future__ import annotations

import numpy as np
import pytest

from simedit.composition import compose, restore_detail
from simedit.errors import SimeditError


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frames, edits = rng.integers(0, 256, (2, 3, 24, 31, 3), dtype=np.uint8)
    return frames, edits


@pytest.mark.parametrize("feather", [0, 1, 3, 50])
def test_no_pixel_outside_the_mask_changes(pair, feather):
    frames, edits = pair
    masks = np.random.default_rng(1).random((3, 24, 31)) < 0.6
    out = compose(frames, edits, masks, feather=feather)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[~masks], frames[~masks])
    assert (out[masks] != frames[masks]).any()


def test_ramp_rises_linearly_from_the_border_inwards():
    frames = np.zeros((1, 1, 9, 3), np.uint8)
    edits = np.full_like(frames, 200)
    masks = np.arange(9)[None, None] >= 2
    out = compose(frames, edits, masks, feather=3)
    np.testing.assert_array_equal(out[0, 0, :, 0], [0, 0, 50, 100, 150, 200, 200, 200, 200])
    hard = compose(frames, edits, masks, feather=0)
    np.testing.assert_array_equal(hard[0, 0, :, 0], [0, 0, 200, 200, 200, 200, 200, 200, 200])


@pytest.mark.parametrize(("height", "feather"), [(512, 3), (256, 2), (128, 1), (64, 0)])
def test_the_ramp_goes_with_the_frames_size(height, feather):
    frames = np.zeros((1, height, 9, 3), np.uint8)
    edits = np.full_like(frames, 200)
    masks = np.broadcast_to(np.arange(9) >= 2, (1, height, 9))
    expected = compose(frames, edits, masks, feather=feather)
    np.testing.assert_array_equal(compose(frames, edits, masks), expected)


def test_empty_mask_gives_the_frame_and_full_mask_the_edit(pair):
    frames, edits = pair
    masks = np.zeros((3, 24, 31), bool)
    masks[1] = True
    out = compose(frames, edits, masks)
    np.testing.assert_array_equal(out[[0, 2]], frames[[0, 2]])
    np.testing.assert_array_equal(out[1], edits[1])


def test_inputs_are_left_alone_and_an_empty_batch_is_fine(pair):
    frames, edits = pair
    before = frames.copy(), edits.copy()
    compose(frames, edits, np.ones((3, 24, 31), bool))[:] = 0
    np.testing.assert_array_equal(frames, before[0])
    np.testing.assert_array_equal(edits, before[1])
    assert compose(frames[:0], edits[:0], np.ones((0, 24, 31), bool)).shape == (0, 24, 31, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, e, m: (f.astype(np.float32), e, m, 3), "frames must be uint8"),
        (lambda f, e, m: (f[0], e, m, 3), "frames must be uint8"),
        (lambda f, e, m: (f, e[:, 1:], m, 3), "edits must be uint8"),
        (lambda f, e, m: (f, e, m[:, :, 1:], 3), r"masks must be bool \[3, 24, 31\]"),
        (lambda f, e, m: (f, e, m.astype(np.uint8), 3), "masks must be bool"),
        (lambda f, e, m: (f, e, m, -1), "feather"),
    ],
)
def test_bad_input_is_named(pair, change, message):
    frames, edits, masks, feather = change(*pair, np.ones((3, 24, 31), bool))
    with pytest.raises(SimeditError, match=message):
        compose(frames, edits, masks, feather=feather)


def test_what_the_autoencoder_loses_comes_back_in_the_edits_own_colour():
    frames = np.full((1, 4, 6, 3), (200, 150, 100), np.uint8)
    decoded = frames / 255
    frames[0, 1:3, 2] = 20  # a dark handle that decoding lost
    frames[0, 0, 0] = 255
    edits = np.full((1, 4, 6, 3), (0.8, 0.6, 0.2))
    restored = restore_detail(frames, edits, decoded)
    kept = np.ones((1, 4, 6), bool)
    kept[0, 1:3, 2] = kept[0, 0, 0] = False
    np.testing.assert_allclose(restored[kept], edits[kept], atol=1e-6)
    dark = restored[0, 1, 2]
    assert dark.max() < 0.2
    np.testing.assert_allclose(dark / dark.max(), np.array([0.8, 0.6, 0.2]) / 0.8, atol=1e-6)
    np.testing.assert_array_less(edits[0, 0, 0], restored[0, 0, 0])
    assert restored.max() <= 1


def test_brightness_at_most_doubles():
    frames, decoded = np.full((1, 1, 1, 3), 255, np.uint8), np.zeros((1, 1, 1, 3))
    np.testing.assert_allclose(restore_detail(frames, np.full((1, 1, 1, 3), 0.2), decoded), 0.4)
