"""The lab's autoencoder: diffusers' AutoencoderKL, small enough for a CPU, trained from scratch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss

from simedit.lab.fit import fit

CROP = 96
"""Pixels a side: what it learns from."""
LATENT_CHANNELS = 16
_KL = 1e-8
_OF_EACH = 4
_EDGES = 4.0
"""How much more a pixel weighs where brightness jumps by its whole range: thin lines are few."""


def new_vae(seed: int) -> AutoencoderKL:
    """Untrained; a latent pixel is eight wide, and has 16 channels so that lines and handles survive."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths: Any = (16, 24, 48, 96)  # Any: diffusers types these as tuples of one
        down: Any = ("DownEncoderBlock2D",) * len(widths)
        up: Any = ("UpDecoderBlock2D",) * len(widths)
        vae = AutoencoderKL(
            block_out_channels=widths,
            down_block_types=down,
            up_block_types=up,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=1,  # more would take each group's brightness from it
            sample_size=128,
            mid_block_add_attention=False,
        )
        # Near the identity at first, which saves most of the steps: residual branches add nothing, all else
        # keeps lengths, and the last activations start where they are nearly linear.
        for name, module in vae.named_modules():
            if name.endswith("conv2"):
                nn.init.zeros_(module.weight)  # type: ignore[arg-type]
            elif isinstance(module, nn.Conv2d) and not name.endswith("conv1"):
                nn.init.orthogonal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif name.endswith("conv_norm_out"):
                nn.init.constant_(module.bias, 2.0)  # type: ignore[arg-type]
        return vae


def train_vae(
    draw: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray | None]],
    *,
    steps: int,
    batch: int,
    seed: int,
    folder: Path,
) -> AutoencoderKL:
    """Train on crops, `_OF_EACH` of a picture.

    Args:
        draw: gives a random picture, uint8 [H, W, 3] with sides of at least CROP, and where its crops shall
            be, bool [H, W], or None for anywhere.
        batch: crops in a step, a multiple of `_OF_EACH`.
        folder: for the training's state.

    Returns:
        the autoencoder, its scaling factor set so that latents have unit variance.
    """
    vae: Any = new_vae(seed)  # Any: diffusers' and torch's types leave out outputs and memory formats
    vae.to(memory_format=torch.channels_last)

    def crops(random: np.random.Generator) -> Tensor:
        found = []
        for _ in range(max(1, batch // _OF_EACH)):
            image, shown = draw(random)
            found += [_crop(image, shown, random) for _ in range(min(batch, _OF_EACH))]
        x = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x.contiguous(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, step))
        x = crops(random)
        posterior = vae.encode(x).latent_dist
        noise = torch.from_numpy(random.standard_normal(posterior.mean.shape, np.float32))
        y = vae.decode(posterior.mean + posterior.std * noise).sample
        weight = 1 + _EDGES * _steepness(x)
        return (
            (weight * (y - x).abs()).mean()
            + l1_loss(_differences(y), _differences(x))
            + _KL * posterior.kl().mean()
        )

    fit(vae, loss, steps=steps, learning_rate=1e-3, folder=folder, title="autoencoder", decay=0.998)
    vae.eval()
    with torch.no_grad():
        random = np.random.default_rng((seed, steps))
        some = torch.cat([crops(random) for _ in range(-(-256 // batch))])
        vae.register_to_config(scaling_factor=1 / vae.encode(some).latent_dist.mode().std().item())
    return vae


def _crop(image: np.ndarray, shown: np.ndarray | None, random: np.random.Generator) -> np.ndarray:
    centre = [int(random.integers(side)) for side in image.shape[:2]]
    if shown is not None and random.random() < 0.75 and shown.any():
        places = np.argwhere(shown)
        centre = places[random.integers(len(places))]
    top, left = (
        int(np.clip(c + random.integers(-CROP // 4, CROP // 4 + 1) - CROP // 2, 0, side - CROP))
        for c, side in zip(centre, image.shape, strict=False)
    )
    crop = image[top : top + CROP, left : left + CROP]
    return crop[:, ::-1] if random.random() < 0.5 else crop


def _differences(images: Tensor) -> Tensor:
    """Those of neighbours, to the right and below, and the same at half the size, in one row."""
    small = avg_pool2d(images, 2)
    return torch.cat([d.flatten() for i in (images, small) for d in (i.diff(dim=-1), i.diff(dim=-2))])


def _steepness(images: Tensor) -> Tensor:
    """[N, 1, h, w] in 0..1: the larger brightness difference to the left and right, or above and below."""
    grey = torch.nn.functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate") / 2
    across = (grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]).abs()
    along = (grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]).abs()
    return torch.maximum(across, along)
