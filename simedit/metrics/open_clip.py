"""CLIP weights in open_clip's layout, loaded into transformers' class: the same network under other names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from simedit.errors import SimeditError, shortened
from simedit.metrics.clip import Clip, clip_tokenizer
from simedit.scores.hub import image_statistics
from simedit.weights import check_finite

_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)")
_IN_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_SINGLE = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}


def load_open_clip(weights: str, file: str, clip: str, device: torch.device | str, *, what: str) -> Clip:
    """A CLIP from a checkpoint of open_clip.

    Args:
        weights: hub id or directory of the checkpoint.
        file: its name there.
        clip: hub id or directory of the CLIP that it was trained from, for its config, its tokenizer and its
            images' statistics.
        what: the model's part in the work, for errors.

    Raises:
        SimeditError: one of them cannot be loaded, or they do not fit each other.
    """
    statistics, tokenizer = image_statistics(clip, what), clip_tokenizer(clip, what)
    try:
        path = Path(weights) / file if Path(weights).is_dir() else Path(hf_hub_download(weights, file))
        held: Any = torch.load(path, map_location="cpu", weights_only=True)
        with torch.device("meta"):
            model: Any = CLIPModel(CLIPConfig.from_pretrained(clip))
        model.load_state_dict(renamed(held["state_dict"]), assign=True)
        for part in (model.text_model.embeddings, model.vision_model.embeddings):  # what no checkpoint holds
            positions = torch.arange(part.position_embedding.num_embeddings)[None]
            part.register_buffer("position_ids", positions, persistent=False)
        check_finite(model.named_parameters(), str(path))
    except Exception as error:  # of a file that others wrote torch raises whatever comes
        raise SimeditError(
            f"cannot use {weights!r} as {what}: {shortened(error, 500)}\nGive a directory that holds {file}, "
            "config.json, preprocessor_config.json and the tokenizer of the CLIP that it was trained from"
        ) from error
    return Clip(model.to(device).eval().requires_grad_(False), tokenizer, statistics, shown="whole")


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's weights under transformers' names, in float32.

    Raises:
        ValueError: a name that no CLIP of open_clip has.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        name, value = name.removeprefix("module."), value.float()
        if (match := _BLOCK.fullmatch(name)) is not None:
            tower = "vision_model" if match[1] else "text_model"
            found |= _in_block(f"{tower}.encoder.layers.{match[2]}", match[3], value)
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = value.T.contiguous()
        elif name in _SINGLE:
            found[_SINGLE[name]] = value
        elif name != "attn_mask":  # made from the length of the context
            raise ValueError(f"no CLIP has weights called {name}")
    return found


def _in_block(block: str, name: str, value: Tensor) -> dict[str, Tensor]:
    layer, _, kind = name.rpartition(".")
    if name in ("attn.in_proj_weight", "attn.in_proj_bias"):
        ends = name.removeprefix("attn.in_proj_")
        parts = zip("qkv", value.chunk(3), strict=True)
        return {f"{block}.self_attn.{part}_proj.{ends}": each for part, each in parts}
    if layer not in _IN_BLOCK:
        raise ValueError(f"no block of a CLIP has weights called {name}")
    return {f"{block}.{_IN_BLOCK[layer]}.{kind}": value}
