"""An edit and its frame in one picture: the edit inside the mask, the frame's fine detail in the edit."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from simedit.errors import SimeditError
from simedit.window import extents as extents  # with the rest, what `simedit.on_device` has too

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
DARK = 8 / 255  # keeps the ratio of two dark pixels near 1
_NEIGHBOURS = np.ones((3, 3), np.uint8)


def like(frames: np.ndarray, images: Any) -> np.ndarray:
    """A tensor as what its frames are: an array."""
    return images.cpu().numpy()


def check(frames: np.ndarray, masks: np.ndarray) -> None:
    """Refuse what are no frames, uint8 [N, H, W, 3], or no masks of them, bool [N, H, W].

    Raises:
        SimeditError: says what they must be and what they are.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise SimeditError(f"frames must be uint8 [N,H,W,3], got {frames.dtype} {list(frames.shape)}")
    if masks.dtype != bool or masks.shape != frames.shape[:3]:
        raise SimeditError(
            f"masks must be bool {list(frames.shape[:3])}, one for each frame, "
            f"got {masks.dtype} {list(masks.shape)}"
        )


def compose(frames: np.ndarray, edits: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Show each edit inside its mask and the frame, bit for bit, outside.

    On the mask's border pixels an edit often has some of what is beside them: they take their colour from
    the edit's pixels further inside, and nothing from the frame. Where the mask runs off the picture there is
    no border. An empty mask gives the frame, a full one the edit.

    Args:
        frames: uint8 [N, H, W, 3], RGB.
        edits: uint8 [N, H, W, 3], the same frames repainted.
        masks: bool [N, H, W], True where the edit may show.

    Returns:
        uint8 [N, H, W, 3], a new array.

    Raises:
        SimeditError: a wrong shape or dtype.
    """
    check(frames, masks)
    if edits.dtype != np.uint8 or edits.shape != frames.shape:
        raise SimeditError(
            f"edits must be uint8 {list(frames.shape)} like the frames, got {edits.dtype} {list(edits.shape)}"
        )
    composed = frames.copy()
    for out, edit, mask in zip(composed, edits, masks, strict=True):
        out[mask] = edit[mask]
        core = cv2.erode(mask.astype(np.uint8), _NEIGHBOURS).astype(np.float32)
        rim = mask & (core == 0)
        if not rim.any():
            continue
        around = cv2.blur(core, (5, 5), borderType=cv2.BORDER_ISOLATED)
        carried = cv2.blur(edit * core[..., None], (5, 5), borderType=cv2.BORDER_ISOLATED)
        rim &= around > 0.01  # else the mask is too thin to have an inside
        out[rim] = np.rint(carried[rim] / around[rim, None])
    return composed


def shrunk(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Images, uint8 [N, H, W, 3], or masks, bool [N, H, W], at another size: frames as they would have been
    rendered, masks where half a pixel is in them, or where there is no such pixel, any part of one."""
    values = images.astype(np.uint8) * 255 if images.dtype == bool else images
    way = cv2.INTER_AREA if height < images.shape[1] else cv2.INTER_LINEAR
    found = np.stack([cv2.resize(image, (width, height), interpolation=way) for image in values])
    if images.dtype != bool:
        return found
    return np.stack([mask > (127 if (mask > 127).any() else 0) for mask in found])


def brought_back(
    frames: np.ndarray, small: np.ndarray, edits: np.ndarray, kept: np.ndarray | None
) -> np.ndarray:
    """Edits that were made at another size, at their frames' size and with their frames' own fine detail.

    A pixel's colour comes from those of the edit that lie in the mask, so that nothing beside it leaks in.

    Args:
        frames: uint8 [N, H, W, 3].
        small: uint8 [N, h, w, 3], the frames at the edits' size.
        edits: uint8 [N, h, w, 3].
        kept: bool [N, h, w], the masks at the edits' size, or None for everywhere.

    Returns:
        uint8 [N, H, W, 3].
    """
    size = frames.shape[2], frames.shape[1]
    found = np.empty_like(frames)
    for i, frame in enumerate(frames):
        inside = np.ones(small.shape[1:3], np.float32) if kept is None else kept[i].astype(np.float32)
        share = cv2.resize(inside, size)[..., None]
        edit, before = (
            cv2.resize(image * inside[..., None], size) / np.maximum(share, 1e-3) / 255
            for image in (edits[i], small[i])
        )
        near = share > 0.02
        # Where the small mask has nothing near, the edit as it is.
        edit = np.where(near, edit, cv2.resize(edits[i], size) / np.float32(255))
        before = np.where(near, before, frame / np.float32(255))
        found[i] = np.rint(restore_detail(frame[None], edit[None], before[None])[0] * 255)
    return found


def restore_detail(frames: np.ndarray, edits: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Give edits back what the autoencoder loses of their frames: thin lines, small handles.

    The edit's brightness is multiplied by the frame's over that of the frame once encoded and decoded, at
    most doubled (a ratio image, Liu et al. 2001). Where the autoencoder keeps the frame nothing changes, so
    its material must be plainer than what the autoencoder keeps: a texture finer than that comes back too.

    Args:
        frames: uint8 [N, H, W, 3].
        edits: float [N, H, W, 3] in 0..1.
        decoded: float [N, H, W, 3] in 0..1, the frames after encoding and decoding.

    Returns:
        float [N, H, W, 3] in 0..1.
    """
    before, after = (images @ LUMA + DARK for images in (frames / np.float32(255), decoded))
    return np.clip(edits * np.clip(before / after, 0, 2)[..., None], 0, 1)


def as_bytes(edits: np.ndarray) -> np.ndarray:
    """uint8 of floats in 0..1."""
    return (edits * 255).round().astype(np.uint8)
