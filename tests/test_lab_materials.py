"""Materials: painted frames keep what is not the cabinet, and styles can be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from box_cabinet import HANDLE, INSIDE, cabinet
from PIL import Image

from simedit.envs.surface import CABINET, Surface
from simedit.errors import SimeditError
from simedit.lab.materials import MATERIALS, STYLES, draw, draw_light, paint, photograph, vary
from simedit.lab.photographs import save_style, style_material, style_photographs
from simedit.scores.texture import Texture


@pytest.fixture(scope="module")
def surface() -> Surface:
    return cabinet(30)


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", MATERIALS)
def test_paints_the_cabinet_and_nothing_else(surface: Surface, name: str) -> None:
    painted = paint(surface, draw(name, generator(1)), draw_light(generator(2)))
    shown = surface.kind == CABINET
    assert painted.dtype == np.uint8
    assert painted.shape == surface.rgb.shape
    assert (painted[~shown] == surface.rgb[~shown]).all()
    assert (painted != surface.rgb).any(-1)[shown].mean() > 0.9


@pytest.mark.parametrize("name", MATERIALS)
def test_handles_and_insides_still_show(surface: Surface, name: str) -> None:
    material, light = draw(name, generator(3)), draw_light(generator(4))
    painted = paint(surface, material, light).mean(-1)
    assert abs(painted[HANDLE].mean() - np.median(painted[66:78, 40:120])) > 20
    plain = surface.rgb.copy()
    plain[INSIDE] = (178, 138, 102)
    filled = paint(replace(surface, rgb=plain), material, light).mean(-1)
    assert painted[INSIDE].mean() < 0.75 * filled[INSIDE].mean()


def test_the_seed_decides(surface: Surface) -> None:
    light = draw_light(generator(0))
    pictures = [paint(surface, draw("wood", generator(seed)), light) for seed in (5, 5, 6)]
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any(-1)[surface.kind == CABINET].mean() > 0.5
    material = draw("stone", generator(7))
    photographs = [photograph(material, generator(seed), 64) for seed in (8, 8, 9)]
    assert (photographs[0] == photographs[1]).all()
    assert (photographs[0] != photographs[2]).mean() > 0.5
    assert vary(material, generator(1)).scale == material.scale
    assert vary(material, generator(1)).seed != material.seed


def test_texture_moves_with_its_part(surface: Surface) -> None:
    material, light = draw("brick", generator(1)), draw_light(generator(2))
    moved = {k: np.roll(getattr(surface, k), 3, 1) for k in ("rgb", "kind", "part", "local", "normal")}
    before, after = (paint(s, material, light).astype(int) for s in (surface, replace(surface, **moved)))
    inner = (slice(66, 78), slice(40, 120))
    apart = np.abs(before[inner] - np.roll(after, -3, 1)[inner]).mean()
    assert apart < 0.1 * np.abs(before[inner] - after[inner]).mean()


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


def test_photographs_tell_the_styles_of_cabinets_apart(surface: Surface, photographs: Path) -> None:
    """The style whose photographs are nearest on average in texture and colour is the cabinet's."""
    texture = Texture()

    def features(picture: np.ndarray) -> torch.Tensor:
        return texture(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255).mean((0, 1, 2))

    def mean(style: str) -> torch.Tensor:
        pictures = [np.array(Image.open(f)) for f in sorted((photographs / style).iterdir())]
        return torch.stack([features(p) for p in pictures]).mean(0)

    means = torch.stack([mean(style) for style in STYLES])
    right = []
    for truth, style in enumerate(STYLES):
        material = style_material(style)
        for seed in range(5):
            random = generator(truth, seed)
            crop = paint(surface, vary(material, random), draw_light(random))[10:58, 32:128]
            right.append(int((features(crop) - means).norm(dim=1).argmin()) == truth)
    assert np.mean(right) >= 0.9
