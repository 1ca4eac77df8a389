"""A tiny base of real classes and random weights, and untrained specialists on it: their edits are noise.

They let the whole line run without a download: in tests, and in the demo, which says so.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from peft import get_peft_model
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from simedit.config import load_json
from simedit.errors import SimeditError
from simedit.names import check_name
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import CARD, Card, Specialist, adapter_weights, lora_config

STEPS = 8


def tiny_pipeline(seed: int = 0) -> SpecialistPipeline:
    """An InstructPix2Pix base of about 300 000 random weights, fixed by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer: Any = _tokenizer()
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        widths: Any = (8, 8, 8, 16, 16)  # Any: diffusers types these as tuples of one
        down: Any = ("DownEncoderBlock2D",) * len(widths)
        up: Any = ("UpDecoderBlock2D",) * len(widths)
        vae = AutoencoderKL(
            down_block_types=down,
            up_block_types=up,
            block_out_channels=widths,
            norm_num_groups=4,
            sample_size=128,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=8,
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
            cross_attention_dim=32,
            norm_num_groups=8,
        )
        scheduler = EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        )
        return SpecialistPipeline(vae.eval(), text_encoder.eval(), tokenizer, unet.eval(), scheduler)


def make_tiny_library(root: str | Path, styles: Sequence[str], *, seed: int = 0) -> Path:
    """Write a tiny base to root/base and an untrained specialist for each style to root/STYLE.

    Each has a small random adapter, so that styles differ, and a made-up style image. Tiny ones that are
    already there are replaced.

    Returns:
        root, for `SpecialistLibrary.load`.

    Raises:
        SimeditError: a style cannot be a folder's name, root holds a trained specialist of that name or
            another base, or it cannot be written.
    """
    root = Path(root).resolve()
    pipeline = tiny_pipeline(seed)
    _check_replaceable(root, [check_name(style, "style") for style in styles], pipeline)
    pipeline.save_pretrained(root / "base")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = get_peft_model(pipeline.unet, lora_config(4, 4))
    untrained = adapter_weights(unet, "default", pipeline.style_attention)
    for style in styles:
        random = np.random.default_rng([seed, *style.encode()])
        weights = {k: v + torch.tensor(random.normal(0, 0.05, v.shape)).to(v) for k, v in untrained.items()}
        card = Card(
            style=style,
            base=str(root / "base"),
            instruction=f"make the cabinet out of {style}",
            steps=STEPS,
            lora_rank=4,
            lora_alpha=4,
        )
        Specialist(card, weights, (_style_image(random),)).save(root / style)
    return root


def _check_replaceable(root: Path, styles: Sequence[str], pipeline: SpecialistPipeline) -> None:
    """Check that what noise would replace is noise."""
    if "base" in styles:
        raise SimeditError("the style 'base' would stand where the base does: choose another name")
    base = root / "base"
    if base.exists():
        config = base / "unet" / "config.json"
        known = load_json(config) if config.is_file() else {}
        if known.get("block_out_channels") != list(pipeline.unet.config["block_out_channels"]):
            raise SimeditError(f"{base} is no tiny base and would be replaced by one: choose another folder")
    for style in styles:
        if (root / style / CARD).is_file() and Specialist.load(root / style).card.training is not None:
            raise SimeditError(
                f"{root / style} is a trained specialist, and noise would replace it: choose another folder"
            )


def _style_image(random: np.random.Generator, size: int = 128) -> np.ndarray:
    """uint8 [size, size, 3]: wavy veins between two random colours."""
    y, x = np.mgrid[:size, :size] / size
    dark, light = random.uniform(0, 120, 3), random.uniform(120, 255, 3)
    u, v, phase = random.uniform(-6, 6, 4), random.uniform(-6, 6, 4), random.random(4)
    waves = np.sin(2 * np.pi * (x[..., None] * u + y[..., None] * v + phase)).mean(-1)
    return (dark + (light - dark) * (0.5 + waves[..., None] / 2)).astype(np.uint8)


def _tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of single bytes and no merges."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=77)
