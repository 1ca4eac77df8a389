"""Are the colours in the mask those of the style images?"""

from __future__ import annotations

import numpy as np

from simedit.metrics import Kind, Scene
from simedit.training.data import fit
from simedit.training.painted import frame_shading, paint, usual_brightness
from simedit.training.worth import colour_distance


def colour(edits: np.ndarray, scene: Scene) -> np.ndarray:
    """The `colour_distance` in the mask between an edit and each style image laid on the input in the input's
    own light, the mean over the style images. A `Metric`."""
    height, width = scene.input.shape[:2]
    shading = frame_shading(scene.input, usual_brightness(scene.input[None], scene.region[None]))
    laid = [paint(scene.input, scene.region, fit(s, width, height), shading) for s in scene.styles]
    return np.array(
        [np.mean([colour_distance(edit, one, scene.region) for one in laid]) for edit in edits], float
    )


COLOUR = Kind(
    "colour",
    "colours in the mask against the style images laid there (CIELAB; 1 hardly seen, 10 another colour)",
    "Wasserstein distance of L, a, b, as simedit-lab check",
    range=(0, None),
    higher=False,
    load=lambda weights, device: colour,
    needs=("style_images",),
)
