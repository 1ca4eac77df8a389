"""An edit and its frame in one picture: the edit inside the mask, the frame's fine detail in the edit."""

from __future__ import annotations

import cv2
import numpy as np

from simedit.errors import SimeditError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_DARK = 8 / 255  # keeps the ratio of two dark pixels near 1


def compose(
    frames: np.ndarray, edits: np.ndarray, masks: np.ndarray, *, feather: int | None = None
) -> np.ndarray:
    """Show each edit inside its mask and the frame, bit for bit, outside.

    The seam is softened on the inside only: from the mask's border inwards the edit's weight rises
    linearly, from 1 / (feather + 1) on the border pixel to 1 at `feather` pixels from it. Where the mask
    runs off the picture there is no seam, and no ramp. An empty mask gives the frame, a full one the edit.

    Args:
        frames: uint8 [N, H, W, 3], RGB.
        edits: uint8 [N, H, W, 3], the same frames repainted.
        masks: bool [N, H, W], True where the edit may show.
        feather: width of the ramp in pixels; 0 cuts hard. None is 3 for frames 512 pixels high, and in
            proportion for others.

    Returns:
        uint8 [N, H, W, 3], a new array.

    Raises:
        SimeditError: a wrong shape or dtype, or a negative feather.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise SimeditError(f"frames must be uint8 [N,H,W,3], got {frames.dtype} {list(frames.shape)}")
    if edits.dtype != np.uint8 or edits.shape != frames.shape:
        raise SimeditError(
            f"edits must be uint8 {list(frames.shape)} like the frames, got {edits.dtype} {list(edits.shape)}"
        )
    if masks.dtype != bool or masks.shape != frames.shape[:3]:
        raise SimeditError(
            f"masks must be bool {list(frames.shape[:3])}, one for each frame, "
            f"got {masks.dtype} {list(masks.shape)}"
        )
    if feather is None:
        feather = round(3 * frames.shape[1] / 512)
    if feather < 0:
        raise SimeditError(f"feather must be 0 or more pixels, got {feather}")
    composed = np.empty_like(frames)
    for out, frame, edit, mask in zip(composed, frames, edits, masks, strict=True):
        distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        weight = np.minimum(distance / (feather + 1), 1.0)[..., None]
        out[:] = np.rint(frame + weight * (edit.astype(np.float32) - frame))
    return composed


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
    before, after = (images @ _LUMA + _DARK for images in (frames / np.float32(255), decoded))
    return np.clip(edits * np.clip(before / after, 0, 2)[..., None], 0, 1)
