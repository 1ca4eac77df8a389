"""Are the frame's edges still there, and no others? Two measures on Canny edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from simedit.metrics import Kind, Scene, numbers, tensors
from simedit.scores.structural import Canny
from simedit.training.worth import edges_kept


def edge_f1(edits: np.ndarray, scene: Scene) -> np.ndarray:
    """Harmonic mean of the share of the input's edges in the mask that the edit has (recall) and of the
    edit's that the input has (precision), each within 1.5 pixels; 1 where neither has any. A `Metric`.

    A texture that the edit rightly adds counts as edges that the input lacks: compare edits of one material.
    """

    def f1(edit: np.ndarray) -> float:
        recall = edges_kept(scene.input, edit, scene.region)
        precision = edges_kept(edit, scene.input, scene.region)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    return np.array([f1(edit) for edit in edits])


class CannyDifference:
    """The share of all pixels that are an edge in one of edit and input alone. A `Metric`.

    Args:
        device: where the frames are; the edges are OpenCV's, on the CPU.
    """

    def __init__(self, device: Any) -> None:
        self._device, self._canny = device, Canny()

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        edges = self._canny.maps(tensors(np.concatenate([scene.input[None], edits]), self._device))
        return numbers((edges[1:] - edges[:1]).abs().mean((-2, -1)))


EDGE_F1 = Kind(
    "edge_f1",
    "the input's edges are there and no others (in the mask)",
    "Canny edges (TPAMI 8, 1986) matched within 1.5 px, as simedit-lab check",
    range=(0, 1),
    higher=True,
    load=lambda weights, device: edge_f1,
)
CANNY = Kind(
    "canny",
    "pixels that are an edge in one of the two alone",
    "the Canny form of the structural score (arXiv 2504.12833, eq. 8), thresholds 100 and 200",
    range=(0, 1),
    higher=False,
    load=lambda weights, device: CannyDifference(device),
)
