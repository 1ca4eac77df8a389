"""Which picture of a caption would people prefer? Models on CLIP-H that learned from their choices.

ImageReward is not among them: its package needs transformers below 5, and its BLIP is no class of theirs.
"""

from __future__ import annotations

import numpy as np
import torch

from simedit.metrics import Kind, Scene, numbers
from simedit.metrics.clip import Clip
from simedit.metrics.open_clip import load_open_clip

PICKSCORE = "yuvalkirstain/PickScore_v1"
HPS = "xswu/HPSv2"
HPS_FILE = "HPS_v2.1_compressed.pt"
CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"


class PickScore:
    """exp(logit_scale) times the cosine of edit and caption, as its authors compute it and no more.
    A `Metric`.

    Args:
        clip: the model.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        images, texts = self._clip.embed(edits, [scene.prompt])
        scale = self._clip.model.logit_scale.detach().float().exp()
        return numbers(scale * (images @ texts.T)[:, 0])


class HpsV2:
    """100 times the cosine of edit and caption, the unit of published tables. A `Metric`.

    Args:
        clip: the model, which sees the whole frame.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        images, texts = self._clip.embed(edits, [scene.prompt])
        return numbers(100 * (images @ texts.T)[:, 0])


def load_pickscore(weights: str | None, device: torch.device | str) -> PickScore:
    """A `Load`. A directory holds tokenizer and preprocessor_config.json too; the hub's are CLIP-H's."""
    processor = weights or CLIP_H
    return PickScore(Clip.load(weights or PICKSCORE, device, what="PickScore", processor=processor))


def load_hps(weights: str | None, device: torch.device | str) -> HpsV2:
    """A `Load`. A directory holds HPS_v2.1_compressed.pt beside CLIP-H's configs and tokenizer."""
    return HpsV2(load_open_clip(weights or HPS, HPS_FILE, weights or CLIP_H, device, what="HPSv2"))


PICK = Kind(
    "pickscore",
    "preference of people for the picture under the caption",
    "Kirstain et al., arXiv 2305.01569, eq. 1; arXiv 2504.12833, table 2",
    range=(-100, 100),
    higher=True,
    load=load_pickscore,
    needs=("prompt",),
    model="pickscore",
    hub=PICKSCORE,
)
HPSV2 = Kind(
    "hpsv2",
    "preference of people for the picture under the caption (v2.1)",
    "Wu et al., arXiv 2306.09341; arXiv 2504.12833, table 2",
    range=(-100, 100),
    higher=True,
    load=load_hps,
    needs=("prompt",),
    model="hpsv2",
    hub=HPS,
)
