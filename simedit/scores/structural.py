"""Structural scores: how far an edit moved what the frame shows (arXiv 2504.12833, eq. 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import DepthAnythingForDepthEstimation

from simedit.scores import Differentiable, Score, Targets
from simedit.scores.hub import ImageStatistics, image_statistics, load_model, resize
from simedit.training.config import CannyConfig, DepthConfig


class Depth(Differentiable):
    """Mean absolute difference between the depth maps of edit and input, in the model's own units.

    Args:
        model: in evaluation mode; it gives the dtype computed in.
        statistics: what it expects of its images.
    """

    def __init__(self, model: DepthAnythingForDepthEstimation, statistics: ImageStatistics):
        self.model = model
        self.statistics = statistics

    @classmethod
    def load(cls, model: str, device: torch.device | str, dtype: torch.dtype = torch.float32) -> Depth:
        """With a Depth Anything V2 of transformers, by hub id or directory.

        Raises:
            SimeditError: it cannot be loaded.
        """
        what = "the depth model (scores.structural.model)"
        statistics = image_statistics(model, what)  # first: it is the smaller download
        return cls(load_model(DepthAnythingForDepthEstimation, model, what, device, dtype), statistics)

    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Differentiable`; a NaN in an edit makes its score NaN."""
        return _differences(self.maps, edits, targets.inputs)

    def maps(self, images: Tensor) -> Tensor:
        """Depth maps, float32 [N, H, W], larger is nearer, of images [N, 3, H, W] in 0..1.

        The model sees them with the shorter side at its own size and the aspect kept, to whole patches.
        """
        height, width = images.shape[-2:]
        patch: Any = self.model.config.patch_size
        scale = min(self.statistics.size.values()) / min(height, width)
        seen = [max(1, round(side * scale / patch)) * patch for side in (height, width)]
        pixels = self.statistics.normalise(resize(images, *seen)).to(self.model.dtype)
        depths = self.model(pixel_values=pixels).predicted_depth.float()
        return interpolate(depths.unsqueeze(1), (height, width), mode="bilinear").squeeze(1)


class Canny:
    """The share of pixels that are an edge in one of edit and input alone. For renders too plain for `Depth`.

    Args:
        low, high: OpenCV's hysteresis thresholds on 0..255 grey values.
        blur: standard deviation, pixels, of a Gaussian blur before; 0 for none.
    """

    def __init__(self, low: float = 100, high: float = 200, blur: float = 0):
        self.low, self.high, self.blur = low, high, blur

    @torch.no_grad()
    def __call__(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Score`; a NaN in an edit makes its score NaN."""
        scores = _differences(self.maps, edits, targets.inputs)
        finite = edits.isfinite().flatten(2).all(-1)  # 8 bits cannot carry a NaN through
        return scores.where(finite, torch.nan)

    def maps(self, images: Tensor) -> Tensor:
        """Edge maps, float32 [N, H, W], 0 or 1, of images [N, 3, H, W] in 0..1. OpenCV runs on the CPU."""
        pixels = (images.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8)
        edges = [self._edges(frame) for frame in pixels.permute(0, 2, 3, 1).cpu().numpy()]
        return torch.from_numpy(np.stack(edges)).to(images.device, torch.float32) / 255

    def _edges(self, frame: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if self.blur:
            grey = cv2.GaussianBlur(grey, (0, 0), self.blur)
        return cv2.Canny(grey, self.low, self.high)


def load_structural(
    config: DepthConfig | CannyConfig, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Score:
    """The structural score of a config, its model on the device.

    Raises:
        SimeditError: the model cannot be loaded.
    """
    if isinstance(config, CannyConfig):
        return Canny(config.low, config.high, config.blur)
    return Depth.load(config.model, device, dtype)


def _differences(maps: Callable[[Tensor], Tensor], edits: Tensor, inputs: Tensor) -> Tensor:
    """[N, G], mean absolute differences; an input's map is made once for its G edits."""
    images = torch.cat([inputs.unsqueeze(1), edits], 1)
    made = maps(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return (made[:, 1:] - made[:, :1]).abs().mean((-2, -1))
