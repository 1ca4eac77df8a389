"""simedit.training.photographs: what speaks against a set of photographs is named, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from simedit.training.photographs import doubts

SHARED = Path(__file__).parents[2] / "shared" / "photos"

WOOD, BRICK, SLATE, LAWN, CHALK = (150, 95, 50), (165, 75, 55), (70, 72, 78), (70, 110, 50), (235, 232, 225)


def photograph(colour: tuple[int, ...], seed: int, light: float = 1.0, size: int = 256) -> np.ndarray:
    """A grained material in a light of that strength, with a vignette and a camera's noise."""
    random = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(random.normal(0, 1, (size, size)), (0, 0), 3, 8)
    falloff = 1 - 0.3 * random.random() * np.linspace(-1, 1, size)[:, None] ** 2
    linear = (np.array(colour) / 255) ** 2.2 * (1 + 2 * grain * falloff)[..., None] * light
    shown = 255 * linear.clip(0, 1) ** (1 / 2.2) + random.normal(0, 2, (size, size, 3))
    return shown.clip(0, 255).astype(np.uint8)


def several(*colours: tuple[int, ...]) -> list[np.ndarray]:
    return [photograph(colour, seed) for seed, colour in enumerate(colours)]


def told(images: list[np.ndarray], height: int = 128) -> list[str]:
    masks = [np.ones(image.shape[:2], bool) for image in images]
    return doubts([f"{i}.jpg" for i in range(len(images))], images, masks, height)


@pytest.mark.parametrize("colour", [WOOD, BRICK, SLATE, LAWN, CHALK])
def test_photographs_of_one_material_in_light_of_many_strengths_raise_no_doubt(colour: tuple[int, ...]):
    assert not told([photograph(colour, i, light) for i, light in enumerate((0.5, 0.7, 0.85, 1.0, 1.1))])


@pytest.mark.parametrize(("rest", "odd"), [(WOOD, SLATE), (BRICK, WOOD), (LAWN, WOOD), (CHALK, SLATE)])
@pytest.mark.parametrize("at", [0, 4])
def test_the_one_of_another_material_is_named(rest: tuple[int, ...], odd: tuple[int, ...], at: int):
    colours = [rest] * 5
    colours[at] = odd
    (line,) = told(several(*colours))
    assert line.startswith(
        f"too different from the rest in colour: {at}.jpg: another material, or another li"
    )


def test_a_coloured_light_is_named():
    images = several(*[CHALK] * 5)
    images[2] = (images[2] * [1.0, 0.85, 0.6]).astype(np.uint8)
    (line,) = told(images)
    assert "2.jpg: another material, or another light?" in line


def test_pictures_of_different_things_are_told_in_one_line():
    (line,) = told(several(WOOD, SLATE, LAWN, CHALK, (40, 60, 160)))
    assert line.startswith("too different from one another in colour: 0.jpg, ")


def test_small_ones_are_named():
    images = several(*[WOOD] * 5)
    images[1] = images[1][:100, :200]
    (line,) = told(images)
    assert line.startswith("too small, its grain will be blurred: 1.jpg (200 x 100): ")
    assert "at least 128 pixels a side" in line
    assert not told(images, height=100)


def test_no_size_needs_more_than_256_pixels():
    assert not told(several(*[WOOD] * 3), height=1024)
    (line,) = told([image[1:] for image in several(*[WOOD] * 3)], height=1024)
    assert "0.jpg (256 x 255), 1.jpg (256 x 255), 2.jpg (256 x 255)" in line


def test_flat_ones_are_named():
    images = several(*[WOOD] * 5)
    images[3] = np.full_like(images[3], images[3].mean((0, 1)).astype(np.uint8))
    noisy = images[3] + np.random.default_rng(0).normal(0, 4, images[3].shape)
    for flat in (images[3], noisy.astype(np.uint8)):
        images[3] = flat
        (line,) = told(images)
        assert line.startswith("nearly flat, almost without contrast: 3.jpg: ")


def test_identical_ones_count_as_one():
    one, two = several(WOOD, WOOD)
    assert told([one, two, one, photograph(WOOD, 9)]) == [
        "identical photographs, which count as one: 0.jpg, 2.jpg: replace all but one"
    ]
    few, same = told([one, two, one])
    assert few.startswith("fewer than 3 different photographs (2): ")
    assert same.startswith("identical ")
    # Twice the same odd one is no majority.
    odd = photograph(SLATE, 8)
    *_, line = told([odd, *several(WOOD, WOOD, WOOD), odd])
    assert line.startswith("too different from the rest in colour: 0.jpg: ")


def test_one_or_two_are_few():
    for n in (1, 2):
        (line,) = told(several(*[WOOD] * n))
        assert line.startswith(f"fewer than 3 different photographs ({n}): ")


def test_only_what_shows_the_style_counts():
    """Things of one material before walls of many colours."""
    images = several(*[WOOD] * 5)
    masks = [np.zeros(image.shape[:2], bool) for image in images]
    walls = several(SLATE, LAWN, CHALK, BRICK, (40, 60, 160))
    for image, mask, wall in zip(images, masks, walls, strict=True):
        mask[60:180, 60:180] = True
        image[~mask] = wall[~mask]
    names = [f"{i}.jpg" for i in range(5)]
    assert not doubts(names, images, masks, 128)
    assert doubts(names, images, [np.ones_like(mask) for mask in masks], 128)


@pytest.fixture
def real() -> dict[str, list[np.ndarray]]:
    if not SHARED.is_dir():
        pytest.skip("no photographs beside the checkout")
    return {
        folder.name: [np.array(Image.open(file).convert("RGB")) for file in sorted(folder.glob("*.jpg"))]
        for folder in sorted(SHARED.iterdir())
    }


def test_photographs_of_real_materials(real: dict[str, list[np.ndarray]]):
    for name, images in real.items():
        assert not told(images, height=256), name


def test_a_photograph_of_another_real_material(real: dict[str, list[np.ndarray]]):
    for name, images in real.items():
        for other, (odd, *_) in real.items():
            if other != name:
                (line,) = told([*images[:4], odd], height=256)
                assert line.startswith("too different from the rest in colour: 4.jpg: "), (name, other)
