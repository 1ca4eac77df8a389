"""How fast this machine computes what a training computes most: convolutions of the U-Net's widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import nn

from simedit.training.config import TrainConfig

WIDTHS = (320, 640, 1280, 1280)
"""Stable Diffusion's, which are the U-Net class's defaults."""

_SECONDS = 0.3
"""For each width, after a first run that only warms up."""
_WIDEST = 2048


@dataclass(frozen=True)
class Speed:
    """What a device sustains.

    Attributes:
        device: in words.
        flops: operations a second.
    """

    device: str
    flops: float


def measured(config: TrainConfig, unet: Mapping[str, Any], device: str | torch.device) -> Speed:
    """The device's speed on norms and convolutions as in a U-Net with that config, without gradients, in the
    training's precision and batches. Takes about two seconds.
    """
    device = torch.device(device)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    most = 2e9 if device.type == "cpu" else 2e11  # operations in one run
    frames = config.sampling.edits * config.style.scales.branches * config.sampling.batch_size
    operations = seconds = 0.0
    for level, width in enumerate(unet.get("block_out_channels", WIDTHS)):
        width = min(width, _WIDEST)
        height, across = (max(1, side // 8 // 2**level) for side in (config.height, config.width))
        while (each := 2 * 9 * width**2 * height * across) > most and height * across > 64:
            height, across = max(1, height // 2), max(1, across // 2)
        batch = int(max(1, min(frames, most // each)))
        block = nn.Sequential(nn.GroupNorm(1, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))
        block.requires_grad_(False).to(device, dtype)
        x = torch.randn(batch, width, height, across, device=device, dtype=dtype)
        block(x)[0, 0, 0, 0].item()  # a GPU works on while Python goes ahead, unless it is asked for a number
        runs, started = 0, perf_counter()
        while (taken := perf_counter() - started) < _SECONDS or not runs:
            block(x)[0, 0, 0, 0].item()
            runs += 1
        operations += each
        seconds += taken / runs / batch
    return Speed(_named(device), operations / seconds)


def _named(device: torch.device) -> str:
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{threads} thread{'s' * (threads != 1)}"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
