"""The poor camera of the proxies of the real world: what lens and sensor make of light."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def develop(
    light: np.ndarray,
    *,
    exposure: float,
    gains: Sequence[float],
    vignette: float,
    blur: float,
    grain: float,
    random: np.random.Generator,
) -> np.ndarray:
    """A photograph, uint8 [H, W, 3].

    Args:
        light: float32 [H, W, 3], linear; 1 shows white as white.
        exposure: factor on all light.
        gains: of red, green and blue.
        vignette: share of light lost in the frame's corners.
        blur: standard deviation of the lens' blur, share of the frame's height.
        grain: standard deviation of the sensor's noise at mid grey, share of white.
        random: draws the noise.
    """
    height, width = light.shape[:2]
    centre = (width / 2, height / 2)
    picture = cv2.GaussianBlur(light, (0, 0), max(blur * height, 0.05))
    x, y = np.meshgrid(np.arange(width) - centre[0], np.arange(height) - centre[1])
    radius = (x**2 + y**2) / (centre[0] ** 2 + centre[1] ** 2)
    fall = (exposure * (1 - vignette * radius)).astype(np.float32)[..., None]
    picture *= fall * np.array(gains, np.float32)
    picture = cv2.pow(np.maximum(picture, 0), 1 / 2.2)
    picture = np.where(
        picture > 0.8, 1 - 0.2 * np.exp(-(picture - 0.8) / 0.2), picture
    )  # highlights roll off
    noise = random.standard_normal(picture.shape, np.float32) * np.float32(grain)
    return (np.clip(picture + noise * (0.6 + 0.8 * (1 - picture)), 0, 1) * 255 + 0.5).astype(np.uint8)
