"""Frames painted with photographs: what an edit towards a style image should be, where light is kept."""

from __future__ import annotations

import numpy as np

GAMMA = 2.2
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
USUAL = 0.565
"""How bright (0..1) the drawers' fronts are in a raw frame of the twin with its primitive skin."""


def frame_shading(frame: np.ndarray, usual: float) -> np.ndarray:
    """float32 [H, W]: how bright each pixel of a frame is, linear, 1 where it is as bright as usual.

    Args:
        frame: uint8 [H, W, 3].
        usual: 0..1, for example `usual_brightness`.
    """
    return ((frame / np.float32(255) @ LUMA) / max(usual, 0.01)) ** GAMMA


def usual_brightness(frames: np.ndarray, masks: np.ndarray) -> float:
    """The mean brightness, 0..1, of what bool [N, H, W] masks show of uint8 [N, H, W, 3] frames."""
    return float((frames[masks] @ LUMA).mean() / 255) if masks.any() else 1.0


def paint(frame: np.ndarray, mask: np.ndarray, photograph: np.ndarray, shading: np.ndarray) -> np.ndarray:
    """The frame with a photograph laid on what the mask shows, in the frame's own light; uint8 [H, W, 3].

    Args:
        frame, photograph: uint8 [H, W, 3].
        mask: bool [H, W].
        shading: float32 [H, W], linear brightness where a photograph's own is 1: darker in proportion, and
            brighter without ever leaving the range.
    """
    painted = frame.copy()
    colour = (photograph[mask] / np.float32(255)) ** GAMMA
    light = shading[mask][:, None]
    lit = np.where(light <= 1, colour * light, 1 - (1 - colour) ** np.maximum(light, 1))
    painted[mask] = (lit ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)
    return painted
