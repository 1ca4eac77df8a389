"""Caption score: does the edit show what a text says? For things that no style image shows."""

from __future__ import annotations

import torch
from torch import Tensor

from simedit.metrics.clip import Clip
from simedit.scores import Differentiable, Targets
from simedit.scores.encoders import CLIP
from simedit.training.config import CaptionConfig


class Caption(Differentiable):
    """1 minus the cosine of edit and text, by CLIP (arXiv 2103.00020): the other term of InstructRL4Pix's
    reward (arXiv 2406.09973), in the form that we take it to have.

    Args:
        clip: the model.
        text: what the edit should show.
    """

    def __init__(self, clip: Clip, text: str):
        self._clip, self._text = clip, text

    @classmethod
    def load(cls, config: CaptionConfig, device: torch.device | str) -> Caption:
        """With the model of a config.

        Raises:
            SimeditError: it cannot be loaded.
        """
        what = "the CLIP model (scores.caption.model)"
        return cls(Clip.load(config.model or CLIP, device, what=what), config.text)

    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Differentiable`; a NaN in an edit makes its score NaN."""
        images, texts = self._clip.vectors(edits.flatten(0, 1), [self._text])
        return (1 - images @ texts[0]).unflatten(0, edits.shape[:2])
