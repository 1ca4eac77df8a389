"""What a specialist is worth: how near edits come to its photographs laid on the frames, and what they keep.

No training sees these measures: they are simple statistics of the pixels inside the mask.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from simedit.training.data import fit
from simedit.training.painted import LUMA, frame_shading, paint, usual_brightness

NEAR = 1.5
"""Pixels within which an edge counts as kept."""
DARK = 0.1
"""Of the usual brightness, linear: what is darker in a frame is a detail, such as a handle."""
DOUBLED = 10.0
"""In `distance` twice as much texture counts as much as so many steps of colour."""

_CANNY = (50, 100)
_AROUND = np.ones((7, 7), np.uint8)
_SIZES = (1.0, 2.0, 4.0)


def distance(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """How differently two pictures of one scene, uint8 [H, W, 3], look in a mask: their `colour_distance` and
    the difference of their `texture` in one Euclidean length."""
    apart = np.abs(texture(one, mask) - texture(other, mask)).mean()
    return float(np.hypot(colour_distance(one, other, mask), DOUBLED * apart))


def colour_distance(one: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """How far apart the colours of two pictures, uint8 [H, W, 3], are in a mask: the Wasserstein distances of
    L, a and b (CIE, D65), as one Euclidean length. 1 is hardly seen, 10 is another colour."""
    found = [np.sort(_lab(picture)[mask], axis=0) for picture in (one, other)]
    return float(np.linalg.norm(np.abs(found[0] - found[1]).mean(0))) if mask.any() else 0.0


def texture(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float64 [3]: how strong detail of three sizes is in a picture's brightness inside a mask, log 2."""
    light, weight = _lab(picture)[..., 0], mask.astype(np.float32)
    levels = [light]
    for sigma in _SIZES:
        blurred = cv2.GaussianBlur(light * weight, (0, 0), sigma)
        levels.append(blurred / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6))
    pairs = itertools.pairwise(levels)
    return np.log2(
        [np.abs(fine - coarse)[mask].mean() + 0.5 if mask.any() else 0.5 for fine, coarse in pairs]
    )


