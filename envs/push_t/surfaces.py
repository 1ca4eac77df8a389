"""What proxy-real's Push-T is made of: a dark wooden table, goal and border on it, and an orange block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from simedit.envs.push_t.scene import GOAL, SIDE, TEE, WALL, placed

_MARGIN = 64.0
"""Of the table beyond the square in which the agent moves."""
_SCALE = 2.0
"""Texels a unit."""
ORANGE = np.array([0.62, 0.135, 0.02], np.float32)
"""The share of light that comes back from the block, linear."""


@dataclass(frozen=True)
class Table:
    """What the table does with light.

    Attributes:
        colour: float32 [T, T, 3], the share of light that comes back from all over, linear.
        gloss: float32 [T, T], how strongly it mirrors, about 1; paint and tape hardly do.
    """

    colour: np.ndarray
    gloss: np.ndarray

    def at(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Colour and gloss at places float32 [H, W, 2] of the scene, as large as they lie apart."""
        apart = float(np.abs(np.diff(where[:, :, 0], axis=1)).mean())
        shrink = min(1.0, 1.5 / (apart * _SCALE))
        u, v = (np.ascontiguousarray((where[..., i] + _MARGIN) * _SCALE * shrink - 0.5) for i in range(2))
        side = round(len(self.colour) * shrink)

        def seen(texels: np.ndarray) -> np.ndarray:
            small = cv2.resize(texels, (side, side), interpolation=cv2.INTER_AREA)
            return cv2.remap(small, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

        return seen(self.colour), seen(self.gloss)


@cache
def table() -> Table:
    """The one table that there is: it looks the same at every visit."""
    side = round((SIDE + 2 * _MARGIN) * _SCALE)
    random = np.random.default_rng(20)

    def noise(along: float, across: float) -> np.ndarray:
        """Smooth noise of mean 0 and standard deviation 1, its grains so many units long and wide."""
        # Two texels a grain are enough to draw it, and then it is stretched.
        fine = [min(1.0, 2 / (grain * _SCALE)) for grain in (along, across)]
        width, height = (int(side * part) + 1 for part in fine)
        white = random.standard_normal((height, width), np.float32)
        sigmas = [grain * _SCALE * part for grain, part in zip((along, across), fine, strict=True)]
        soft = cv2.GaussianBlur(white, (0, 0), sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REFLECT_101)
        soft = cv2.resize(soft, (side, side), interpolation=cv2.INTER_CUBIC)
        return (soft - soft.mean()) / soft.std()

    y = np.mgrid[:side, :side][0].astype(np.float32) / _SCALE
    rings = (y + 26 * noise(110, 22) + 5 * noise(40, 6)) / 23
    late = (rings % 1) ** 2  # wood darkens towards the end of a year
    tone = 1 + 0.62 * (0.35 - late) + 0.1 * noise(60, 0.8) + 0.08 * noise(12, 0.5) + 0.1 * noise(90, 60)
    pores = np.clip(noise(7, 0.35) - 1.6, 0, 1)
    dark, light = np.array([0.020, 0.015, 0.012], np.float32), np.array([0.075, 0.052, 0.038], np.float32)
    share = np.clip(0.45 * tone, 0, 1)[..., None]
    colour = (dark + (light - dark) * share) * (1 - 0.45 * pores[..., None])
    gloss = 1 + 0.12 * noise(30, 0.7) - 0.4 * pores
    worn = np.clip(0.93 - 0.04 * noise(4, 3) - 0.25 * np.clip(noise(20, 8) - 1.5, 0, 1), 0, 1)
    for shade, cover in (
        ((0.36, 0.35, 0.31), _tape(side)),
        ((0.25, 0.44, 0.24), _goal(side)),
    ):
        cover = (cover * worn)[..., None]
        paint = np.array(shade, np.float32) * (1 + 0.05 * noise(3, 1.5)[..., None])
        colour, gloss = colour + (paint - colour) * cover, gloss * (1 - 0.85 * cover[..., 0])
    return Table(np.clip(colour, 0, 1).astype(np.float32), np.clip(gloss, 0, 2).astype(np.float32))


@dataclass(frozen=True)
class BlockTop:
    """The block's upper side, seen from above at angle 0.

    Attributes:
        colour: float32 [h, w, 3], the share of light that comes back.
        normal: float32 [h, w, 3], which leans outwards at the rounded edge.
        corners, texels: its rectangle's corners [4, 2], in units about the block's origin, and as float32
            texels.
    """

    colour: np.ndarray
    normal: np.ndarray
    corners: np.ndarray
    texels: np.ndarray


@lru_cache(4)
def block_top(scale: int) -> BlockTop:
    """The one block's, at so many texels a unit."""
    fine, margin = 4, 6
    low, high = TEE.min(0) - margin, TEE.max(0) + margin
    width, height = ((high - low) * fine).astype(int)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [np.rint((TEE - low) * fine - 0.5).astype(np.int32)], 1)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) / fine
    lean = cv2.GaussianBlur(0.75 * np.clip(1 - depth / 2.2, 0, 1) * inside, (0, 0), 1)
    away = [
        -cv2.Sobel(cv2.GaussianBlur(depth, (0, 0), 2), cv2.CV_32F, *d, scale=fine / 8)
        for d in ((1, 0), (0, 1))
    ]
    flat = np.stack([lean * part for part in away], -1)
    normal = np.concatenate([flat, np.sqrt(np.maximum(1 - (flat**2).sum(-1, keepdims=True), 0))], -1)
    random = np.random.default_rng(5)
    tone = np.ones((height, width), np.float32)
    for sigma, strength in ((0.8, 0.02), (4, 0.025), (40, 0.05)):
        noise = cv2.GaussianBlur(random.standard_normal((height, width), np.float32), (0, 0), sigma)
        tone += strength * noise / noise.std()
    size = (width * scale // fine, height * scale // fine)
    colour, normal = (
        cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        for part in (ORANGE * tone[..., None], normal)
    )
    corners = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    texels = (corners - low) * (np.array(size) / (high - low)) - 0.5
    return BlockTop(colour, normal, corners, texels.astype(np.float32))


def _goal(side: int) -> np.ndarray:
    """How much of each texel the goal covers, float32 [side, side] in 0..1."""
    cover = np.zeros((side, side), np.uint8)
    cv2.fillPoly(cover, [_texels(placed(GOAL))], 255, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), 0.6)


def _tape(side: int) -> np.ndarray:
    """The same of the tape that lies where gym-pusht has its walls."""
    cover = np.zeros((side, side), np.uint8)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * (SIDE - 2 * WALL) + WALL
    cv2.polylines(cover, [_texels(square)], True, 255, round(5 * _SCALE), cv2.LINE_AA, shift=4)
    return cover.astype(np.float32) / 255


def _texels(points: np.ndarray) -> np.ndarray:
    """Points of the scene as OpenCV's fixed-point numbers."""
    return np.rint(((points + _MARGIN) * _SCALE - 0.5) * 16).astype(np.int32)
