"""Is the shape still the same? Depth maps of edit and input."""

from __future__ import annotations

import numpy as np
import torch

from simedit.metrics import Kind, Scene, numbers, tensors
from simedit.scores.structural import Depth

LARGE = "depth-anything/Depth-Anything-V2-Large-hf"


class DepthL1:
    """Mean absolute difference of the depth maps over all of the frame, in the model's own units. A `Metric`.

    Args:
        depth: the model.
    """

    def __init__(self, depth: Depth) -> None:
        self._depth = depth

    @torch.no_grad()
    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        frames = np.concatenate([scene.input[None], edits])
        maps = self._depth.maps(tensors(frames, self._depth.model.device))
        return numbers((maps[1:] - maps[:1]).abs().mean((-2, -1)))


DEPTH = Kind(
    "depth",
    "difference of the depth maps (raw model units)",
    "Depth L1, arXiv 2504.12833, table 1; Depth Anything V2, arXiv 2406.09414",
    range=(0, None),
    higher=False,
    load=lambda weights, device: DepthL1(Depth.load(weights or LARGE, device)),
    model="depth",
    hub=LARGE,
)
