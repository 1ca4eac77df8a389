"""Small random models of the classes that find what nouns name: Grounding DINO and SAM 2."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SwinConfig,
)

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
EDGES = {"shortest_edge": 80, "longest_edge": 128}
SQUARE = 128


def save_finders(folder: Path) -> tuple[str, str]:
    """Write a detector and a segmenter, the same ones each time; gives their folders."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_detector(folder / "detector")
        save_segmenter(folder / "segmenter")
    return str(folder / "detector"), str(folder / "segmenter")


def save_detector(folder: Path) -> None:
    """A Grounding DINO with the token numbers that its code takes for granted, and boxes of every shape."""
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
            window_size=4,
            out_indices=[2, 3, 4],
        ),
        text_config=BertConfig(
            vocab_size=1040,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=8,
        max_text_len=32,
    )
    model = GroundingDinoForObjectDetection(config)
    for weight in model.bbox_embed.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    words = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    words |= {1030: "cup", 1031: "##board", 1032: "telephone", 1033: "booth"}
    vocabulary = "".join(f"{words.get(i, f'[unused{i}]')}\n" for i in range(1040))
    (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    )
    statistics = {"image_mean": MEAN, "image_std": STD, "size": EDGES}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))


def save_segmenter(folder: Path) -> None:
    """A SAM 2 as the hub has it: with the video model's memory, which is not used."""
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[SQUARE, SQUARE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=16,
    )
    parts = Sam2Config(
        vision_config=vision,
        prompt_encoder_config=Sam2PromptEncoderConfig(hidden_size=16, image_size=SQUARE),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    ).to_dict()
    config = Sam2VideoConfig(
        **{key: parts[key] for key in ("vision_config", "prompt_encoder_config", "mask_decoder_config")},
        image_size=SQUARE,
        memory_attention_hidden_size=16,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_num_layers=1,
        memory_encoder_hidden_size=16,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=16,
        memory_fuser_embed_dim=16,
        memory_fuser_intermediate_dim=16,
    )
    Sam2VideoModel(config).save_pretrained(folder)
    statistics = {"image_mean": MEAN, "image_std": STD, "size": {"height": SQUARE, "width": SQUARE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
