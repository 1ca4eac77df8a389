"""Materials with names: photographs of each differ, and each can be told from the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simedit.errors import SimeditError
from simedit.lab.materials import MATERIALS, STYLES, draw, photograph, vary
from simedit.lab.photographs import save_style, style_material, style_photographs
from simedit.scores.texture import Texture


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", MATERIALS)
def test_photographs_are_pictures_of_something(name: str) -> None:
    picture = photograph(draw(name, generator(1)), generator(2), 64)
    assert (picture.dtype, picture.shape) == (np.uint8, (64, 64, 3))
    assert picture.std((0, 1)).max() > 2


def test_the_seed_decides() -> None:
    material = draw("stone", generator(7))
    photographs = [photograph(material, generator(seed), 64) for seed in (8, 8, 9)]
    assert (photographs[0] == photographs[1]).all()
    assert (photographs[0] != photographs[2]).mean() > 0.5
    assert vary(material, generator(1)).scale == material.scale
    assert vary(material, generator(1)).seed != material.seed


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SimeditError, match=r"unknown material 'gild'.*'gold'"):
        draw("gild", generator(0))
    with pytest.raises(SimeditError, match=r"unknown style 'coper'.*copper"):
        style_photographs("coper")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for style in STYLES:
        save_style(style, folder / style)
    return folder


def test_saves_five_photographs_a_style(photographs: Path) -> None:
    files = sorted(f.relative_to(photographs).as_posix() for f in photographs.glob("*/*.png"))
    assert files == [f"{style}/{i}.png" for style in sorted(STYLES) for i in range(5)]
    first = np.asarray(Image.open(photographs / "gold" / "0.png"))
    assert first.shape == (256, 256, 3)
    assert (first == style_photographs("gold")[0]).all()


def test_photographs_tell_the_styles_apart(photographs: Path) -> None:
    """The style whose photographs are nearest on average in texture and colour is a new photograph's."""
    texture = Texture()

    def features(picture: np.ndarray) -> torch.Tensor:
        return texture(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255).mean((0, 1, 2))

    def mean(style: str) -> torch.Tensor:
        pictures = [np.array(Image.open(f)) for f in sorted((photographs / style).iterdir())]
        return torch.stack([features(p) for p in pictures]).mean(0)

    means = torch.stack([mean(style) for style in STYLES])
    right = []
    for truth, style in enumerate(STYLES):
        for seed in range(5):
            random = generator(truth, seed)
            new = photograph(vary(style_material(style), random), random, 128)
            right.append(int((features(new) - means).norm(dim=1).argmin()) == truth)
    assert np.mean(right) >= 0.9
