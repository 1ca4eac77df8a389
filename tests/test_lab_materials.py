"""Materials: painted frames keep what is not the cabinet, and styles can be told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simedit.envs.boards import DRAWER_HEIGHTS, FOOT
from simedit.envs.surface import CABINET, GROUND, Surface, normals
from simedit.errors import SimeditError
from simedit.lab.materials import MATERIALS, STYLES, draw, draw_light, paint, photograph, vary
from simedit.lab.photographs import save_style, style_material, style_photographs
from simedit.scores.texture import Texture

HANDLE = (slice(60, 64), slice(70, 90))
INSIDE = (slice(90, 110), slice(40, 120))


@pytest.fixture(scope="module")
def surface() -> Surface:
    """A box's front and top in the primitive cabinet's colours, 8 mm a pixel, on white ground."""
    height, width = 128, 160
    row, column = np.mgrid[:height, :width]
    top = row < 44
    x = np.where(top, (row - 44) * 0.012, 0) + 0.3125
    place = np.stack([x, (column - 80) * 0.008, np.where(top, 0.865, 0.865 - (row - 44) * 0.008)], -1)
    kind = np.full((height, width), GROUND, np.uint8)
    kind[8:120, 30:130] = CABINET
    cabinet = kind == CABINET
    part = np.where(cabinet, np.where(row < 44, 0, np.where(row < 80, 1, 2)), -1).astype(np.int16)
    rgb = np.full((height, width, 3), 255, np.uint8)
    rgb[cabinet] = (178, 138, 102)
    rgb[cabinet & top] = (210, 169, 128)
    rgb[INSIDE] = (109, 83, 61)
    rgb[HANDLE] = (38, 35, 33)
    camera = np.array([[0, -0.5, -0.866, 1.8], [1, 0, 0, 0], [0, -0.866, -0.5, 1.6], [0, 0, 0, 1.0]])
    world, local = (place + FOOT).astype(np.float32), place.astype(np.float32)
    for number, height in enumerate(DRAWER_HEIGHTS, 1):
        local[part == number, 2] -= height
    normal = normals(world, camera[:3, 3]).astype(np.float32)
    return Surface(rgb, kind, part, local, world, normal, camera, 140.0)


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", MATERIALS)
def test_paints_the_cabinet_and_nothing_else(surface: Surface, name: str) -> None:
    painted = paint(surface, draw(name, generator(1)), draw_light(generator(2)))
    cabinet = surface.kind == CABINET
    assert painted.dtype == np.uint8
    assert painted.shape == surface.rgb.shape
    assert (painted[~cabinet] == surface.rgb[~cabinet]).all()
    assert (painted != surface.rgb).any(-1)[cabinet].mean() > 0.9


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
