"""Is the editor any good? What is measured on frames that no training has seen, and how it looks."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from peft import get_peft_model
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from simedit.envs.inputs import TwinInputs
from simedit.errors import SimeditError
from simedit.lab.materials import FRONT, GAMMA
from simedit.lab.pairs import HEIGHT, WIDTH
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.protocols import Editor
from simedit.scores import Targets
from simedit.scores.encoders import load_encoder
from simedit.scores.semantic import Semantic
from simedit.scores.structural import Canny
from simedit.specialist import Specialist, adapter_weights, lora_config
from simedit.training.config import CannyConfig, SemanticConfig, TwinConfig
from simedit.training.data import fit
from simedit.training.preference import total

HELD_OUT = 5_000_000
"""The seed of held-out frames: no training is to use it."""
NEAR = 2
"""Pixels within which two edges agree."""

_SHOWN = 0.08  # the least share of a held-out frame that is cabinet
_CROPS = 30  # of each photograph, for the classifier
_SHRINKAGE = 0.05  # of the classifier's covariance towards its diagonal
_PLAIN = CannyConfig()  # OpenCV's usual thresholds, no blur
_GAP = 4  # pixels between pictures


def held_out(count: int = 10, seed: int = HELD_OUT) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the twin, uint8 [count, 128, 160, 3], and their masks, bool, each at least 8 % cabinet."""
    inputs = TwinInputs(TwinConfig(frames=10 * count, jitter=0.05), WIDTH, HEIGHT, seed)
    found = []
    try:
        for i in range(len(inputs)):
            if len(found) < count and (pair := inputs[i])[1].mean() >= _SHOWN:
                found.append(pair)
    finally:
        inputs.close()
    frames, masks = zip(*found, strict=True)
    return np.stack(frames), np.stack(masks)


def untrained_library(
    base: SpecialistPipeline, specialists: Sequence[Specialist], *, steps: int | None = None
) -> SpecialistLibrary:
    """The base alone behind the specialists' instructions, scales, samplers and steps (or `steps`).

    Its adapters change nothing and it does not see the style image. It owns `base` from then on.
    """
    library = SpecialistLibrary(base, steps=steps)
    unet = copy.deepcopy(base.unet)
    for specialist in specialists:
        card = specialist.card
        adapted: Any = get_peft_model(unet, lora_config(card.lora_rank, card.lora_alpha))
        weights = adapter_weights(adapted, "default", base.style_attention)
        unet = adapted.unload()
        card = card.model_copy(update={"training": None})
        library.add(Specialist(card, weights, specialist.style_images))
    return library


