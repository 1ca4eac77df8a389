from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simedit.errors import SimeditError
from simedit.lab.materials import MATERIALS
from simedit.lab.pairs import (
    HEIGHT,
    WIDTH,
    Pictures,
    Scenes,
    load_pictures,
    load_scenes,
    make_pictures,
    pair,
    render_scenes,
    some_picture,
)
from simedit.lab.textures import texture


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    images = [texture(np.random.default_rng(i), HEIGHT, WIDTH) for i in range(3)]
    return Pictures(np.stack(images), np.array([4, -1, -1]))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """A board with a darker half and a handle, on white."""
    frame = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[50:200, 60:260] = True
    frame[mask] = (178, 138, 102)
    frame[150:200, 60:260] = (109, 83, 61)
    frame[100:110, 140:180] = 30
    return Scenes(frame[None], mask[None], mask[None])


def test_a_pair_is_the_scene_with_the_picture_on_its_cabinet(scenes: Scenes, pictures: Pictures) -> None:
    for half in (False, True):
        side = (HEIGHT // 2, WIDTH // 2) if half else (HEIGHT, WIDTH)
        for seed in range(4):
            frame, picture, painting, mask, name = pair(
                scenes, pictures, np.random.default_rng(seed), half=half
            )
            assert frame.shape == picture.shape == painting.shape == (*side, 3)
            assert mask.shape == side
            assert name in (4, -1)
            assert (painting[~mask] == frame[~mask]).all()
            step = 2 if half else 1
            front, inside = np.s_[60 // step : 90 // step, 70 // step :], np.s_[155 // step : 195 // step, :]
            lit, dark, handle = (
                painting[at][mask[at]].mean() / max(1, picture[at][mask[at]].mean())
                for at in (front, inside, np.s_[102 // step : 108 // step, 145 // step : 175 // step])
            )
            assert 0.85 < lit < 1.15
            assert handle < 0.5 * dark < 0.5 * lit


def test_half_of_the_scenes_lie_elsewhere(scenes: Scenes, pictures: Pictures) -> None:
    found = [pair(scenes, pictures, np.random.default_rng(seed), half=True)[0] for seed in range(20)]
    assert 4 < sum((frame[0, 0] == 255).all() for frame in found) < 16


def test_the_autoencoder_sees_pictures_and_frames(scenes: Scenes, pictures: Pictures) -> None:
    found = [some_picture(scenes, pictures, np.random.default_rng(seed)) for seed in range(30)]
    assert {image.shape[0] for image, _ in found} == {HEIGHT, HEIGHT // 2}
    alone = sum(mask is None for _, mask in found)
    assert 4 < alone < 26


def test_pictures_are_the_same_again_and_some_have_names(tmp_path: Path) -> None:
    make_pictures(tmp_path, 6, 0, shard=3)
    first = load_pictures(tmp_path)
    assert first.images.shape == (6, HEIGHT, WIDTH, 3)
    assert set(first.names) <= {-1, *range(len(MATERIALS))}
    (tmp_path / "pictures_001.npz").unlink()
    make_pictures(tmp_path, 6, 0, shard=3)
    assert (load_pictures(tmp_path).images == first.images).all()


def test_a_folder_of_pictures_is_cut_from(tmp_path: Path) -> None:
    purple = (
        np.random.default_rng(0)
        .integers([150, 0, 180], [210, 60, 240], (10, 10, 3))
        .repeat(20, 0)
        .repeat(20, 1)
    )
    (tmp_path / "found").mkdir()
    Image.fromarray(purple.astype(np.uint8)).save(tmp_path / "found" / "a.png")
    make_pictures(tmp_path, 12, 1, tmp_path / "found", shard=12)
    means = load_pictures(tmp_path).images.mean((1, 2))
    assert 1 < ((means[:, 0] > 1.5 * means[:, 1]) & (means[:, 2] > 1.5 * means[:, 1])).sum() < 10


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="no pictures of materials"):
        make_pictures(tmp_path / "pairs", 2, 0, tmp_path / "none")


@pytest.mark.slow
def test_scenes_of_the_twin(tmp_path: Path) -> None:
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    render_scenes(tmp_path, 5, seed=1, shard=3)
    scenes = load_scenes(tmp_path)
    assert scenes.frames.shape == (5, HEIGHT, WIDTH, 3)
    assert len({mask.tobytes() for mask in scenes.masks}) == 5
    assert all(0.02 < mask.mean() < 0.8 for mask in scenes.masks)
    assert (scenes.things | ~scenes.masks).all()
    assert (scenes.things & ~scenes.masks).any()
