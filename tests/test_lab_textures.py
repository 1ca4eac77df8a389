"""Materials without a name: they differ, fill the picture, and folders of pictures are read as they come."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from simedit.lab import textures
from simedit.lab.textures import PATTERNS, cut, pictures_in, relit, texture


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_blends_and_covers(pattern) -> None:
    for seed in range(3):
        for layer in pattern(generator(seed), 1.0):
            assert layer.shape == (512, 512)
            assert np.isfinite(layer).all()
            assert layer.min() >= -0.01
            assert layer.max() <= 1.01


def test_textures_follow_from_the_seed_and_differ() -> None:
    pictures = [texture(generator(seed), 64, 80) for seed in (1, 1, 2, 3, 4)]
    assert pictures[0].shape == (64, 80, 3)
    assert (pictures[0] == pictures[1]).all()
    means = np.stack([picture.mean((0, 1)) for picture in pictures[1:]])
    assert np.abs(means[:, None] - means).max(-1)[np.triu_indices(4, 1)].min() > 5


def test_a_cut_fills_the_picture_whatever_its_own_size() -> None:
    for shape in ((40, 300), (300, 40), (64, 80), (700, 900)):
        picture = generator(0).integers(60, 200, (*shape, 3), dtype=np.uint8)
        part = cut(picture, generator(1), 64, 80)
        assert part.shape == (64, 80, 3)
        assert part.std() > 5


def test_another_light_keeps_the_pattern() -> None:
    picture = texture(generator(5), 64, 80)
    other = relit(picture, generator(6))
    assert (other != picture).mean() > 0.5
    flat = cv2.GaussianBlur(picture, (0, 0), 6).astype(int), cv2.GaussianBlur(other, (0, 0), 6).astype(int)
    details = [(p.astype(int) - f).mean(-1).ravel() for p, f in zip((picture, other), flat, strict=True)]
    assert np.corrcoef(*details)[0, 1] > 0.8


def test_of_a_folder_what_shows_a_material_is_taken(tmp_path: Path) -> None:
    def save(name: str, image: np.ndarray, mode: str | None = None) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image, mode).save(tmp_path / name)

    material = texture(generator(7), 128, 128)
    save("walls/bricks.png", material)
    save("walls/rock.tga", material)
    save("small.png", material[:64, :64])
    save("flat.png", np.full((128, 128, 3), 90, np.uint8))
    save("black.png", (material * 0.02).astype(np.uint8))
    save("sign.png", np.dstack([material, np.tile(np.uint8([0, 255]), (128, 64))]))
    save("normals.png", np.clip(material * 0.1 + [115, 115, 225], 0, 255).astype(np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xffno")
    (tmp_path / "notes.txt").write_text("none")
    assert pictures_in(tmp_path) == [tmp_path / "walls" / "bricks.png", tmp_path / "walls" / "rock.tga"]
    assert textures._LEAST > 64
