"""Windows hold their masks, begin on the grid, and come in few sizes."""

from __future__ import annotations

import numpy as np
import pytest

from simedit.window import Window, around, extents

STEP, MULTIPLE = 8, 32


def window_of(mask: np.ndarray) -> Window:
    (extent,) = extents(mask[None])
    assert extent is not None
    return around(extent, mask.shape, step=STEP, multiple=MULTIPLE)


@pytest.mark.parametrize("shape", [(128, 160), (100, 70), (32, 32), (20, 200)])
def test_windows_hold_their_masks(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        mask = np.zeros(shape, bool)
        ends = [sorted(random.choice(side + 1, 2, replace=False)) for side in shape]
        mask[slice(*ends[0]), slice(*ends[1])] = True
        window = window_of(mask)
        assert mask[window].sum() == mask.sum()
        for span, side, (first, end) in zip(window, shape, ends, strict=True):
            assert 0 <= span.start < span.stop <= side
            if (span.start, span.stop) == (0, side):
                continue
            assert span.start % STEP == 0
            assert (span.stop - span.start) % MULTIPLE == 0
            assert span.stop - span.start < end - first + STEP + MULTIPLE


def test_a_small_mask_has_a_small_window() -> None:
    mask = np.zeros((128, 160), bool)
    mask[15:111, 54:61] = True
    assert window_of(mask) == (slice(0, 128), slice(48, 80))
    mask[:16] = mask[104:] = False
    assert window_of(mask) == (slice(16, 112), slice(48, 80))


def test_a_window_at_the_far_border_ends_there() -> None:
    mask = np.zeros((128, 160), bool)
    mask[127, 159] = True
    assert window_of(mask) == (slice(96, 128), slice(128, 160))


def test_an_empty_mask_has_no_extent() -> None:
    masks = np.zeros((2, 8, 9), bool)
    masks[1, 2:5, 7] = True
    assert extents(masks) == [None, (2, 5, 7, 8)]
