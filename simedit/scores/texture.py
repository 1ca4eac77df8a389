"""Patch features of texture and colour from a fixed filter bank, for machines without encoder weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, pad

from simedit.scores.hub import resize

GRID = 16  # patches along a side, as DreamSim's
SIDE = 256  # pixels along a side that the filters see
SCALES = 3
ORIENTATIONS = 4
WAVELENGTH = 4.0  # pixels of the finest stripes; each scale doubles it
VIVID = 0.4  # the difference of red and green, or of yellow and blue, that counts as the largest
HALF = 0.1  # the contrast, of 0..1, that lies half way to the highest


class Texture:
    """Images [N, 3, h, w] in 0..1 -> features [N, 16, 16, 36] of unit length. No weights, nothing random.

    A patch is measured by its mean colour (brightness, red against green, yellow against blue), by the
    spread of each, and by how strong stripes of 3 widths and 4 directions are in its brightness (Gabor
    filters). Each measure becomes an angle on half a circle and each angle its cosine and sine, so that the
    cosine of two patches is a mean of the cosines of their differences: 1 for the same patch, and falling
    with each difference, without any centre to choose. Colour and texture weigh the same.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [N, 16, 16, 36]; a NaN spreads to the patches around it."""
        opponents = _opponents(resize(images.float(), SIDE, SIDE))
        mean = adaptive_avg_pool2d(opponents, GRID)
        spread = (adaptive_avg_pool2d(opponents**2, GRID) - mean**2).clamp(min=0)
        contrast = torch.cat([_root(spread), _stripes(opponents[:, :1])], 1)
        return torch.cat([_circle(mean), _circle(contrast / (contrast + HALF))], 1).permute(0, 2, 3, 1)


def _root(squares: Tensor) -> Tensor:
    """Square roots; where they are 0 without a gradient, which would be infinite."""
    return squares.where(squares != 0, 1).sqrt() * (squares != 0)


def _opponents(images: Tensor) -> Tensor:
    """Brightness, red-green and yellow-blue, [N, 3, h, w], in 0..1; of the latter two a half is neutral.

    Few materials' colours differ by more than VIVID; a score that left room for all would not see that grey
    has turned brown.
    """
    red, green, blue = images.unbind(1)
    differences = torch.stack([red - green, (red + green) / 2 - blue], 1)
    brightness = (red + green + blue)[:, None] / 3
    return torch.cat([brightness, (1 + (differences / VIVID).clamp(-1, 1)) / 2], 1)


def _circle(measures: Tensor) -> Tensor:
    """Measures [N, M, h, w] in 0..1 as points on half circles, [N, 2 M, h, w] of squared length 1/2."""
    angles = math.pi * measures
    return torch.cat([angles.cos(), angles.sin()], 1) / math.sqrt(2 * measures.shape[1])


def _stripes(brightness: Tensor) -> Tensor:
    """Mean amplitudes [N, 12, 16, 16] of stripes in brightness [N, 1, 256, 256]: 1/2 for full contrast."""
    filters = _gabor_filters().to(brightness)
    reach = filters.shape[-1] // 2
    amplitudes = []
    for _ in range(SCALES):
        responses = conv2d(pad(brightness, (reach,) * 4, mode="reflect"), filters).unflatten(1, (2, -1))
        amplitudes.append(adaptive_avg_pool2d(_root(responses.square().sum(1)), GRID))
        brightness = avg_pool2d(brightness, 2)
    return torch.cat(amplitudes, 1)


def _gabor_filters() -> Tensor:
    """Even, then odd filters, [2 x 4, 1, k, k], blind to flat brightness, of gain 1 for their own stripes."""
    sigma = WAVELENGTH / 2
    reach = math.ceil(2.5 * sigma)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    theta = torch.arange(ORIENTATIONS).view(-1, 1, 1) * math.pi / ORIENTATIONS
    phase = 2 * math.pi / WAVELENGTH * (x * theta.cos() + y * theta.sin())
    even = window * phase.cos()
    even = even - window * (even.sum((1, 2), keepdim=True) / window.sum())
    return 2 / window.sum() * torch.cat([even, window * phase.sin()]).unsqueeze(1)
