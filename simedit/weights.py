"""Weights in files and in memory: how many there are, and that they are numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from simedit.errors import SimeditError


def check_finite(weights: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Check that weights are numbers.

    Raises:
        SimeditError: one is NaN or infinite.
    """
    for name, weight in weights:
        # NaN is both the least and the greatest; to ask each number takes forty times as long.
        if weight.is_floating_point() and weight.numel():
            ends = torch.stack(torch.aminmax(weight.detach()))
            if not ends.isfinite().all():
                hint = ": load it in float32 or bfloat16" if weight.dtype == torch.float16 else ""
                raise SimeditError(f"{where}: the weight {name} is not finite in {weight.dtype}{hint}")


def numbers_in(folder: Path) -> int:
    """How many numbers the safetensors of a folder hold."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                total += torch.Size(file.get_slice(name).get_shape()).numel()
    return total
