"""How a visit's pictures of proxy-real's Push-T look: light, camera and sensor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Look:
    """How a visit's pictures look: what differs from one visit to the next.

    Attributes:
        lamp: unit [3], from the table's middle towards the lamp.
        window: the same of a window that the table mirrors.
        sky: strength of the light from all around; the lamp's is 1.
        shine: strength of the mirrored window.
        gains: of red, green and blue, of the light as well as of the camera's white balance.
        exposure: factor on all light.
        blur: standard deviation of the lens' blur, share of the frame's height.
        grain: standard deviation of the sensor's noise at mid grey, share of white.
        vignette: share of light lost in the frame's corners.
        shift, roll, scale: the camera's error, as `simedit.envs.push_t.camera.Camera`'s.
        quality: of the camera's JPEG, 0 to 100.
    """

    lamp: tuple[float, float, float]
    window: tuple[float, float, float]
    sky: float
    shine: float
    gains: tuple[float, float, float]
    exposure: float
    blur: float
    grain: float
    vignette: float
    shift: tuple[float, float]
    roll: float
    scale: float
    quality: int


def draw_look(random: np.random.Generator) -> Look:
    """The look of a visit."""
    warm, green = random.normal(0.05, 0.035), random.normal(0, 0.012)
    return Look(
        lamp=_towards(random.uniform(-2.5, -1.9), random.uniform(0.75, 0.95)),
        window=_towards(random.uniform(-2.6, -0.6), random.uniform(1.36, 1.46)),
        sky=random.uniform(0.42, 0.6),
        shine=random.uniform(0.025, 0.075),
        gains=(1 + warm, 1 + green, 1 - warm),
        exposure=random.uniform(1.0, 1.35),
        blur=random.uniform(0.002, 0.004),
        grain=random.uniform(0.008, 0.018),
        vignette=random.uniform(0.12, 0.3),
        shift=(random.uniform(-5, 5), random.uniform(-5, 5)),
        roll=random.uniform(-0.012, 0.012),
        scale=random.uniform(0.985, 1.01),
        quality=int(random.integers(86, 96)),
    )


def _towards(azimuth: float, height: float) -> tuple[float, float, float]:
    """Unit: from the picture's right by an angle clockwise, and so high above the table; radians."""
    return math.cos(height) * math.cos(azimuth), math.cos(height) * math.sin(azimuth), math.sin(height)