def edges_kept(frame: np.ndarray, edit: np.ndarray, mask: np.ndarray) -> float:
    """The share of the frame's Canny edges in the mask that the edit has too, within NEAR pixels."""
    before, after = (cv2.Canny(cv2.GaussianBlur(image, (0, 0), 1), *_CANNY) > 0 for image in (frame, edit))
    wanted = before & mask
    apart = cv2.distanceTransform((~after).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((apart[wanted] <= NEAR).mean()) if wanted.any() else 1.0


def detail_contrast(edit: np.ndarray, mask: np.ndarray, shading: np.ndarray) -> float:
    """How much darker an edit, uint8 [H, W, 3], is on the frame's dark details than around them, in shares of
    white; not a number where the frame, of that shading, has none."""
    dark = mask & (shading < DARK)
    around = mask & (shading > 0.6) & (cv2.dilate(dark.astype(np.uint8), _AROUND) > 0)
    if not dark.any() or not around.any():
        return float("nan")
    light = edit / np.float32(255) @ LUMA
    return float(light[around].mean() - light[dark].mean())


def measure(
    frames: np.ndarray,
    masks: np.ndarray,
    photographs: Sequence[np.ndarray],
    edits: np.ndarray,
    others: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Compare a style's edits with its photographs laid on the frames, and with other pictures of the frames.

    Args:
        frames: uint8 [N, H, W, 3].
        masks: bool [N, H, W], none empty.
        photographs: uint8 [h, w, 3] each.
        edits: uint8 [N, H, W, 3], of the frames in the style.
        others: by name, uint8 [N, H, W, 3]: the frames themselves, the base's edits, other styles'.

    Returns:
        JSON: "distance" to the photographs (the mean over them) of "edit" and each of the others, a mean over
        the frames; "nearest": on how many frames the edit is nearer than all others but the base's; "colour":
        the `colour_distance` of the edits and of the frames ("raw"); "edges" and "details": what the edits
        keep of the frames' edges and of their dark details' contrast, beside what the photographs laid on
        them keep ("..._laid"; details null where the frames have none).
    """
    height, width = frames.shape[1:3]
    flat, usual = (
        [fit(photograph, width, height) for photograph in photographs],
        usual_brightness(frames, masks),
    )
    pictures = {"edit": edits, **others}
    apart: dict[str, list[float]] = {name: [] for name in pictures}
    sums: dict[str, list[float]] = {
        key: [] for key in ("edit", "raw", "edges", "edges_laid", "kept", "kept_laid")
    }
    for i, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        shading = frame_shading(frame, usual)
        laid = [paint(frame, mask, photograph, shading) for photograph in flat]
        for name, found in pictures.items():
            apart[name].append(float(np.mean([distance(found[i], one, mask) for one in laid])))
        sums["edit"].append(float(np.mean([colour_distance(edits[i], one, mask) for one in laid])))
        sums["raw"].append(float(np.mean([colour_distance(frame, one, mask) for one in laid])))
        sums["edges"].append(edges_kept(frame, edits[i], mask))
        sums["edges_laid"].append(float(np.mean([edges_kept(frame, one, mask) for one in laid])))
        sums["kept"].append(detail_contrast(edits[i], mask, shading))
        sums["kept_laid"].append(float(np.mean([detail_contrast(one, mask, shading) for one in laid])))
    rivals = [values for name, values in apart.items() if name not in ("edit", "base")]
    nearest = np.all([np.array(apart["edit"]) < values for values in rivals], 0)
    means = {key: float(np.nanmean(v)) if np.isfinite(v).any() else None for key, v in sums.items()}
    return {
        "frames": len(frames),
        "distance": {name: float(np.mean(values)) for name, values in apart.items()},
        "nearest": int(np.sum(nearest)),
        "colour": {"edit": means["edit"], "raw": means["raw"]},
        "edges": means["edges"],
        "edges_laid": means["edges_laid"],
        "details": means["kept"],
        "details_laid": means["kept_laid"],
    }


def verdict(name: str, found: Mapping[str, Any]) -> str:
    """One plain sentence on what `measure` found, and what to try where it is not good.

    Args:
        name: the style's.
    """
    apart, frames = found["distance"], found["frames"]
    rivals = {other: value for other, value in apart.items() if other not in ("edit", "base")}
    closer = {other: value for other, value in rivals.items() if value <= apart["edit"]}
    problems = []
    if closer:
        worst = min(closer, key=lambda other: closer[other])
        problems.append(
            f"nearer to the photographs are {_told(worst)} ({closer[worst]:.1f} against {apart['edit']:.1f})"
        )
    elif found["nearest"] < 0.8 * frames:
        problems.append(
            f"its edits are the nearest to the photographs on {found['nearest']} of {frames} frames alone"
        )
    if found["colour"]["edit"] > 0.5 * found["colour"]["raw"]:
        problems.append(
            f"its colours are {found['colour']['edit']:.0f} from the photographs', the raw frames' are "
            f"{found['colour']['raw']:.0f}"
        )
    if found["edges"] < min(0.93, 0.95 * found["edges_laid"]):
        problems.append(
            f"it keeps {found['edges']:.0%} of the frames' edges, {found['edges_laid']:.0%} could be kept"
        )
    if found["details"] is not None and found["details"] < 0.8 * found["details_laid"]:
        share = found["details"] / max(found["details_laid"], 1e-6)
        problems.append(
            f"dark details, such as handles, have {share:.0%} of the contrast that they could have"
        )
    gain = 1 - apart["edit"] / max(apart["base"], 1e-6)
    added = (
        f"{gain:.0%} nearer than" if gain >= 0.05 else "about as near as" if gain > -0.05 else "farther than"
    )
    told = f"The training brought it to {apart['edit']:.1f} from its photographs, {added} the base alone."
    if not problems:
        return (
            f"{name} looks like its photographs: nearer to them than {_list(apart)} on {found['nearest']} of "
            f"{frames} frames, with {found['edges']:.0%} of their edges kept. {told}"
        )
    return (
        f"{name} is not good yet: {'; '.join(problems)}. {told} Look at worth.png. What helps: sharp "
        "photographs, filled by the material alone and in one light; a longer warm_start; a base that knows "
        "such frames."
    )


def _told(other: str) -> str:
    return "the raw frames" if other == "raw" else f"{other}'s edits"


def _list(apart: Mapping[str, float]) -> str:
    others = [name for name in apart if name not in ("edit", "raw", "base")]
    return "the raw frames" + (f" and {len(others)} other specialists' edits" if others else "")


def strip(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures, uint8 [h, w, 3] of one size, in rows, with a gap; uint8 [H, W, 3]."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    sheet = Image.new("RGB", (columns * (width + 4) - 4, len(rows) * (height + 4) - 4), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (j * (width + 4), i * (height + 4)))
    return np.array(sheet)


def _lab(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
