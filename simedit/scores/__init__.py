"""The AI feedback: scores that compare edits with what they should be. Lower is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """What the edits of N inputs are judged against, all on one device.

    Attributes:
        inputs: float32 [N, 3, H, W] in 0..1, the frames before the edit.
        masks: bool [N, H, W], the region that the edit is meant for; where it is empty, nothing may change.
        styles: float32 [N, 3, h, w] in 0..1, each input's style image.
        style_masks: bool [N, h, w], the part of the style image that shows the style, never empty.
    """

    inputs: Tensor
    masks: Tensor
    styles: Tensor
    style_masks: Tensor


class Score(Protocol):
    """Judges edits, without gradients."""

    def __call__(self, edits: Tensor, targets: Targets) -> Tensor:
        """float32 [N, G], lower is better.

        Args:
            edits: float32 [N, G, 3, H, W] in 0..1, G edits of each of N inputs.
            targets: what they are judged against.
        """
        ...


@runtime_checkable
class Differentiable(Score, Protocol):
    """A score that says which way edits get better. Its class inherits this, and `value` is all it has."""

    @torch.no_grad()
    def __call__(self, edits: Tensor, targets: Targets) -> Tensor:
        return self.value(edits, targets)

    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Score`'s call, and differentiable in the edits."""
        ...