def measure(
    trained: Editor,
    untrained: Editor,
    specialists: Sequence[Specialist],
    frames: np.ndarray,
    masks: np.ndarray,
    *,
    seed: int = 0,
    canny: CannyConfig = CannyConfig(low=50, high=100, blur=1.0),  # noqa: B008 (frozen)
    semantic: SemanticConfig = SemanticConfig(encoder="texture"),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Edit every frame in every specialist's style and judge the edits.

    Args:
        trained: has the specialists' styles.
        untrained: the same styles without their training, see `untrained_library`.
        specialists: their cards, and the style images that edits are compared with.
        frames, masks: from `held_out`.
        seed: frame i's noise has seed + i, in both editors and all styles.
        canny, semantic: the scores' settings, as the specialists were trained with.

    Returns:
        JSON: for each of `styles`
        outside (mean and max): absolute change outside the mask, of 255, under composition `mask`;
        own: the share of frames whose cabinet is nearest to the style's own photographs; nearest: how many
            are nearest to which; distance: the median `StyleJudge` distance to its own;
        edges, edges_plain: agreement with the raw frames' edges, see `edge_agreement`, with `canny` and with
            OpenCV's usual settings;
        scores: the training's own, of whole edits, lower is better, against every style image and averaged:
            the means of both editors, and the share of frames for which the trained one is better (total:
            both scores standardised over the style's edits and added, as in training);
        and for `raw` frames, what they are nearest to, and how near.

    Raises:
        SimeditError: no specialists or no frames.
    """
    if not len(specialists) or not len(frames):
        raise SimeditError(f"nothing to measure: {len(specialists)} specialists, {len(frames)} frames")
    boards = np.stack([lit_boards(*pair) for pair in zip(frames, masks, strict=True)])
    if not boards.any((1, 2)).all():
        raise SimeditError(
            "some frame shows too little of the cabinet to be judged: take those of `held_out`"
        )
    names = [s.card.style for s in specialists]
    judge = StyleJudge([s.style_images for s in specialists], boards, seed=seed)
    scores = (
        Canny(canny.low, canny.high, canny.blur),
        Semantic(load_encoder(semantic, "cpu"), semantic.outside),
    )
    seeds = [seed + i for i in range(len(frames))]
    styles: dict[str, Any] = {}
    for specialist in specialists:
        style = specialist.card.style
        whole = [e.edit(frames, styles=[style] * len(frames), seeds=seeds) for e in (trained, untrained)]
        edits = trained.edit(frames, styles=[style] * len(frames), masks=masks, seeds=seeds)
        change = np.abs(edits.astype(int) - frames)[~masks]
        apart = judge.distances(edits, boards)
        nearest = [names[i] for i in apart.argmin(1)]
        styles[style] = {
            "outside": {"mean": float(change.mean()), "max": int(change.max(initial=0))},
            "own": float(np.mean([name == style for name in nearest])),
            "nearest": _counts(nearest),
            "distance": float(np.median(apart[:, names.index(style)])),
            "edges": _mean_agreement(frames, edits, masks, canny),
            "edges_plain": _mean_agreement(frames, edits, masks, _PLAIN),
            "scores": _compare(scores[0], scores[1], specialist, np.stack(whole, 1), frames, masks),
        }
    raw = judge.distances(frames, boards)
    return {
        "frames": len(frames),
        "seed": seed,
        "raw": {
            "nearest": _counts([names[i] for i in raw.argmin(1)]),
            "distance": float(np.median(raw.min(1))),
        },
        "styles": styles,
    }


def lit_boards(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """bool [H, W], where a raw frame shows the cabinet's outer boards: no handle, no inside, no border.

    Args:
        frame: uint8 [H, W, 3], as rendered with the primitive skin.
        mask: bool [H, W], True on the cabinet.
    """
    light = (frame / 255.0) ** GAMMA @ np.array([0.3, 0.59, 0.11])
    boards = (mask & (light > 0.6 * FRONT)).astype(np.uint8)
    return cv2.erode(boards, np.ones((5, 5), np.uint8)) > 0


class StyleJudge:
    """How far a region's colour and texture are from those of each style's photographs.

    Fitted on photographs alone: random crops of each, at the frames' scale and seen through random frames'
    regions. The distance is Mahalanobis', with the styles' pooled, slightly shrunk covariance.

    Args:
        photographs: of each style, uint8 [h, w, 3] each.
        regions: bool [N, H, W], shapes such as the regions to judge have, none empty.
        seed: of the crops.
    """

    def __init__(
        self, photographs: Iterable[Sequence[np.ndarray]], regions: np.ndarray, *, seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        _, height, width = regions.shape
        samples = [
            [
                region_statistics(_crop(picture, height, width, random), random.choice(regions))
                for picture in pictures
                for _ in range(_CROPS)
            ]
            for pictures in photographs
        ]
        self._means = np.stack([np.mean(found, 0) for found in samples])
        covariance = np.mean([np.cov(np.transpose(found)) for found in samples], 0)
        covariance += _SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)
        self._inverse = np.linalg.inv(covariance)

    def distances(self, frames: np.ndarray, regions: np.ndarray) -> np.ndarray:
        """float64 [N, styles], of the regions bool [N, H, W] of frames uint8 [N, H, W, 3]; about 3 is typical
        of a style's own photographs."""
        found = [region_statistics(*one) for one in zip(frames, regions, strict=True)]
        apart = np.stack(found)[:, None] - self._means
        return np.sqrt(np.einsum("nsi,ij,nsj->ns", apart, self._inverse, apart))


def region_statistics(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """float64 [11]: of the pixels in a region, bool [H, W], of an image, uint8 [H, W, 3].

    Mean and log spread of brightness, red-green and yellow-blue; how far its darkest and brightest
    twentieths lie from the mean brightness; the log strength of detail of three sizes. Nothing outside the
    region counts.
    """
    red, green, blue = np.moveaxis(image.astype(np.float32) / 255, -1, 0)
    opponents = np.stack([(red + green + blue) / 3, red - green, (red + green) / 2 - blue], -1)
    inside = opponents[region]
    weight = region.astype(np.float32)
    levels = [opponents[..., 0]]
    for sigma in (1.0, 2.0, 4.0):
        blurred = cv2.GaussianBlur(opponents[..., 0] * weight, (0, 0), sigma)
        levels.append(blurred / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6))
    details = [np.abs(fine - coarse)[region].mean() for fine, coarse in itertools.pairwise(levels)]
    mean = inside.mean(0)
    tails = np.percentile(inside[:, 0], [5, 95]) - mean[0]
    return np.concatenate([mean, np.log(inside.std(0) + 0.01), tails, np.log(np.array(details) + 0.003)])


def edge_agreement(
    frame: np.ndarray, edit: np.ndarray, mask: np.ndarray, canny: CannyConfig
) -> dict[str, float]:
    """How well the Canny edges of an edit agree with the frame's, in the mask grown by NEAR pixels.

    Args:
        frame, edit: uint8 [H, W, 3].
        mask: bool [H, W].
        canny: thresholds and blur.

    Returns:
        recall: the share of the frame's edges with an edge of the edit within NEAR pixels; precision: the
        other way round; f1: their harmonic mean. Without any edges to find, a share is 1.
    """
    images = torch.from_numpy(np.stack([frame, edit])).permute(0, 3, 1, 2) / 255
    before, after = Canny(canny.low, canny.high, canny.blur).maps(images).numpy() > 0
    size = 2 * NEAR + 1
    around = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))) > 0
    recall, precision = _found(before & around, after), _found(after & around, before)
    f1 = 2 * recall * precision / max(recall + precision, 1e-9)
    return {"f1": f1, "recall": recall, "precision": precision}


