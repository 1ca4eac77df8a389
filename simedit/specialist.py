"""A specialist: the trained weights for one style, as a folder.

card.json            what it is and how it is meant to be run (`Card`)
adapter.safetensors  "unet.*": peft's LoRA and the whole conv_in; "style_attention.*": the whole module
style_0.png ...      its style images; edits use the one that the card names
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from simedit.config import Config, load_json, parse_config
from simedit.errors import SimeditError, shortened
from simedit.names import Name, check_name
from simedit.packaged import CARD, RECIPE
from simedit.settings import DEFAULT_BASE, Heights, Scales
from simedit.style_attention import StyleAttention
from simedit.weights import check_finite

WEIGHTS = "adapter.safetensors"
ADAPTED = ("to_q", "to_k", "to_v", "to_out.0")
"""The U-Net's layers whose weights an adapter adds to."""
WHOLE = "conv_in"
"""The layer that a specialist has of its own."""
LARGEST_PICTURE = 4096 * 4096
"""Pixels of a style image; a training keeps 512 a side."""


class Card(Config):
    """What a specialist is. On disk a relative `base` (one that starts with a dot) is relative to the folder.

    Attributes:
        style: the material's name, as `edit` takes it: it can stand as one file's name.
        base: the base's hub id or directory.
        instruction: the prompt that edits use.
        scales: guidance scales.
        steps: denoising steps.
        sampler: "consistency" for what was distilled to few steps.
        detail: whether edits get back what the autoencoder loses of the frame, one more decoding for each:
            `simedit.composition.restore_detail`. For frames whose own material has no texture.
        crop: whether, where there is a mask, only a window around it is edited: the smaller the mask, the
            faster. For bases that know how a part of a frame looks.
        heights: of frames, pixels, the least and the most that are edited as they are. Others are brought to
            the nearer one first, and their edits back, with the frames' own detail
            (`simedit.composition.brought_back`). Null edits all as they are.
        style_image: the index of the style image that edits use.
        lora_rank, lora_alpha: of the adapter.
        training: the training's own record; null where the weights are untrained.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    schema_version: Literal[1] = 1
    style: Name
    base: str = DEFAULT_BASE
    instruction: str
    scales: Scales = Scales()
    steps: PositiveInt = 100
    sampler: Literal["euler_ancestral", "ddim", "consistency"] = "euler_ancestral"
    detail: bool = False
    crop: bool = False
    heights: Heights | None = None
    style_image: NonNegativeInt = 0
    lora_rank: PositiveInt = Field(default=8, le=4096)
    lora_alpha: PositiveFloat = 8
    training: dict[str, Any] | None = None


@dataclass(frozen=True)
class Specialist:
    """One style's trained weights.

    Attributes:
        card: in memory its base is a hub id or an absolute path.
        weights: as `adapter_weights` makes them.
        style_images: one or more, each uint8 [H, W, 3], RGB.
    """

    card: Card
    weights: dict[str, Tensor]
    style_images: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        style, images = self.card.style, len(self.style_images)
        if not self.card.style_image < images:
            raise SimeditError(
                f"specialist {style!r}: style image {self.card.style_image} is wanted, but it has {images}"
            )
        ranks = {len(weight) for name, weight in self.weights.items() if "lora_A" in name and weight.ndim}
        if not ranks <= {self.card.lora_rank}:
            raise SimeditError(
                f"specialist {style!r}: its card says lora_rank {self.card.lora_rank}, but its weights have "
                f"{', '.join(map(str, sorted(ranks)))}"
            )

    @property
    def name(self) -> str:
        """What `edit` takes it by."""
        return self.card.style

    @property
    def base(self) -> str:
        """Its base's hub id or absolute path."""
        return self.card.base

    @classmethod
    def load(cls, path: str | Path) -> Specialist:
        """Read a specialist's folder.

        Raises:
            SimeditError: no such folder, or its card, weights or style images are missing, broken or too
                large, or its weights are not finite.
        """
        path = Path(path)
        if (path / RECIPE).is_file():
            raise SimeditError(f"{path} is a recipe, of several specialists: name the folder of one")
        if not (path / CARD).is_file():
            raise SimeditError(f"{path} is not a specialist's folder: it has no {CARD}")
        card = read_card(path)
        try:
            weights = load_file(path / WEIGHTS)
            images = [read_picture(file) for file in _pictures(path)]
        except (OSError, ValueError, SyntaxError, SafetensorError, Image.DecompressionBombError) as error:
            raise SimeditError(
                f"cannot read the specialist at {path}, copy it anew: {shortened(error, 300)}"
            ) from error
        check_finite(weights.items(), str(path / WEIGHTS))
        if card.base.startswith("."):
            card = card.model_copy(update={"base": str((path / card.base).resolve())})
        return cls(card, weights, tuple(images))

    def save(self, path: str | Path) -> None:
        """Write the folder beside `path` and move it there, so that no half-written specialist is ever seen.
        What was there is kept until the new one is whole; of two processes that save at once one comes last.

        Raises:
            SimeditError: `path` holds something else, or cannot be written, or the weights are not finite.
        """
        with replacing(Path(path), CARD, "specialist") as new:
            self.write(new, Path(path).resolve())

    def write(self, folder: Path, home: Path) -> None:
        """Write its files into an empty folder.

        Args:
            home: where the folder is to be, by which a base's path goes.

        Raises:
            SimeditError: the weights are not finite.
            OSError, SafetensorError: the folder cannot be written.
        """
        check_finite(self.weights.items(), f"specialist {self.card.style!r}")
        card = self.card
        if os.path.isabs(card.base):
            relative = os.path.relpath(card.base, home)
            card = card.model_copy(update={"base": relative if relative.startswith(".") else f"./{relative}"})
        (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        save_file({k: v.cpu().contiguous() for k, v in self.weights.items()}, folder / WEIGHTS)
        shutil.copymode(folder / CARD, folder / WEIGHTS)  # safetensors keeps its files to their owner
        for i, image in enumerate(self.style_images):
            Image.fromarray(image).save(folder / f"style_{i}.png")


@contextmanager
def replacing(path: Path, card: str, kind: str) -> Iterator[Path]:
    """An empty folder to write to, which at a good end stands at `path`, in place of one of its kind.

    Args:
        card: the file that makes a folder one of its kind.
        kind: what it is, for errors.

    Raises:
        SimeditError: `path` holds something else, or cannot be written.
    """
    path = path.resolve()
    check_name(path.name, f"{kind}'s folder")
    try:
        if path.exists() and not (path / card).is_file():
            raise SimeditError(f"{path} exists and is not a {kind}'s folder: choose another")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=path.parent) as scratch:
            new = Path(scratch) / "new"
            new.mkdir()
            yield new
            _replace(path, new)
    # safetensors wraps the operating system's errors in its own.
    except (OSError, SafetensorError) as error:
        raise SimeditError(f"cannot write the {kind} {path}: {error}") from error


