"""How different edit and input look: LPIPS and DISTS, both torchmetrics' on torchvision's networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from simedit.errors import SimeditError
from simedit.metrics import Kind, Scene, numbers, tensors
from simedit.scores.encoders import guarded_hub

ALEXNET, VGG16 = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"
SMALLEST = 32
"""Pixels a side below which the networks' poolings leave nothing."""


class Perceptual:
    """A network's distance of edits from their input. A `Metric`.

    Args:
        distance: from two batches, float32 [N, 3, H, W] in 0..1, to N distances.
        device: where it is computed.

    Raises:
        SimeditError: when called with a frame of fewer than 32 pixels a side.
    """

    def __init__(self, distance: Callable[[Tensor, Tensor], Tensor], device: torch.device | str) -> None:
        self._distance, self._device = distance, device

    @torch.no_grad()
    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        if min(scene.input.shape[:2]) < SMALLEST:
            raise SimeditError(f"lpips and dists need frames of {SMALLEST} pixels a side or more")
        found, frame = tensors(edits, self._device), tensors(scene.input, self._device)
        return numbers(self._distance(found, frame.expand_as(found)).clamp(min=0)).reshape(-1)


def load_lpips(device: torch.device | str) -> Perceptual:
    """LPIPS on AlexNet, as its authors compare with it.

    Raises:
        SimeditError: torchvision's weights are not here and cannot be fetched.
    """

    def build() -> nn.Module:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        return LearnedPerceptualImagePatchSimilarity("alex").net  # the metric itself would keep every value

    network = _fetched("lpips", ALEXNET, build).to(device).eval()
    return Perceptual(partial(network, normalize=True), device)


def load_dists(device: torch.device | str) -> Perceptual:
    """DISTS on VGG 16.

    Raises:
        SimeditError: torchvision's weights are not here and cannot be fetched.
    """

    def build() -> nn.Module:
        from torchmetrics.functional.image.dists import DISTSNetwork  # its metric builds it anew in each call

        return DISTSNetwork()

    return Perceptual(_fetched("dists", VGG16, build).to(device).eval(), device)


def _fetched(name: str, file: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        with guarded_hub():
            return build()
    except Exception as error:  # torchvision and the network let everything through
        raise SimeditError(
            f"cannot load {name}: {error}\nOn a machine without the internet put {file} into "
            f"{torch.hub.get_dir()}/checkpoints"
        ) from error


LPIPS = Kind(
    "lpips",
    "perceptual distance from the input",
    "Zhang et al., CVPR 2018 (arXiv 1801.03924), eq. 1, AlexNet; torchmetrics",
    range=(0, None),
    higher=False,
    load=lambda weights, device: load_lpips(device),
    file=ALEXNET,
    packages=("torchmetrics", "torchvision"),
)
DISTS = Kind(
    "dists",
    "perceptual distance from the input that forgives resampled texture",
    "Ding et al., TPAMI 44, 2022 (arXiv 2004.07728), eq. 8, VGG 16; torchmetrics",
    range=(0, 1),
    higher=False,
    load=lambda weights, device: load_dists(device),
    file=VGG16,
    packages=("torchmetrics", "torchvision"),
)
