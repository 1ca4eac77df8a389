"""Tensors are treated as `simedit.composition` treats arrays, within rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simedit import composition, on_device


def _given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    frames, edits = random.integers(0, 256, (2, 3, 40, 50, 3)).astype(np.uint8)
    masks = np.zeros((3, 40, 50), bool)
    masks[0, 10:30, 5:45] = masks[1, 20:, 30:] = masks[1, 2, 2] = True
    return frames, edits, masks


def _far(found: torch.Tensor, expected: np.ndarray) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.numpy().astype(int) - expected.astype(int)).max())


def test_extents_and_composition() -> None:
    frames, edits, masks = _given()
    tensors = [torch.from_numpy(each) for each in (frames, edits, masks)]
    assert on_device.extents(tensors[2]) == composition.extents(masks)
    assert _far(on_device.compose(*tensors), composition.compose(frames, edits, masks)) <= 1


@pytest.mark.parametrize("size", [(20, 25), (32, 40), (64, 80)])
def test_other_sizes(size: tuple[int, int]) -> None:
    frames, _, masks = _given()
    some, kept = torch.from_numpy(frames), torch.from_numpy(masks)
    small, shown = composition.shrunk(frames, *size), composition.shrunk(masks, *size)
    assert _far(on_device.shrunk(some, *size), small) <= 1
    assert (on_device.shrunk(kept, *size).numpy() != shown).mean() < 0.01
    arrays = small, 255 - small, shown
    found = on_device.brought_back(some, *map(torch.from_numpy, arrays))
    assert _far(found, composition.brought_back(frames, *arrays)) <= 2
