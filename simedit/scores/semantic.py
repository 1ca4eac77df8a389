"""Semantic score: is the region like the style, and the rest like the input? (arXiv 2504.12833, eq. 9)"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from simedit.scores import Differentiable, Targets
from simedit.scores.encoders import Encoder


class Semantic(Differentiable):
    """Mean cosine distance between the patches of the edit's region and of the style's, plus `outside` times
    the mean squared pixel error outside the region.

    A mean over all pairs is least for the style's average look: where a style varies much from patch to
    patch, an edit a little plainer than the style scores better than a copy of it.

    A mask without pixels means that nothing may change: then the pixel error over all the image is the score.

    Args:
        encoder: gives the patch features. It sees edits and style images whole.
        outside: the weight of the pixel error, lambda.
    """

    def __init__(self, encoder: Encoder, outside: float = 0.5):
        self.encoder = encoder
        self.outside = outside

    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Differentiable`; a NaN in an edit makes its score NaN."""
        group = edits.shape[1]
        flat = edits.flatten(0, 1)
        features, styles = self.encoder(flat), self.encoder(targets.styles)
        mask = patch_mask(targets.masks, features.shape[1:3]).flatten(1)
        style_mask = patch_mask(targets.style_masks, styles.shape[1:3]).flatten(1)
        cosine = cosine_term(
            features.flatten(1, 2),
            mask.repeat_interleave(group, 0),
            styles.flatten(1, 2).repeat_interleave(group, 0),
            style_mask.repeat_interleave(group, 0),
        )
        pixel = pixel_term(
            flat, targets.inputs.repeat_interleave(group, 0), targets.masks.repeat_interleave(group, 0)
        )
        return (cosine + self.outside * pixel).unflatten(0, edits.shape[:2])


def patch_mask(masks: Tensor, grid: tuple[int, int] | torch.Size) -> Tensor:
    """Masks at an encoder's patch grid.

    Args:
        masks: bool [N, H, W].
        grid: rows and columns of patches over the whole image.

    Returns:
        bool [N, gh, gw]: the patches that the mask covers to at least a half; of a mask that covers none so,
        the patches it touches; of a mask without pixels, none.
    """
    (height, width), (rows, columns) = masks.shape[-2:], grid
    down, across = (_overlaps(*pair, masks.device) for pair in ((rows, height), (columns, width)))
    covered = down @ masks.double() @ across.T
    half = 2 * covered >= height * width
    return torch.where(half.any((-2, -1), keepdim=True), half, covered > 0)


def cosine_term(
    features_edit: Tensor, mask_edit: Tensor, features_style: Tensor, mask_style: Tensor
) -> Tensor:
    """Mean cosine distance over all pairs of a masked patch of the edit and one of the style.

    Args:
        features_edit, features_style: [N, P, D] and [N, Q, D].
        mask_edit, mask_style: bool [N, P] and [N, Q], each row of the style's with a True.

    Returns:
        float32 [N], in 0..2; 0 where no patch of the edit is masked, for there is nothing to compare.
    """
    # The cosine is linear in each unit vector, so the mean over pairs needs no pairs.
    edit, style = _mean_direction(features_edit, mask_edit), _mean_direction(features_style, mask_style)
    return (1 - (edit * style).sum(-1)) * mask_edit.any(-1)


def pixel_term(edits: Tensor, inputs: Tensor, masks: Tensor) -> Tensor:
    """Mean squared error over channels and over the pixels outside the mask.

    Args:
        edits, inputs: [N, 3, H, W] in 0..1.
        masks: bool [N, H, W].

    Returns:
        float32 [N]. 0 for a full mask: nothing is outside. (The paper's public code takes all pixels then,
        which punishes the very change that is asked for.)
    """
    outside = ~masks
    errors = (edits.float() - inputs.float()).square().mean(1)
    return (errors * outside).sum((-2, -1)) / outside.sum((-2, -1)).clamp(min=1)


def _overlaps(cells: int, pixels: int, device: torch.device) -> Tensor:
    """float64 [cells, pixels], how much of each pixel lies in each of `cells` equal parts of a line. A pixel
    is `cells` long, so that all are whole numbers and a half is met exactly."""
    starts = torch.arange(cells, device=device).unsqueeze(1) * pixels
    edges = torch.arange(pixels, device=device) * cells
    shared = torch.minimum(starts + pixels, edges + cells) - torch.maximum(starts, edges)
    return shared.clamp(min=0).double()


def _mean_direction(features: Tensor, mask: Tensor) -> Tensor:
    """[N, D], the mean of the masked patches' unit vectors."""
    # Multiplied, not selected: a NaN anywhere in the image must reach the score.
    total = (normalize(features.float(), dim=-1) * mask.unsqueeze(-1)).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)
