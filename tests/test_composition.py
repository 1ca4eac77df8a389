from __future__ import annotations

import cv2
import numpy as np
import pytest

from simedit.composition import brought_back, compose, restore_detail, shrunk
from simedit.errors import SimeditError


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frames, edits = rng.integers(0, 256, (2, 3, 24, 31, 3), dtype=np.uint8)
    return frames, edits


def test_no_pixel_outside_the_mask_changes(pair):
    frames, edits = pair
    masks = np.random.default_rng(1).random((3, 24, 31)) < 0.6
    out = compose(frames, edits, masks)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out[~masks], frames[~masks])
    assert (out[masks] != frames[masks]).any()


def test_the_rim_has_the_colour_inside_and_none_of_what_is_beside_it():
    """A tan board on white, repainted blue: the edit's border pixels have white in them."""
    masks = np.zeros((1, 40, 40), bool)
    masks[:, 8:32, 8:40] = True  # it runs off the picture to the right
    frames = np.where(masks[..., None], np.uint8([210, 170, 130]), np.uint8(255))
    board = np.where(masks[..., None], np.float32([90, 110, 140]), np.float32(255))[0]
    edits = np.rint(cv2.GaussianBlur(board, (0, 0), 0.8)).astype(np.uint8)[None]
    assert abs(edits[0, 8, 20].astype(int) - [90, 110, 140]).max() > 30
    out = compose(frames, edits, masks)
    assert abs(out[masks].astype(int) - [90, 110, 140]).max() <= 12
    np.testing.assert_array_equal(out[0, 12:28, 36:], edits[0, 12:28, 36:])


def test_further_inside_and_in_thin_masks_the_edit_stays_as_it_is(pair):
    frames, edits = pair
    masks = np.zeros((3, 24, 31), bool)
    masks[0, 4:20, 4:20] = True
    masks[1, 10] = True
    masks[2, 5:7, 5:7] = True
    out = compose(frames, edits, masks)
    np.testing.assert_array_equal(out[0, 5:19, 5:19], edits[0, 5:19, 5:19])
    assert (out[0, 4, 4:20] != edits[0, 4, 4:20]).any()
    np.testing.assert_array_equal(out[1:][masks[1:]], edits[1:][masks[1:]])


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
        (lambda f, e, m: (f.astype(np.float32), e, m), "frames must be uint8"),
        (lambda f, e, m: (f[0], e, m), "frames must be uint8"),
        (lambda f, e, m: (f, e[:, 1:], m), "edits must be uint8"),
        (lambda f, e, m: (f, e, m[:, :, 1:]), r"masks must be bool \[3, 24, 31\]"),
        (lambda f, e, m: (f, e, m.astype(np.uint8)), "masks must be bool"),
    ],
)
def test_bad_input_is_named(pair, change, message):
    frames, edits, masks = change(*pair, np.ones((3, 24, 31), bool))
    with pytest.raises(SimeditError, match=message):
        compose(frames, edits, masks)


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


def test_an_edit_at_half_the_size_comes_back_with_the_frames_own_lines():
    """A tan board with a thin dark handle on white, edited to blue at half the size, which loses it."""
    masks = np.zeros((1, 64, 80), bool)
    masks[:, 10:50, 10:70] = True
    frames = np.where(masks[..., None], np.uint8([210, 170, 130]), np.uint8(255))
    frames[0, 30, 30:50] = 20
    small, kept = shrunk(frames, 32, 40), shrunk(masks, 32, 40)
    assert (small.shape, kept.shape, kept.dtype) == ((1, 32, 40, 3), (1, 32, 40), np.bool_)
    edits = small.copy()
    edits[kept] = [60, 90, 200]
    out = brought_back(frames, small, edits, kept)
    assert out.shape == frames.shape
    board = masks.copy()
    board[0, 28:33, 28:52] = False
    assert abs(out[board].astype(int) - [60, 90, 200]).max() <= 8  # the border pixels too: no white leaks in
    assert out[0, 30, 32:48].max() < 70
    whole = brought_back(frames, small, small, None)
    assert np.abs(whole.astype(int) - frames)[0, 14:28, 14:66].max() <= 2


def test_the_least_mask_is_edited_too():
    masks = np.zeros((1, 64, 64), bool)
    masks[0, 20, 20] = True
    frames = np.full((1, 64, 64, 3), 100, np.uint8)
    small, kept = shrunk(frames, 16, 16), shrunk(masks, 16, 16)
    assert kept.sum() == 1  # a mask that is there stays there
    assert not shrunk(np.zeros_like(masks), 16, 16).any()
    out = brought_back(frames, small, np.full_like(small, 40), kept)
    assert abs(int(out[0, 20, 20, 0]) - 40) <= 1
    far = masks.copy()
    far[0, 60, 60] = True
    out = brought_back(frames, small, np.full_like(small, 40), kept)
    assert abs(int(out[far][1, 0]) - 40) <= 1
