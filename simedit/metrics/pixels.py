"""What changed, pixel for pixel: outside the mask, and as structure overall."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from simedit.errors import SimeditError
from simedit.metrics import Kind, Scene, numbers, tensors
from simedit.scores.semantic import pixel_term

SSIM_WINDOW = 11


class MseOutside:
    """Mean squared error over channels and over the pixels outside the mask, of values in 0..1. A `Metric`.

    Not a number where the mask shows all of the frame: nothing is outside.
    """

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        if scene.region.all():
            return np.full(len(edits), np.nan)
        found, frame = tensors(edits, "cpu"), tensors(scene.input, "cpu")
        mask = torch.from_numpy(scene.region)[None].expand(len(edits), -1, -1)
        return numbers(pixel_term(found, frame.expand_as(found), mask))


class Ssim:
    """Structural similarity over all of the frame: Gaussian window of 11 pixels, sigma 1.5. A `Metric`.

    Args:
        device: where it is computed.

    Raises:
        SimeditError: when called with a frame of fewer than 11 pixels a side.
    """

    def __init__(self, device: Any) -> None:
        from torchmetrics.functional.image import structural_similarity_index_measure

        self._device, self._measure = device, structural_similarity_index_measure

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        if min(scene.input.shape[:2]) < SSIM_WINDOW:
            raise SimeditError(f"ssim needs frames of {SSIM_WINDOW} pixels a side or more")
        found, frame = tensors(edits, self._device), tensors(scene.input, self._device)
        values: Any = self._measure(found, frame.expand_as(found), data_range=1.0, reduction="none")
        return numbers(values).reshape(-1)


MSE_OUTSIDE = Kind(
    "mse_outside",
    "squared error outside the mask",
    "L2 out, arXiv 2504.12833, table 1 and the pixel term of eq. 9",
    range=(0, 1),
    higher=False,
    load=lambda weights, device: MseOutside(),
    needs=("mask",),
)
SSIM = Kind(
    "ssim",
    "structural similarity with the input",
    "Wang et al., IEEE TIP 13, 2004, eq. 13; torchmetrics",
    range=(-1, 1),
    higher=True,
    load=lambda weights, device: Ssim(device),
    packages=("torchmetrics",),
)
