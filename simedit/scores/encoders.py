"""Encoders: images [N, 3, h, w] in 0..1 -> patch features [N, gh, gw, D], for the semantic score."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionModel, Dinov2Model

from simedit.errors import SimeditError
from simedit.scores.hub import image_statistics, load_model, resize
from simedit.scores.lite import load_lite
from simedit.scores.texture import Texture
from simedit.training.config import SemanticConfig

Encoder = Callable[[Tensor], Tensor]
"""Images [N, 3, h, w] in 0..1, of any size, to features [N, gh, gw, D]; the grid covers the whole image."""

DINOV2 = "facebook/dinov2-base"
CLIP = "openai/clip-vit-large-patch14"  # of OpenAI's, one that the hub holds as safetensors; grid 16 x 16
DREAMSIM_SIDE = 224  # pixels; dreamsim's own


def load_encoder(
    config: SemanticConfig, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Encoder:
    """The encoder of a config, its model on the device.

    Raises:
        SimeditError: the model, or the dreamsim package, cannot be loaded.
    """
    if config.encoder == "texture":
        return Texture()
    if config.encoder == "lite":
        return load_lite(device)
    if config.encoder == "dreamsim":
        return _dreamsim(config.model, device, dtype)
    if config.encoder == "dinov2":
        return _transformer(Dinov2Model, config.model or DINOV2, device, dtype)
    return _transformer(CLIPVisionModel, config.model or CLIP, device, dtype)


def _transformer(
    cls: type[Dinov2Model] | type[CLIPVisionModel],
    name: str,
    device: torch.device | str,
    dtype: torch.dtype,
) -> Encoder:
    """The last hidden state of a vision transformer, without the class token."""
    what = "the encoder (scores.semantic.model)"
    statistics = image_statistics(name, what)  # first: it is the smaller download
    model: Any = load_model(cls, name, what, device, dtype)
    side = min(statistics.size.values())

    def encode(images: Tensor) -> Tensor:
        pixels = statistics.normalise(resize(images, side, side)).to(dtype)
        return _square(model(pixel_values=pixels).last_hidden_state)

    return encode


def _dreamsim(cache: str | None, device: torch.device | str, dtype: torch.dtype) -> Encoder:
    """DreamSim's patch model on DINOv2 ViT-B/14. `cache` is the folder for its weights and for DINOv2's code
    and weights, which the package fetches from GitHub and from Meta where they are missing."""
    try:
        from dreamsim import dreamsim  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a torchvision made for another torch raises RuntimeError
        raise SimeditError(
            f"the encoder 'dreamsim' does not import ({error}): pip install 'simedit[scores]', with the "
            f"torchvision made for torch {torch.__version__}, or choose another scores.semantic.encoder"
        ) from error
    folder = Path(cache or Path(torch.hub.get_dir()) / "dreamsim")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with guarded_hub():
            model, _ = dreamsim(
                device=str(device), cache_dir=str(folder), dreamsim_type="dinov2_vitb14", use_patch_model=True
            )
    except Exception as error:  # network, zip, JSON, pickle: the package lets everything through
        raise SimeditError(
            f"cannot load dreamsim's weights into or from {folder}: {error}\nOn a machine without the "
            f"internet, copy the folder from one that has loaded them and give it as scores.semantic.model."
        ) from error
    model = model.to(dtype).requires_grad_(False)

    def encode(images: Tensor) -> Tensor:
        return _square(model.embed(resize(images, DREAMSIM_SIDE, DREAMSIM_SIDE).to(dtype)))

    return encode


@contextmanager
def guarded_hub() -> Iterator[None]:
    """dreamsim loads DINOv2 through torch.hub, which unpickles anything, and moves its folder for good."""
    folder, name = torch.hub.get_dir(), "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        torch.hub.set_dir(folder)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _square(tokens: Tensor) -> Tensor:
    """Tokens [N, 1 + s s, D], the class token first, as [N, s, s, D]."""
    side = round((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].unflatten(1, (side, side))