def strip(
    library: Editor,
    styles: Sequence[str],
    frame: np.ndarray,
    mask: np.ndarray,
    seed: int = 0,
    *,
    columns: int = 4,
    scale: int = 2,
) -> np.ndarray:
    """The frame and its edits in the styles, composed in the mask, enlarged and labelled; uint8 [h, w, 3].

    Args:
        frame: uint8 [H, W, 3].
        mask: bool [H, W].
        seed: of every edit's noise.
        columns: pictures in a row.
        scale: how many times as large.
    """
    n = len(styles)
    frames, masks = np.repeat(frame[None], n, 0), np.repeat(mask[None], n, 0)
    edits = library.edit(frames, styles=styles, masks=masks, seeds=[seed] * n)
    height, width = frame.shape[0] * scale, frame.shape[1] * scale
    line, font = 24, ImageFont.load_default(16)
    rows = -(-(n + 1) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(zip(("raw", *styles), (frame, *edits), strict=True)):
        left, top = i % columns * (width + _GAP), i // columns * (height + line)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        middle = (left + width / 2, top + height + line / 2)
        draw.text(middle, name.replace("_", " "), (40, 40, 40), font, anchor="mm")
    return np.array(sheet)


def _compare(
    structural: Canny,
    semantic: Semantic,
    specialist: Specialist,
    edits: np.ndarray,
    frames: np.ndarray,
    masks: np.ndarray,
) -> dict[str, Any]:
    """The training's scores of edits uint8 [N, 2, H, W, 3], the trained editor's and the untrained one's."""
    height, width = frames.shape[1:3]
    images = _tensor(edits)
    against = [
        Targets(
            inputs=_tensor(frames),
            masks=torch.from_numpy(masks),
            styles=_tensor(np.repeat(fit(style, width, height)[None], len(frames), 0)),
            style_masks=torch.ones(len(frames), height, width, dtype=torch.bool),
        )
        for style in specialist.style_images
    ]
    found = {
        "structural": structural(images, against[0]),
        "semantic": torch.stack([semantic(images, targets) for targets in against]).mean(0),
    }
    better = found | {"total": total(*found.values())}
    return {
        **{
            name: dict(zip(("trained", "untrained"), score.mean(0).tolist(), strict=True))
            for name, score in found.items()
        },
        "better": {name: float((score[:, 0] < score[:, 1]).float().mean()) for name, score in better.items()},
    }


def _mean_agreement(
    frames: np.ndarray, edits: np.ndarray, masks: np.ndarray, canny: CannyConfig
) -> dict[str, float]:
    each = [edge_agreement(*one, canny) for one in zip(frames, edits, masks, strict=True)]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}


def _found(edges: np.ndarray, others: np.ndarray) -> float:
    """The share of edges with another within NEAR pixels."""
    apart = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((apart[edges] <= NEAR).mean()) if edges.any() else 1.0


def _crop(picture: np.ndarray, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A part of a photograph as a frame of the cabinet might show it: moved, turned over, lit otherwise."""
    side = int(min(picture.shape[:2]) * random.uniform(0.6, 1.0))
    top, left = (random.integers(0, length - side + 1) for length in picture.shape[:2])
    part = picture[top : top + side, left : left + side]
    part = fit(part[:: random.choice((-1, 1)), :: random.choice((-1, 1))], width, height)
    return np.clip(part * random.uniform(0.8, 1.1), 0, 255).astype(np.uint8)


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _tensor(images: np.ndarray) -> Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in 0..1."""
    return torch.from_numpy(images).movedim(-1, -3) / 255
