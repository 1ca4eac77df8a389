"""The lab's base: InstructPix2Pix's format and classes, small enough for a CPU, trained from scratch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from simedit.lab.fit import fit
from simedit.lab.materials import MATERIALS
from simedit.lab.pairs import PairSet
from simedit.pipeline import SpecialistPipeline

WORDINGS = (
    "make the cupboard out of {style}",
    "turn the cupboard into {style}",
    "replace the cupboard with {style}",
    "transform the cupboard into {style}",
    "convert the cupboard to {style}",
    "change the cupboard to {style}",
    "morph the cupboard into {style}",
    "modify the cupboard into {style}",
    "swap the cupboard for {style}",
)
"""Instructions, as in the trainings of specialists."""

_TEXT_DIM = 128
_TOKENS = 16
_DROP = 0.05
"""Each of text, image, and both, is left out so often, as InstructPix2Pix's guidance needs it."""
_OUTSIDE = 0.2
"""What a latent pixel outside the cabinet weighs: composition `mask` shows none of them."""


def instruction(wording: str, material: str) -> str:
    """E.g. "make the cupboard out of white marble"."""
    return wording.replace("{style}", material.replace("_", " "))


def new_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with merges learned from the instructions: each of their words is one token."""
    texts = [instruction(wording, material) for wording in WORDINGS for material in MATERIALS]
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[attr-defined]
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer: Any = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [a + b for a, b in merges if a + b not in tokens]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocab = {token: i for i, token in enumerate(tokens)}
        (Path(folder) / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
        (Path(folder) / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=_TOKENS)


def new_base(vae: AutoencoderKL, seed: int) -> SpecialistPipeline:
    """The untrained pipeline around an autoencoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer: Any = new_tokenizer()
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=_TEXT_DIM,
                intermediate_size=2 * _TEXT_DIM,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        latent = vae.config["latent_channels"]
        widths: Any = (64, 96, 128)  # Any: diffusers types these as tuples of one
        down: Any = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
        up: Any = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=2 * latent,
            out_channels=latent,
            layers_per_block=1,
            block_out_channels=widths,
            down_block_types=down,
            up_block_types=up,
            attention_head_dim=4,
            cross_attention_dim=_TEXT_DIM,
            norm_num_groups=16,
        )
        scheduler = EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )
        return SpecialistPipeline(vae, text_encoder, tokenizer, unet, scheduler)


def encode(vae: AutoencoderKL, images: np.ndarray, batch: int = 8) -> Tensor:
    """Latents float16 [N, C, h, w], the modes without the scaling factor, of images uint8 [N, H, W, 3]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            x = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2) / 127.5 - 1
            parts.append(vae.encode(x).latent_dist.mode().half())  # type: ignore[union-attr]
    return torch.cat(parts)


def train_base(
    pipeline: SpecialistPipeline,
    inputs: Tensor,
    targets: Tensor,
    pairs: PairSet,
    *,
    steps: int,
    batch: int,
    seed: int,
    folder: Path,
) -> None:
    """Train the U-Net and the text encoder to predict the noise in the targets' latents.

    A step sees its scenes through windows of one size, which begin where the cabinet begins: as edits see
    frames where a specialist's card says `crop`. A sixth of the steps see whole frames.

    Args:
        inputs, targets: float16 [N, C, h, w] and [N, T, C, h, w], from `encode`.
        pairs: what they are of.
        folder: for the training's state.
    """
    module = nn.ModuleDict({"unet": pipeline.unet, "text": pipeline.text_encoder}).train()
    pipeline.unet.to(memory_format=torch.channels_last)
    alphas = pipeline.scheduler.alphas_cumprod
    factor = pipeline.vae.config.scaling_factor
    masks = torch.from_numpy(pairs.masks[:, None]).float()
    weights = torch.nn.functional.adaptive_avg_pool2d(masks, (inputs.shape[-2], inputs.shape[-1]))
    begins = [(weights > 0).any(3 - axis)[:, 0].int().argmax(1).tolist() for axis in (0, 1)]
    weights = _OUTSIDE + (1 - _OUTSIDE) * weights
    unit = pipeline.size_factor // pipeline.vae_scale_factor

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, 2, step))
        scene, which = random.integers(len(inputs), size=batch), random.integers(targets.shape[1], size=batch)
        texts = [
            instruction(WORDINGS[random.integers(len(WORDINGS))], MATERIALS[pairs.materials[s, w]])
            for s, w in zip(scene, which, strict=True)
        ]
        dropped = random.random(batch)
        texts = ["" if d < 2 * _DROP else text for d, text in zip(dropped, texts, strict=True)]
        seen = torch.from_numpy((dropped < _DROP) | (dropped > 1 - _DROP)).logical_not().view(-1, 1, 1, 1)
        size = [n - unit * int(random.integers((n // unit + 1) // 2)) for n in inputs.shape[-2:]]

        def window(latents: Tensor) -> Tensor:
            parts = []
            for part, index in zip(latents, scene, strict=True):
                places = zip(begins, size, latents.shape[-2:], strict=True)
                starts = [min(begin[index], n - taken) for begin, taken, n in places]
                rows, columns = (slice(a, a + taken) for a, taken in zip(starts, size, strict=True))
                parts.append(part[..., rows, columns])
            return torch.stack(parts)

        image = window(inputs[scene]).float() * seen
        x = window(targets[scene, which]).float() * factor
        t = torch.from_numpy(random.integers(len(alphas), size=batch))
        noise = torch.from_numpy(random.standard_normal(x.shape, np.float32))
        a = alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        latents = torch.cat([noisy, image, torch.zeros_like(x)], 1).contiguous(
            memory_format=torch.channels_last
        )
        predicted = pipeline.unet(latents, t, encoder_hidden_states=pipeline.encode_text(texts)).sample
        return (window(weights[scene]) * (predicted - noise) ** 2).mean()

    fit(module, loss, steps=steps, learning_rate=2e-3, folder=folder, title="base", decay=0.999)
    module.eval()
