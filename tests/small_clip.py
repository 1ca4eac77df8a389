"""Tiny CLIPs of the real class, random, saved as the hub's are; the same network in open_clip's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from simedit.tiny import _tokenizer

MEAN, STD, SIDE = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3], 28


def config(tokenizer: Any) -> CLIPConfig:
    vision: Any = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=14,
        hidden_act="gelu",
    )
    text: Any = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        hidden_act="gelu",
    )
    return CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=20)


def save_clip(folder: Path) -> CLIPModel:
    """Write model, tokenizer and image statistics into the folder."""
    tokenizer = _tokenizer()
    torch.manual_seed(0)
    model = CLIPModel(config(tokenizer)).eval()
    with torch.no_grad():  # as they start, all embeddings are alike
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}}
    data = {"image_mean": MEAN, "image_std": STD, "size": {"shortest_edge": SIDE}, **crop}
    (folder / "preprocessor_config.json").write_text(json.dumps(data), encoding="utf-8")
    return model


class _Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp["c_proj"](nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


def _blocks(width: int, inner: int) -> nn.ModuleDict:
    return nn.ModuleDict({"resblocks": nn.ModuleList([_Block(width, inner) for _ in range(2)])})


class OpenClip(nn.Module):
    """The architecture of open_clip's CLIP, written from its paper, under open_clip's names."""

    def __init__(self, words: int, context: int) -> None:
        super().__init__()
        visual: Any = nn.Module()
        visual.conv1 = nn.Conv2d(3, 32, 14, 14, bias=False)
        visual.class_embedding = nn.Parameter(torch.randn(32))
        visual.positional_embedding = nn.Parameter(torch.randn(5, 32))
        visual.ln_pre, visual.ln_post = nn.LayerNorm(32), nn.LayerNorm(32)
        visual.transformer, visual.proj = _blocks(32, 48), nn.Parameter(torch.randn(32, 20))
        self.visual = visual
        self.transformer, self.ln_final = _blocks(16, 24), nn.LayerNorm(16)
        self.token_embedding = nn.Embedding(words, 16)
        self.positional_embedding = nn.Parameter(torch.randn(context, 16))
        self.text_projection = nn.Parameter(torch.randn(16, 20))
        self.logit_scale = nn.Parameter(torch.tensor(3.0))
        self.register_buffer("attn_mask", torch.full((context, context), -torch.inf).triu(1))

    def image(self, pixels: Tensor) -> Tensor:
        v = self.visual
        x = v.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([v.class_embedding.expand(len(x), 1, -1), x], 1) + v.positional_embedding
        x = v.ln_pre(x)
        for block in v.transformer["resblocks"]:
            x = block(x, None)
        return nn.functional.normalize(v.ln_post(x[:, 0]) @ v.proj, dim=-1)

    def text(self, ids: Tensor) -> Tensor:
        mask: Any = self.attn_mask
        n = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:n]
        for block in self.transformer["resblocks"]:  # type: ignore[union-attr]
            x = block(x, mask[:n, :n])
        ends = self.ln_final(x)[torch.arange(len(ids)), ids.argmax(1)]
        return nn.functional.normalize(ends @ self.text_projection, dim=-1)
