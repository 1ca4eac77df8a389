"""Five photographs of each style, as a user would take them: what its specialist learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.errors import unknown
from simedit.lab.materials import MATERIALS, Material, draw, draw_light, photograph, vary

TYPICAL = 0.3
"""How far a style's material strays from the plainest example of its name, of 1."""


def style_material(style: str, seed: int = 0) -> Material:
    """The very material of the style's photographs.

    Raises:
        SimeditError: there is no such style.
    """
    if style not in MATERIALS:
        raise unknown("style", style, MATERIALS)
    return draw(style, np.random.default_rng([seed, MATERIALS.index(style)]), TYPICAL)


def style_photographs(style: str, seed: int = 0) -> list[np.ndarray]:
    """Five photographs, uint8 [256, 256, 3] each, in one light: three of one piece and two of pieces much
    like it.

    Raises:
        SimeditError: there is no such style.
    """
    material = style_material(style, seed)
    random = np.random.default_rng([seed, MATERIALS.index(style), 1])
    light = draw_light(random)
    pieces = [material] * 3 + [vary(material, random) for _ in range(2)]
    return [photograph(piece, random, light=light) for piece in pieces]


def save_style(style: str, folder: Path, seed: int = 0) -> None:
    """Write a style's photographs, folder/0.png to 4.png.

    Raises:
        SimeditError: there is no such style, or the folder cannot be written.
    """
    pictures = style_photographs(style, seed)
    for number, picture in enumerate(pictures):
        with whole(folder / f"{number}.png") as draft:
            Image.fromarray(picture).save(draft)
