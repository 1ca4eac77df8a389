"""Attention score: does the named thing stay where the base sees it? (InstructRL4Pix, arXiv 2406.09973)"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import Attention as Layer
from torch import Tensor
from torch.nn.functional import interpolate

from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.scores import Differentiable, Targets
from simedit.training.config import said

SEED = 2406_09973
"""Of the noise that every picture is shown with."""


class Attention(Differentiable):
    """The total variation between two attention maps of a noun, the input's and the edit's: how much of the
    attention went elsewhere, 0..1.

    A picture's map is what the base's cross-attentions give the noun's tokens while it denoises that picture,
    noised to `steps` levels with noise that is always the same: the mean over layers, heads and the noun's
    tokens, brought to the latents' size and summed over the levels (DAAM, arXiv 2210.04885), and scaled to
    the sum 1. The base is told the instruction and sees zeros where its image and style go, as where training
    left them out: shown the input there, it looks for the noun in that, and less in the picture.

    The paper's own distance, layers and levels are not known to us: there is no code.

    Args:
        pipeline: the base. Its U-Net may be given an adapter later, and trained: the score keeps to the
            weights that are there now, which it shares.
        instruction: what the base is told.
        noun: a word or more of it.
        steps: noise levels, spread evenly over the base's.

    Raises:
        SimeditError: the instruction does not say the noun, or the base does not read so far.
    """

    def __init__(self, pipeline: SpecialistPipeline, instruction: str, noun: str, steps: int = 4):
        self._pipeline, self._found = pipeline, list[Tensor]()
        # The layers anew and their weights the same: an adapter is put into the layers.
        shared = {id(weights): weights for weights in pipeline.unet.parameters()}
        self._unet: Any = copy.deepcopy(pipeline.unet, shared).eval()
        places = noun_places(pipeline.tokenizer, instruction, noun)
        for layer in self._unet.modules():
            if isinstance(layer, Layer) and layer.is_cross_attention:
                layer.set_processor(Reading(layer.processor, places, self._found))  # type: ignore[arg-type]
        with torch.no_grad():
            self._text = pipeline.encode_text([instruction])
        levels = len(pipeline.scheduler.alphas_cumprod)
        self._timesteps = [int(levels * (i + 0.5) / steps) for i in range(steps)]

    def value(self, edits: Tensor, targets: Targets) -> Tensor:
        """As `Differentiable`; a NaN in an edit makes its score NaN."""
        pictures = torch.cat([targets.inputs.unsqueeze(1), edits], 1)
        maps = self.maps(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return (maps[:, 1:] - maps[:, :1]).abs().sum((-2, -1)) / 2

    def maps(self, pictures: Tensor) -> Tensor:
        """The noun's maps, float32 [N, h, w], each of sum 1, of pictures [N, 3, H, W] in 0..1."""
        latents = self._pipeline.encode_images(pictures)
        x = latents.to(torch.promote_types(latents.dtype, torch.float32))
        x, noise = x * self._pipeline.vae.config.scaling_factor, torch.Generator().manual_seed(SEED)
        total = x.new_zeros(len(x), *x.shape[-2:])
        for t in self._timesteps:
            a = self._pipeline.scheduler.alphas_cumprod[t].to(x)
            drawn = torch.randn(x.shape[1:], generator=noise, dtype=torch.float32).to(x)
            noisy = (a.sqrt() * x + (1 - a).sqrt() * drawn).to(latents.dtype)
            given = torch.cat([noisy, *[torch.zeros_like(noisy)] * 2], 1)
            self._found.clear()
            self._unet(given, t, encoder_hidden_states=self._text.expand(len(x), -1, -1))
            total += together(self._found, *x.shape[-2:])
        return total / total.sum((-2, -1), keepdim=True)


class Reading:
    """A layer's processor that notes how much of each place's attention some tokens get.

    Args:
        usual: does the layer's work.
        places: the tokens'.
        found: gains [N, P], the mean over heads and tokens, for the layer's P places.
    """

    def __init__(self, usual: Any, places: list[int], found: list[Tensor]):
        self._usual, self._places, self._found = usual, places, found

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        query, key = (
            attn.head_to_batch_dim(value.to(torch.promote_types(value.dtype, torch.float32)))
            for value in (attn.to_q(hidden_states), attn.to_k(encoder_hidden_states))
        )
        shares = attn.get_attention_scores(query, key)[..., self._places].mean(-1)
        self._found.append(shares.unflatten(0, (-1, attn.heads)).mean(1))
        return self._usual(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


def together(found: Sequence[Tensor], height: int, width: int) -> Tensor:
    """[N, height, width], the sum of what `Reading` found in layers of that size or a whole part of it."""
    total = found[0].new_zeros(len(found[0]), height, width)
    for each in found:
        side = round((height * width / each.shape[1]) ** 0.5)
        grid = each.unflatten(1, (height // side, width // side)).unsqueeze(1)
        total = total + interpolate(grid, (height, width), mode="bilinear").squeeze(1)
    return total


def noun_places(tokenizer: Any, instruction: str, noun: str) -> list[int]:
    """Which of an instruction's tokens are a noun's, wherever the instruction says it.

    Raises:
        SimeditError: nowhere, or beyond what the tokenizer's model reads.
    """

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False).input_ids)

    starts = [1 + count(instruction[:start]) for start in said(noun, instruction)]
    places = [start + i for start in starts for i in range(count(noun))]
    if not places or max(places) > tokenizer.model_max_length - 2:  # the last is the text's end
        where = "does not say it" if not places else "is longer than the base reads, and says it too late"
        raise SimeditError(
            f"no attention to the noun {noun!r}: the instruction {instruction!r} {where}. Set "
            f"scores.attention.noun to words of style.instruction"
        )
    return places
