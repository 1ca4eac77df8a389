"""The lab's autoencoder: diffusers' AutoencoderKL, small enough for a CPU, trained from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss

from simedit.lab.fit import fit

CROP = 64
LATENT_CHANNELS = 16
_KL = 1e-8
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
    images: np.ndarray,
    masks: np.ndarray,
    photographs: np.ndarray,
    *,
    steps: int,
    batch: int,
    seed: int,
    folder: Path,
) -> AutoencoderKL:
    """Train on crops, three in four of which show the cabinet.

    Args:
        images: uint8 [N, H, W, 3].
        masks: bool [N, H, W], where the cabinet is.
        photographs: uint8 [M, h, w, 3], of materials.
        folder: for the training's state.

    Returns:
        the autoencoder, its scaling factor set so that latents have unit variance.
    """
    vae: Any = new_vae(seed)  # Any: diffusers' and torch's types leave out outputs and memory formats
    vae.to(memory_format=torch.channels_last)

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, step))
        crops = np.stack([_crop(images, masks, photographs, random) for _ in range(batch)])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = x.contiguous(memory_format=torch.channels_last)
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
        some = torch.from_numpy(images[:: max(1, len(images) // 64)]).permute(0, 3, 1, 2) / 127.5 - 1
        vae.register_to_config(scaling_factor=1 / vae.encode(some).latent_dist.mode().std().item())
    return vae


def _crop(
    images: np.ndarray, masks: np.ndarray, photographs: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    if random.random() < 0.1:
        image = photographs[random.integers(len(photographs))]
        stride = random.integers(1, 3)
        image = image[::stride, ::stride]
        centre = random.integers(image.shape[0]), random.integers(image.shape[1])
    else:
        number = random.integers(len(images))
        image = images[number]
        centre = random.integers(image.shape[0]), random.integers(image.shape[1])
        shown = np.argwhere(masks[number])
        if random.random() < 0.75 and len(shown):
            centre = shown[random.integers(len(shown))]
    top, left = (
        int(np.clip(c + random.integers(-16, 17) - CROP // 2, 0, side - CROP))
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
