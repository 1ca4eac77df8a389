"""The lab's base: InstructPix2Pix's format and classes, small enough for a CPU, trained from scratch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from simedit.drafts import whole
from simedit.lab.fit import fit
from simedit.lab.materials import MATERIALS
from simedit.pipeline import SpecialistPipeline
from simedit.progress import tracked
from simedit.style_attention import StyleAttention

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

SHARD = 250
"""Pairs in a file."""
Counts = tuple[int, int]

_TEXT_DIM = 128
_TOKENS = 32
_SMALLEST = 3
"""Of the least windows' sides, in units of what the U-Net can take."""
_CROPPED = 0.85
"""The share of the steps that see windows; the last see whole frames."""
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
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            prediction_type="v_prediction",
        )
        attention = StyleAttention.for_unet(unet, direct=True)
        return SpecialistPipeline(vae, text_encoder, tokenizer, unet, scheduler, attention)


@dataclass(frozen=True)
class Latents:
    """N pairs of one size, encoded: modes without the scaling factor, float16 [N, C, h, w] each.

    Attributes:
        frames, styles, targets: of the frames, the pictures and the frames painted with them.
        shown: float16 [N, 1, h, w], the share of a latent pixel that is cabinet.
        names: int64 [N], indices into MATERIALS, -1 where the material has no name.
    """

    frames: Tensor
    styles: Tensor
    targets: Tensor
    shown: Tensor
    names: Tensor