def specialists_in(root: Path, *, recipes: bool = False) -> list[Path]:
    """The folders of specialists: `root` itself, or those in it.

    Args:
        recipes: whether those of recipes count too.

    Raises:
        SimeditError: there are none.
    """
    cards = (CARD, RECIPE) if recipes else (CARD,)
    if any((root / card).is_file() for card in cards):
        return [root]
    if (root / RECIPE).is_file():
        raise SimeditError(f"{root} is a recipe, of several specialists: name the folder of one")
    # Hidden ones are what a killed process left.
    found = {path.parent for card in cards for path in root.glob(f"*/{card}")}
    if found := sorted(folder for folder in found if not folder.name.startswith(".")):
        return found
    raise SimeditError(
        f"no specialist at {root}: neither it nor a folder in it has a {CARD} "
        f"('lab' names the specialists that ship with simedit)"
    )


def read_card(folder: Path) -> Card:
    """A specialist's card as it is on disk; no weights are read.

    Raises:
        SimeditError: it is missing or broken.
    """
    return parse_config(Card, load_json(folder / CARD), where=str(folder / CARD))


def style_image(folder: Path) -> tuple[str, Path]:
    """A specialist's style, and the file of the style image that its edits use. No weights are read.

    Raises:
        SimeditError: no specialist there, or its card is broken or names a style image that it has not.
    """
    card = read_card(folder)
    file = folder / f"style_{card.style_image}.png"
    if not file.is_file():
        raise SimeditError(f"cannot read the specialist at {folder}, copy it anew: {file.name} is missing")
    return card.style, file


