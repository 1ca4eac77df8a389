"""What `simedit.composition` does with arrays, for tensors: all of it on their device, with their colours
within rounding of the arrays'. Function by function the arguments are the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from simedit.composition import DARK, LUMA
from simedit.window import Extent


def like(frames: Tensor, images: Tensor) -> Tensor:
    return images


def as_bytes(edits: Tensor) -> Tensor:
    return (edits * 255).round().to(torch.uint8)


def extents(masks: Tensor) -> list[Extent | None]:
    """See `simedit.window.extents`: the one thing that the host must know, five numbers for each mask."""
    rows, columns = (masks.any(axis).to(torch.uint8) for axis in (2, 1))
    ends = []
    for shown in (rows, columns):
        ends += [shown.argmax(1), shown.shape[1] - shown.flip(1).argmax(1)]
    found = torch.stack([*ends, rows.amax(1).long()], 1).tolist()
    return [(top, bottom, left, right) if some else None for top, bottom, left, right, some in found]


def compose(frames: Tensor, edits: Tensor, masks: Tensor) -> Tensor:
    shown = masks[:, None]
    # What lies outside the picture counts as inside to the erosion, and as nothing to the mean.
    core = -max_pool2d(-shown.float(), 3, 1, 1)
    around = avg_pool2d(core, 5, 1, 2)
    carried = avg_pool2d(_channels_first(edits).float() * core, 5, 1, 2)
    rim = shown & (core == 0) & (around > 0.01)
    inner = (carried / around.clamp(min=0.01)).round().to(torch.uint8)
    inside = torch.where(rim, inner, _channels_first(edits))
    return torch.where(masks[..., None], _channels_last(inside), frames)


def shrunk(images: Tensor, height: int, width: int) -> Tensor:
    values = images[..., None].float() * 255 if images.dtype == torch.bool else images.float()
    if height < images.shape[1]:
        rows = _shares(images.shape[1], height, values)
        columns = _shares(images.shape[2], width, values)
        found = torch.einsum("hy,nyxc,wx->nhwc", rows, values, columns)
    else:
        found = _channels_last(_resized(_channels_first(values), height, width))
    if images.dtype != torch.bool:
        return found.round().clamp(0, 255).to(torch.uint8)
    found = found[..., 0].round()
    half = found > 127
    return torch.where(half.flatten(1).any(1)[:, None, None], half, found > 0)


def brought_back(frames: Tensor, small: Tensor, edits: Tensor, kept: Tensor | None) -> Tensor:
    height, width = frames.shape[1:3]
    inside = torch.ones_like(small[:, None, ..., 0]) if kept is None else kept[:, None]
    inside = inside.float()
    share = _resized(inside, height, width)
    floats = [_channels_first(images).float() for images in (edits, small)]
    edit, before = (_resized(image * inside, height, width) / share.clamp(min=1e-3) / 255 for image in floats)
    near = share > 0.02
    edit = torch.where(near, edit, _resized(floats[0], height, width).round() / 255)
    before = torch.where(near, before, _channels_first(frames) / 255)
    return as_bytes(restore_detail(frames, _channels_last(edit), _channels_last(before)))


def restore_detail(frames: Tensor, edits: Tensor, decoded: Tensor) -> Tensor:
    luma = torch.tensor(LUMA, device=frames.device)
    before, after = (images @ luma + DARK for images in (frames / 255, decoded))
    return (edits * (before / after).clamp(0, 2)[..., None]).clamp(0, 1)


def _channels_first(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2)


def _channels_last(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    return interpolate(images, (height, width), mode="bilinear", align_corners=False)


def _shares(side: int, size: int, like: Tensor) -> Tensor:
    """[size, side]: how much of each of `side` pixels goes into each of `size`, OpenCV's INTER_AREA."""
    scale = side / size
    begin = torch.arange(size, device=like.device)[:, None] * scale
    pixel = torch.arange(side, device=like.device)
    both = torch.minimum(begin + scale, pixel + 1) - torch.maximum(begin, pixel)
    return (both.clamp(min=0) / scale).to(like.dtype)
