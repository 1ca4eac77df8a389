"""Does the edit show what a caption says? CLIP's cosines, and the model behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad
from transformers import AutoTokenizer, CLIPModel

from simedit.errors import SimeditError
from simedit.metrics import Kind, Scene, numbers, tensors
from simedit.scores.encoders import CLIP
from simedit.scores.hub import ImageStatistics, image_statistics, load_model, resize


class Clip:
    """A CLIP model with its tokenizer, which sees frames as its processor would show them.

    Args:
        model: in evaluation mode.
        tokenizer: of transformers.
        statistics: what the model expects of its images.
        shown: of a frame that is not square, the "centre", or the "whole" of it between black bars.
    """

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: Any,
        statistics: ImageStatistics,
        shown: Literal["centre", "whole"] = "centre",
    ) -> None:
        self.model, self._tokenizer, self._statistics, self._shown = model, tokenizer, statistics, shown

    @classmethod
    def load(
        cls,
        model: str,
        device: torch.device | str,
        *,
        what: str = "CLIP",
        processor: str | None = None,
    ) -> Clip:
        """By hub id or from a directory.

        Args:
            what: the model's part in the work, for errors.
            processor: where tokenizer and image statistics are, if not with the model.

        Raises:
            SimeditError: the model, its tokenizer or its preprocessor_config.json cannot be loaded.
        """
        processor = processor or model
        statistics, tokenizer = image_statistics(processor, what), clip_tokenizer(processor, what)
        return cls(load_model(CLIPModel, model, what, device), tokenizer, statistics)

    @torch.no_grad()
    def embed(self, frames: np.ndarray, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Unit vectors of frames and captions, float32 [N, D] and [T, D].

        Args:
            frames: uint8 [N, H, W, 3].
            captions: one or more; what is longer than the model's context is cut.
        """
        return self.vectors(tensors(frames, self.model.device), captions)

    def vectors(self, images: Tensor, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """As `embed`, of images float32 [N, 3, H, W] in 0..1; differentiable in them."""
        device = self.model.device
        words = self._tokenizer(
            list(captions), padding=True, truncation=True, max_length=self._context, return_tensors="pt"
        ).to(device)
        pixels = self._pixels(images).to(self.model.dtype)
        found = self.model(
            input_ids=words.input_ids, attention_mask=words.attention_mask, pixel_values=pixels
        )
        return found.image_embeds.float(), found.text_embeds.float()

    @property
    def _context(self) -> int:
        config: Any = self.model.config
        return config.text_config.max_position_embeddings

    def _pixels(self, images: Tensor) -> Tensor:
        side, (height, width) = min(self._statistics.size.values()), images.shape[-2:]
        if self._shown == "whole":
            scale = side / max(height, width)
            images = resize(images, max(1, round(scale * height)), max(1, round(scale * width)))
            down, right = (side - edge for edge in images.shape[-2:])
            images = pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
        else:
            scale = side / min(height, width)
            images = resize(images, max(side, int(scale * height)), max(side, int(scale * width)))
            top, left = ((edge - side) // 2 for edge in images.shape[-2:])
            images = images[..., top : top + side, left : left + side]
        return self._statistics.normalise(images)


def clip_tokenizer(name: str, what: str) -> Any:
    """The tokenizer of a CLIP by hub id or from a directory.

    Raises:
        SimeditError: there is none, or it is another model's.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        ids, others = tokenizer("gold").input_ids, tokenizer("wood").input_ids
        # transformers makes up a tokenizer without words where there is none.
        if ids == others or (ids[0], ids[-1]) != (tokenizer.bos_token_id, tokenizer.eos_token_id):
            raise ValueError("it knows no words, or does not begin and end a text as CLIP's do")
    except Exception as error:  # of a broken one the tokenizers raise whatever comes
        raise SimeditError(
            f"cannot read the tokenizer of {name!r}, {what}: {error}\nThe directory needs tokenizer.json, or "
            f"vocab.json and merges.txt"
        ) from error
    return tokenizer


class ClipText:
    """The cosine of edit and caption. A `Metric`.

    Args:
        clip: the model.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        images, texts = self._clip.embed(edits, [scene.prompt])
        return numbers((images @ texts.T)[:, 0])


class ClipDirection:
    """The cosine of the change from input to edit and the change from the input's caption to the edit's.
    A `Metric`.

    Not a number where the edit is the input, or changes nothing that CLIP sees: there is no direction.

    Args:
        clip: the model.

    Raises:
        SimeditError: when called with two captions that say the same.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __call__(self, edits: np.ndarray, scene: Scene) -> np.ndarray:
        frames = np.concatenate([scene.input[None], edits])
        images, texts = self._clip.embed(frames, [scene.source, scene.prompt])
        wanted, made = texts[1] - texts[0], images[1:] - images[:1]
        if wanted.norm() < NOTHING:
            raise SimeditError("clip_direction needs two captions that differ: --source-prompt and --prompt")
        values = cosine_similarity(made, wanted[None], dim=-1)
        return np.where(numbers(made.norm(dim=-1)) < NOTHING, np.nan, numbers(values))


NOTHING = 1e-4
"""The length of a difference of unit vectors below which it is rounding."""
CLIP_TEXT = Kind(
    "clip_text",
    "cosine with the caption, by CLIP ViT-L/14",
    "CLIP txt, arXiv 2504.12833, table 1; CLIP, arXiv 2103.00020 (not CLIPScore's 2.5 times that)",
    range=(-1, 1),
    higher=True,
    load=lambda weights, device: ClipText(Clip.load(weights or CLIP, device)),
    needs=("prompt",),
    model="clip",
    hub=CLIP,
)
CLIP_DIRECTION = Kind(
    "clip_direction",
    "the picture changes as the caption does, by CLIP ViT-L/14",
    "directional similarity: Gal et al., arXiv 2108.00946, eq. 3 (its cosine); arXiv 2504.12833, figure 3",
    range=(-1, 1),
    higher=True,
    load=lambda weights, device: ClipDirection(Clip.load(weights or CLIP, device)),
    needs=("prompt", "source_prompt"),
    model="clip",
    hub=CLIP,
)