def _pictures(folder: Path) -> list[Path]:
    """The style images in their order."""
    files = [folder / f"style_{i}.png" for i in range(len([*folder.glob("style_*.png")]))]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{file.name} is missing among its style images, which are numbered from 0")
    return files


def read_picture(file: Path) -> np.ndarray:
    """A style image, uint8 [H, W, 3].

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: it cannot be read, or is too large.
    """
    with Image.open(file) as image:
        if image.width * image.height > LARGEST_PICTURE:
            raise ValueError(
                f"{file.name} has {image.width} x {image.height} pixels, {LARGEST_PICTURE:,} is the most"
            )
        return np.array(image.convert("RGB"))


def _replace(path: Path, new: Path) -> None:
    """Move the folder `new` to `path`; what was there goes beside `new`, and comes back if that fails."""
    for attempt in count():
        old = new.parent / f"old{attempt}"
        with suppress(FileNotFoundError):
            path.rename(old)
        try:
            new.rename(path)
            return
        except BaseException as error:
            if not (isinstance(error, OSError) and path.exists()):  # else another process came between
                if old.exists():
                    old.rename(path)
                raise


def lora_config(rank: int, alpha: float) -> LoraConfig:
    """The adapter of arXiv 2504.12833, section 6.2: LoRA on the attention's projections, conv_in whole."""
    targets = list(ADAPTED)
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, modules_to_save=[WHOLE])  # type: ignore[arg-type]


def adapter_weights(unet: PeftModel, adapter: str, style_attention: StyleAttention) -> dict[str, Tensor]:
    """A specialist's weights: `adapter` of `unet` ("unet.*") and the whole `style_attention`."""
    state = get_peft_model_state_dict(unet, adapter_name=adapter, save_embedding_layers=False)
    weights = {key.replace("base_model.model.", "unet.", 1): value for key, value in state.items()}
    return weights | {f"style_attention.{key}": value for key, value in style_attention.state_dict().items()}


def set_weights(
    specialist: Specialist, unet: PeftModel, adapter: str, style_attention: StyleAttention
) -> None:
    """Copy a specialist's weights into `adapter` of `unet` and into `style_attention`.

    Raises:
        SimeditError: a weight is missing, unknown, or of another shape: it was made for another base.
    """
    wanted = {k: tuple(v.shape) for k, v in adapter_weights(unet, adapter, style_attention).items()}
    given = {k: tuple(v.shape) for k, v in specialist.weights.items()}
    wrong = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
    if wrong:
        key = wrong[0]
        raise SimeditError(
            f"specialist {specialist.card.style!r} does not fit the base: {len(wrong)} weights differ, "
            f"{key} is {given.get(key, 'missing')} and should be {wanted.get(key, 'absent')}"
        )
    split: dict[str, dict[str, Tensor]] = {"unet": {}, "style_attention": {}}
    for key, value in specialist.weights.items():
        part, name = key.split(".", 1)
        split[part][name] = value
    set_peft_model_state_dict(unet, {f"base_model.model.{k}": v for k, v in split["unet"].items()}, adapter)
    style_attention.load_state_dict(split["style_attention"])
