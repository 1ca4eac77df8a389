"""What an edit is worth: metrics that compare an edit with its input, its style images or a caption.

One file an idea; `simedit.metrics.catalogue` has all of them by name, eval/scoring/ puts them into tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Need = Literal["mask", "style_images", "prompt", "source_prompt"]


@dataclass(frozen=True)
class Scene:
    """What the edits of one input are judged against.

    Attributes:
        input: uint8 [H, W, 3], the frame before the edit.
        mask: bool [H, W], where the edit is meant to be, not empty; None means everywhere.
        styles: uint8 [h, w, 3] each, the style images; the same tuple for all scenes of a table.
        prompt: a caption of what the edit should show.
        source: a caption of what the input shows.
    """

    input: np.ndarray
    mask: np.ndarray | None = None
    styles: Sequence[np.ndarray] = ()
    prompt: str = ""
    source: str = ""

    @property
    def region(self) -> np.ndarray:
        """bool [H, W]: the mask, or all of the frame."""
        return np.ones(self.input.shape[:2], bool) if self.mask is None else self.mask

    def has(self, need: Need) -> bool:
        """Whether it holds what a metric needs."""
        held = {"mask": self.mask is not None, "style_images": bool(self.styles)}
        return {**held, "prompt": bool(self.prompt), "source_prompt": bool(self.source)}[need]


Metric = Callable[[np.ndarray, Scene], np.ndarray]
"""G edits of one input, uint8 [G, H, W, 3], and its scene, to float64 [G]. Not a number where the metric is
undefined; what that means stands with the metric. A `SimeditError` where a frame is too small for it."""

Load = Callable[["str | None", "torch.device | str"], Metric]
"""Makes a metric with weights from a hub id or directory (None: the kind's own) on a device.

Raises a `SimeditError` where they cannot be loaded."""


@dataclass(frozen=True)
class Kind:
    """A metric, before it is loaded.

    Attributes:
        name: as users write it.
        measures: in a few words.
        source: paper and equation, or where it is from.
        range: least and largest value; None is without bound.
        higher: whether more is better.
        load: see `Load`.
        needs: what a scene must hold.
        model: the name that its weights go by; metrics on one model share it. "" for none.
        hub: hub id of the weights that it takes where none are given.
        file: of weights that torchvision fetches, the name in torch's hub folder.
        packages: modules that must be installed.
    """

    name: str
    measures: str
    source: str
    range: tuple[float | None, float | None]
    higher: bool
    load: Load
    needs: tuple[Need, ...] = ()
    model: str = ""
    hub: str = ""
    file: str = ""
    packages: tuple[str, ...] = ()


def tensors(frames: np.ndarray, device: torch.device | str) -> Tensor:
    """uint8 [..., H, W, 3] as float32 [..., 3, H, W] in 0..1 on the device."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).movedim(-1, -3).float() / 255


def numbers(values: Tensor) -> np.ndarray:
    """A tensor's values as float64 on the host."""
    return values.detach().double().cpu().numpy()
