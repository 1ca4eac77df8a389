from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simedit.lab.materials import MATERIALS
from simedit.lab.pairs import HEIGHT, TARGETS, WIDTH, PairSet, load_pairs, render_pairs

pytest.importorskip("mani_skill", reason="needs the extra: sim")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    render_pairs(folder, 5, seed=1, shard=2)
    return folder


@pytest.fixture(scope="module")
def pairs(folder: Path) -> PairSet:
    return load_pairs(folder)


def test_shapes(pairs: PairSet) -> None:
    assert (pairs.inputs.shape, pairs.inputs.dtype) == ((5, HEIGHT, WIDTH, 3), np.uint8)
    assert (pairs.targets.shape, pairs.targets.dtype) == ((5, TARGETS, HEIGHT, WIDTH, 3), np.uint8)
    assert pairs.materials.shape == (5, TARGETS)
    assert pairs.materials.max() < len(MATERIALS)
    assert (pairs.masks.shape, pairs.masks.dtype) == ((5, HEIGHT, WIDTH), np.bool_)


def test_only_the_cabinet_differs(pairs: PairSet) -> None:
    for before, after, mask in zip(pairs.inputs, pairs.targets, pairs.masks, strict=True):
        assert 0.02 < mask.mean() < 0.8
        for painting in after:
            assert (painting[~mask] == before[~mask]).all()
            assert (painting[mask] != before[mask]).any(-1).mean() > 0.5


def test_it_is_darker_inside_than_the_render_shows(pairs: PairSet) -> None:
    # The raw frame's darker browns are insides, its lighter ones boards that light falls on.
    raw = [i for i, frame in enumerate(pairs.inputs) if (frame == (210, 169, 128)).all(-1).any()]
    assert raw
    for i in raw:
        brightness = pairs.inputs[i].mean(-1)
        front = pairs.masks[i] & (brightness > 120)
        inside = pairs.masks[i] & (brightness < 100) & (brightness > 50)
        share = np.quantile(brightness[inside], 0.2) / np.median(brightness[front])
        for painting in pairs.targets[i].mean(-1):
            # Not all of it: a lamp may shine into a drawer.
            assert np.quantile(painting[inside], 0.2) / np.median(painting[front]) < 0.75 * share


def test_half_of_the_scenes_lie_elsewhere(pairs: PairSet) -> None:
    corners = pairs.inputs[:, -1, 0].tolist()
    assert 0 < sum(corner == [255, 255, 255] for corner in corners) < len(corners)


def test_scenes_and_materials_vary(pairs: PairSet) -> None:
    assert len({mask.tobytes() for mask in pairs.masks}) == 5
    assert all(len(set(chosen)) == TARGETS for chosen in pairs.materials.tolist())
    assert len(set(pairs.materials.ravel().tolist())) > TARGETS


def test_a_lost_shard_is_rendered_again_as_it_was(folder: Path, pairs: PairSet) -> None:
    lost, kept = folder / "pairs_001.npz", folder / "pairs_000.npz"
    lost.unlink()
    before = kept.stat().st_mtime_ns
    render_pairs(folder, 5, seed=1, shard=2)
    assert kept.stat().st_mtime_ns == before
    again = load_pairs(folder)
    for name in ("inputs", "targets", "materials", "masks"):
        assert np.array_equal(getattr(again, name), getattr(pairs, name))
