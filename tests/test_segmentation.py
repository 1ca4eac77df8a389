"""Masks from segmentations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces

from simedit.errors import SimeditError
from simedit.segmentation import fixed_ids, mask_of, named_ids

H, W = 4, 6
IMAGE = spaces.Box(0, 255, (2, H, W, 3), np.uint8)
LABELS = np.random.default_rng(0).integers(0, 5, (2, H, W), dtype=np.int16)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("shape", [(), (1,), (4,)])
@pytest.mark.parametrize("ids", [(), (3,), (1, 3), [(1,), (2, 3)]])
def test_ids_are_looked_for_in_arrays_and_tensors(
    make: Callable[[np.ndarray], object], shape: tuple[int, ...], ids: object
) -> None:
    labels = np.zeros((2, H, W, *shape), np.int16)
    labels[(..., 0) if shape else ...] = LABELS
    space = spaces.Dict({"a/rgb": IMAGE, "a/segmentation": spaces.Box(0, 9, labels.shape, np.int16)})
    mask = mask_of(space, "a/rgb", "segmentation", lambda: ids)({"a/segmentation": make(labels)})
    each = ids if isinstance(ids, list) else [ids, ids]
    np.testing.assert_array_equal(mask, [np.isin(*one) for one in zip(LABELS, each, strict=True)])


def test_the_original_simplers_ids_lie_in_its_second_channel() -> None:
    space = spaces.Dict({"rgb": IMAGE, "Segmentation": spaces.Box(0, 9, (2, H, W, 4), np.uint32)})
    labels = np.zeros((2, H, W, 4), np.uint32)
    labels[..., 1] = LABELS
    mask = mask_of(space, "rgb", "segmentation", lambda: (3,))({"Segmentation": labels})
    np.testing.assert_array_equal(mask, LABELS == 3)


def test_a_mask_in_the_observation_needs_no_ids() -> None:
    space = spaces.Dict(rgb=IMAGE, shown=spaces.Box(0, 1, (2, H, W), np.bool_))
    ids = fixed_ids([])
    np.testing.assert_array_equal(mask_of(space, "rgb", "shown", ids)({"shown": LABELS > 2}), LABELS > 2)
    with pytest.raises(SimeditError, match="no segmentation beside the image 'rgb'"):
        mask_of(space, "rgb", "segmentation", ids)


def test_a_name_has_all_its_ids() -> None:
    names = {"cube": [7], "link": [3, 9]}
    assert named_ids(["link", 5, "cube"], lambda: names)() == (3, 9, 5, 7)
    with pytest.raises(SimeditError, match="unknown name in mask_ids 'cub': did you mean 'cube'"):
        named_ids(["cub"], lambda: names)
    with pytest.raises(SimeditError, match=r"each of mask_ids must be .* got 1\.5"):
        named_ids(["cube", 1.5], lambda: names)  # type: ignore[list-item]


def test_a_name_without_ids_that_hold_for_all_is_refused() -> None:
    with pytest.raises(SimeditError, match="'door' in mask_ids has not one id for all environments"):
        named_ids(["wall", "door"], lambda: {"wall": [2], "door": []})
