"""Tiny editing pipelines of diffusers: real classes, random weights, fixed by a seed, nothing downloaded."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from simedit.tiny import tiny_pipeline

CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"


def instruct_pix2pix() -> Any:
    parts = tiny_pipeline().components
    unet = UNet2DConditionModel(**_unet(cross_attention_dim=32))
    return StableDiffusionInstructPix2PixPipeline(
        **{part: parts[part] for part in ("vae", "text_encoder", "tokenizer", "scheduler")},
        unet=unet.eval(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def xl_instruct_pix2pix(**settings: Any) -> Any:
    parts = tiny_pipeline().components
    first, tokenizer = parts["text_encoder"], parts["tokenizer"]
    config = CLIPTextConfig(**{**first.config.to_dict(), "projection_dim": 32})
    unet = UNet2DConditionModel(
        **_unet(cross_attention_dim=64),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
    )
    return StableDiffusionXLInstructPix2PixPipeline(
        vae=parts["vae"],
        text_encoder=first,
        text_encoder_2=CLIPTextModelWithProjection(config).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet.eval(),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        **settings,
    )


def flux2_klein() -> Any:
    tokenizer = _qwen_tokenizer()
    text = Qwen3Config(
        intermediate_size=16,
        hidden_size=16,
        num_hidden_layers=28,  # the pipeline reads the states of layers up to the 27th
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
    )
    transformer = Flux2Transformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    one: Any = ("DownEncoderBlock2D",), ("UpDecoderBlock2D",), (4,)
    vae = AutoencoderKLFlux2(
        down_block_types=one[0],
        up_block_types=one[1],
        block_out_channels=one[2],
        layers_per_block=1,
        latent_channels=1,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae.eval(),
        text_encoder=Qwen3ForCausalLM(text).eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )


TINY = {
    "StableDiffusionInstructPix2PixPipeline": instruct_pix2pix,
    "StableDiffusionXLInstructPix2PixPipeline": xl_instruct_pix2pix,
    "Flux2KleinPipeline": flux2_klein,
}


def tiny(name: str) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TINY[name]()


def _unet(cross_attention_dim: int) -> dict[str, Any]:
    return {
        "sample_size": 16,
        "in_channels": 8,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": cross_attention_dim,
        "norm_num_groups": 8,
    }


def _qwen_tokenizer() -> Qwen2TokenizerFast:
    """Single bytes and no merges."""
    vocab = {token: i for i, token in enumerate([*sorted(ByteLevel.alphabet()), "<|endoftext|>"])}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
        (Path(folder) / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        return Qwen2TokenizerFast.from_pretrained(folder, chat_template=CHAT, pad_token="<|endoftext|>")