def encode(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """Latents float16 [N, C, h, w], the modes without the scaling factor, of images uint8 [N, H, W, 3]."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        return vae.encode(x).latent_dist.mode().half()  # type: ignore[union-attr]


def encode_pairs(
    folder: Path, vae: AutoencoderKL, draw: Callable[..., tuple[Any, ...]], counts: Counts, seed: int
) -> None:
    """Encode what `folder` lacks of random pairs, `SHARD` of them in a file.

    Args:
        draw: `simedit.lab.pairs.pair` of some scenes and pictures.
        counts: how many pairs of the whole size and of half of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(half, i) for half, count in enumerate(counts) for i in range(-(-count // SHARD))]
    missing = [job for job in jobs if not _latents_file(folder, *job).exists()]
    for half, i in tracked(missing, f"pairs, encoded, in shards of {SHARD}", len(missing)):
        parts: dict[str, list[Tensor]] = {field.name: [] for field in fields(Latents)}
        for number in range(i * SHARD, min((i + 1) * SHARD, counts[half])):
            random = np.random.default_rng((seed, 4, half, number))
            frame, picture, painting, mask, name = draw(random, half=bool(half))
            pictures = encode(vae, np.stack([frame, picture, painting]))
            height, width = pictures.shape[-2:]
            shown = adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), (height, width)).half()
            for part, value in zip(parts.values(), (*pictures, shown, torch.tensor(name)), strict=True):
                part.append(value)
        with whole(_latents_file(folder, half, i)) as draft:
            save_file({name: torch.stack(part) for name, part in parts.items()}, draft)


def load_latents(folder: Path) -> list[Latents]:
    """What `encode_pairs` left in `folder`: pairs of the whole size, and of half of it."""
    found = []
    for half in range(2):
        shards = [load_file(path) for path in sorted(folder.glob(f"latents_{half}_*.safetensors"))]
        if shards:
            found.append(Latents(**{name: torch.cat([s.pop(name) for s in shards]) for name in [*shards[0]]}))
    return found


def _latents_file(folder: Path, half: int, number: int) -> Path:
    return folder / f"latents_{half}_{number:03d}.safetensors"


def train_base(
    pipeline: SpecialistPipeline,
    latents: Sequence[Latents],
    *,
    steps: int,
    batch: int,
    seed: int,
    folder: Path,
) -> None:
    """Train U-Net, style attention and text encoder to predict the velocity in the targets' latents.

    A step sees its pairs through windows of one size around a part of the cabinet, as edits see frames
    where a specialist's card says `crop`; the last steps see whole frames.

    Args:
        latents: of each size, from `load_latents`.
        batch: as many whole frames are as large as a step's windows.
        folder: for the training's state.
    """
    parts = {"unet": pipeline.unet, "style": pipeline.style_attention, "text": pipeline.text_encoder}
    module = nn.ModuleDict(parts).train()
    pipeline.unet.to(memory_format=torch.channels_last)
    alphas, factor = pipeline.scheduler.alphas_cumprod, pipeline.vae.config.scaling_factor
    unit = pipeline.size_factor // pipeline.vae_scale_factor
    largest = max(part.frames[0, 0].numel() for part in latents)

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, 2, step))
        some = latents[int(random.integers(len(latents)))]
        sides = some.frames.shape[-2:]
        size = [n - unit * int(random.integers(max(1, n // unit - _SMALLEST + 1))) for n in sides]
        if step >= _CROPPED * steps:
            size = sides
        count = max(1, round(batch * largest / (size[0] * size[1])))
        rows = random.integers(len(some.frames), size=count)
        places = [_place(some.shown[row, 0], size, random) for row in rows]

        def window(values: Tensor) -> Tensor:
            return torch.stack(
                [values[(row, ..., *at)] for row, at in zip(rows, places, strict=True)]
            ).float()

        image, style, shown = window(some.frames), window(some.styles), window(some.shown)
        x = window(some.targets) * factor
        texts, sees = zip(*(_condition(int(some.names[row]), random) for row in rows), strict=True)
        sees_text, sees_image, sees_style = torch.tensor(sees).view(count, 3, 1, 1, 1).unbind(1)
        text = pipeline.encode_text(texts)
        style = pipeline.style_attention(style, image, text) * sees_style
        text = torch.where(sees_text.view(-1, 1, 1), text, pipeline.encode_text([""]))
        t = torch.from_numpy(random.integers(len(alphas), size=count))
        noise = torch.from_numpy(random.standard_normal(x.shape, np.float32))
        a = alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        given = torch.cat([noisy, image * sees_image, style], 1).contiguous(memory_format=torch.channels_last)
        velocity = pipeline.unet(given, t, encoder_hidden_states=text).sample
        weight = _OUTSIDE + (1 - _OUTSIDE) * shown
        return (weight * (velocity - (a.sqrt() * noise - (1 - a).sqrt() * x)) ** 2).mean()

    fit(module, loss, steps=steps, learning_rate=2e-3, folder=folder, title="base", decay=0.999)
    module.eval()


def _place(shown: Tensor, size: Sequence[int], random: np.random.Generator) -> tuple[slice, slice]:
    """Where a window of that size goes: some of the cabinet lies in it."""
    places = torch.nonzero(shown > 0)
    centre = places[int(random.integers(len(places)))].tolist() if len(places) else [0, 0]
    starts = [
        int(np.clip(c - random.integers(taken), 0, n - taken))
        for c, taken, n in zip(centre, size, shown.shape, strict=True)
    ]
    rows, columns = (slice(a, a + taken) for a, taken in zip(starts, size, strict=True))
    return rows, columns


def _condition(name: int, random: np.random.Generator) -> tuple[str, tuple[bool, bool, bool]]:
    """A pair's instruction, and whether text, image and style are seen: what each branch of the guidance
    (eq. 13) needs, and what users do. Where a photograph is, it counts, whatever word stands beside it."""
    kind, wording = random.random(), WORDINGS[random.integers(len(WORDINGS))]
    named = name >= 0 and random.random() < 0.7
    other = _word(random) if random.random() < 0.7 else MATERIALS[random.integers(len(MATERIALS))]
    text = instruction(wording, MATERIALS[name] if named else other)
    if kind < 0.05:
        return text, (False, False, False)
    if kind < 0.13:
        return text, (False, True, False)
    if kind < 0.3 and named:  # by its name alone
        return text, (True, True, False)
    return text, (kind > 0.5, True, True)


def _word(random: np.random.Generator) -> str:
    """A name that means nothing."""
    letters = ["bcdfghklmnprstvwz"[random.integers(17)] + "aeiou"[random.integers(5)] for _ in range(5)]
    return "".join(letters[: random.integers(1, 6)])
