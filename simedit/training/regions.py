"""Where an edit belongs in each input, and which part of each style image shows the style."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from simedit.errors import SimeditError
from simedit.training.config import RegionsConfig, StyleConfig
from simedit.training.data import Inputs, fit, read_style_masks

_LEAST = 16
"""Pixels: a style image cut smaller shows no material."""
_BORDER = 0.01
"""Of a style's mask, share of the image's shorter side."""

Segment = Callable[[Tensor, Sequence[str]], tuple[Tensor, Tensor]]
"""(images float [N, 3, H, W] in 0..1, N nouns) -> (masks bool [N, H, W], found bool [N]), as GroundedSam2."""


class Regions:
    """Where the edit belongs in each input, and which part of each style image shows the style.

    Args:
        config: where masks come from.
        style: its nouns, filled in. Where one is null, "grounded-sam2" means the whole image.
        images: the style images, uint8 [h, w, 3] each.
        load: loads what looks for nouns; called only if some noun is to be looked for.

    Raises:
        SimeditError: the style images' masks cannot be read or do not fit them.

    Attributes:
        styles: bool [h, w] for each style image; all of it where the noun was not found.
        styles_found: whether the noun was found, for each; empty if none was looked for.
        found: the same for each input looked at so far, by its index.
    """

    def __init__(
        self,
        config: RegionsConfig,
        style: StyleConfig,
        images: Sequence[np.ndarray],
        load: Callable[[], Segment],
    ) -> None:
        self._own = config.inputs in ("simulator", "files")
        self._noun = style.noun if config.inputs == "grounded-sam2" else None
        self._kept: dict[int, np.ndarray] = {}
        self.found: dict[int, bool] = {}
        self.styles = [np.ones(image.shape[:2], bool) for image in images]
        self.styles_found: list[bool] = []
        if config.styles == "files":
            self.styles = read_style_masks(Path(str(config.style_masks)), images)
        style_noun = style.style_noun if config.styles == "grounded-sam2" else None
        segment = None if self._noun is None and style_noun is None else load()
        if segment is not None and style_noun is not None:
            results = [_look(segment, image[None], style_noun) for image in images]
            self.styles = [masks[0] for masks, _ in results]
            self.styles_found = [found[0] for _, found in results]
        self._segment = None if self._noun is None else segment  # not kept in memory for nothing

    def cut(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The style images with nothing in them but the style: the largest rectangle inside each one's mask,
        mirrored at its sides until it is as large as the image was. From then on all of each is the style.

        Args:
            images: uint8 [h, w, 3] each.

        Raises:
            SimeditError: a mask holds no rectangle of `_LEAST` pixels a side.
        """
        found = []
        for number, (image, mask) in enumerate(zip(images, self.styles, strict=True), 1):
            part = image[_largest(_inner(mask))]
            if min(part.shape[:2]) < _LEAST:
                raise SimeditError(
                    f"the mask of style image {number} holds no rectangle of {_LEAST} x {_LEAST} pixels: "
                    "take the photograph from nearer, or set regions.cut to false"
                )
            missing = [have - has for have, has in zip(image.shape[:2], part.shape[:2], strict=True)]
            around = [(one // 2, one - one // 2) for one in missing]
            found.append(np.pad(part, [*around, (0, 0)], mode="symmetric"))
        self.styles = [np.ones(image.shape[:2], bool) for image in found]
        return tuple(found)

    def inputs(
        self, indices: Sequence[int], frames: np.ndarray, own: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        """bool [N, H, W], the regions of the inputs `indices`. Each input is looked at once.

        Args:
            indices: N numbers of inputs.
            frames: uint8 [N, H, W, 3], the inputs' frames.
            own: the inputs' own masks.

        Raises:
            SimeditError: an input lacks the mask that the config asks for.
        """
        if self._own:
            return np.stack([_own(index, mask) for index, mask in zip(indices, own, strict=True)])
        if self._segment is None or self._noun is None:
            return np.ones(frames.shape[:3], bool)
        new = {index: frame for index, frame in zip(indices, frames, strict=True) if index not in self.found}
        if new:
            masks, found = _look(self._segment, np.stack(list(new.values())), self._noun)
            self._kept |= zip(new, np.packbits(masks, axis=-1), strict=True)
            self.found |= zip(new, found, strict=True)
        kept = np.stack([self._kept[index] for index in indices])
        return np.unpackbits(kept, axis=-1, count=frames.shape[2]).astype(bool)


def fit_style_masks(masks: Sequence[np.ndarray], width: int, height: int) -> np.ndarray:
    """bool [M, height, width], the style images' masks as the scores see them: cut at the centre.

    Args:
        masks: bool [h, w] each.

    Raises:
        SimeditError: nothing is left of one.
    """
    fitted = [fit(mask, width, height) for mask in masks]
    for number, mask in enumerate(fitted, 1):
        if not mask.any():
            raise SimeditError(
                f"the style in style image {number} is too small, or lies outside the {width} x {height} "
                f"pixels at its centre that training sees: crop the image, and its mask, around the style"
            )
    return np.stack(fitted)


def _inner(mask: np.ndarray) -> np.ndarray:
    """A mask without its border, where what it shows has shadows, another side, or another's light."""
    border = max(1, round(_BORDER * min(mask.shape)))
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * border + 1,) * 2, np.uint8)).astype(bool)


def _largest(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the largest rectangle in which all of a mask, bool [h, w], is True."""
    heights = np.zeros(mask.shape[1] + 1, np.int64)  # the last ends what is still open
    best, where = 0, (slice(0, 0), slice(0, 0))
    for bottom, row in enumerate(mask, 1):
        heights[:-1] = np.where(row, heights[:-1] + 1, 0)
        opened: list[tuple[int, int]] = []  # where columns as high as that begin, ever higher
        for right, height in enumerate(heights.tolist()):
            left = right
            while opened and opened[-1][1] >= height:
                left, high = opened.pop()
                if high * (right - left) > best:
                    best, where = high * (right - left), (slice(bottom - high, bottom), slice(left, right))
            opened.append((left, height))
    return where


def check_masks(config: RegionsConfig, inputs: Inputs) -> None:
    """Check that the inputs' own masks, if they are what is meant, mark something somewhere.

    Raises:
        SimeditError: all are empty, or one on the way to the first that is not is missing.
    """
    if config.inputs not in ("simulator", "files"):
        return
    if not any(_own(index, inputs[index][1]).any() for index in range(len(inputs))):
        raise SimeditError(
            f"the masks of all {len(inputs)} inputs are empty, so no edit belongs anywhere: masks are white "
            f"(255) where it does. Without masks, set regions.inputs to full-frame or grounded-sam2"
        )


def _own(index: int, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        raise SimeditError(f"input {index} has no mask: set regions.inputs to full-frame or grounded-sam2")
    return mask


def _look(segment: Segment, frames: np.ndarray, noun: str) -> tuple[np.ndarray, list[bool]]:
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    masks, found = segment(images, [noun] * len(frames))
    return masks.numpy(), found.tolist()
