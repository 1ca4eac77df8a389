"""A specialist, the trained weights for one style, as a folder; and a library of them on one loaded base.

A specialist's folder:
    card.json            what it is and how it is meant to be run (`Card`)
    adapter.safetensors  "unet.*": peft's LoRA and the whole conv_in; "style_attention.*": the whole module
    style_0.png ...      its style images; edits use the one that the card names
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from simedit.composition import compose
from simedit.config import Config, parse_config
from simedit.errors import SimeditError, unknown
from simedit.pipeline import (
    DEFAULT_BASE,
    Conditioning,
    Scales,
    SpecialistPipeline,
    denoise,
    scales_tensor,
)
from simedit.samplers import Schedule
from simedit.style_attention import StyleAttention

CARD = "card.json"
WEIGHTS = "adapter.safetensors"


class Card(Config):
    """What a specialist is. On disk a relative `base` (one that starts with a dot) is relative to the folder.

    Attributes:
        style: the material's name, as `edit` takes it.
        base: the base's hub id or directory.
        instruction: the prompt that edits use.
        steps: denoising steps.
        style_image: the index of the style image that edits use.
        lora_rank, lora_alpha: of the adapter.
        training: the training's own record; null where the weights are untrained.
    """

    schema_version: Literal[1] = 1
    style: str = Field(min_length=1)
    base: str = DEFAULT_BASE
    instruction: str
    scales: Scales = Scales()
    steps: PositiveInt = 100
    sampler: Literal["euler_ancestral", "ddim"] = "euler_ancestral"
    style_image: NonNegativeInt = 0
    lora_rank: PositiveInt = 8
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
        if not self.card.style_image < len(self.style_images):
            raise SimeditError(
                f"specialist {self.card.style!r}: style image {self.card.style_image} is wanted, but it has "
                f"{len(self.style_images)}"
            )

    @classmethod
    def load(cls, path: str | Path) -> Specialist:
        """Read a specialist's folder.

        Raises:
            SimeditError: no such folder, or its card, weights or style images are missing or broken.
        """
        path = Path(path)
        if not (path / CARD).is_file():
            raise SimeditError(f"{path} is not a specialist's folder: it has no {CARD}")
        try:
            data = json.loads((path / CARD).read_text(encoding="utf-8"))
            card = parse_config(Card, data, where=str(path / CARD))
            weights = load_file(path / WEIGHTS)
            images = []
            while (file := path / f"style_{len(images)}.png").is_file():
                with Image.open(file) as image:
                    images.append(np.array(image.convert("RGB")))
        except (OSError, ValueError, SafetensorError) as error:
            raise SimeditError(f"cannot read the specialist at {path}, copy it anew: {error}") from error
        if card.base.startswith("."):
            card = card.model_copy(update={"base": str((path / card.base).resolve())})
        return cls(card, weights, tuple(images))

    def save(self, path: str | Path) -> None:
        """Write the folder beside `path` and move it there, so that no half-written specialist is ever seen.

        Raises:
            SimeditError: `path` holds something else, or cannot be written.
        """
        path = Path(path).resolve()
        if path.exists() and not (path / CARD).is_file():
            raise SimeditError(f"{path} exists and is not a specialist's folder: choose another")
        card = self.card
        if os.path.isabs(card.base):
            relative = os.path.relpath(card.base, path)
            card = card.model_copy(update={"base": relative if relative.startswith(".") else f"./{relative}"})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
                new = Path(scratch) / "new"
                new.mkdir()
                (new / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
                save_file({k: v.cpu().contiguous() for k, v in self.weights.items()}, new / WEIGHTS)
                for i, image in enumerate(self.style_images):
                    Image.fromarray(image).save(new / f"style_{i}.png")
                if path.exists():
                    path.rename(Path(scratch) / "old")
                new.rename(path)
        except OSError as error:
            raise SimeditError(f"cannot write the specialist {path}: {error.strerror or error}") from error


def lora_config(rank: int, alpha: float) -> LoraConfig:
    """The adapter of arXiv 2504.12833, section 6.2: LoRA on the attention's projections, conv_in whole."""
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, modules_to_save=["conv_in"])  # type: ignore[arg-type]


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


@dataclass(frozen=True)
class _Loaded:
    """A specialist in the library; what stays constant over its edits is computed once."""

    card: Card
    adapter: str
    style_attention: StyleAttention
    style_image: Tensor
    text: Tensor
    style_latents: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class SpecialistLibrary:
    """Several specialists on one loaded base: an `Editor` (see simedit.protocols).

    Frames of different styles share one U-Net call: peft routes each frame through its own adapter.

    The adapters go into `pipeline.unet` in place: the library owns the pipeline from then on.

    Args:
        pipeline: the base, on its device.
        batch_size: frames edited at once (the U-Net sees four times as many).
        steps: denoising steps, in place of the cards'.
    """

    def __init__(self, pipeline: SpecialistPipeline, *, batch_size: int = 8, steps: int | None = None):
        if batch_size < 1:
            raise SimeditError(f"batch_size must be 1 or more, got {batch_size}")
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.steps = steps
        self._loaded: dict[str, _Loaded] = {}
        self._unet: Any = None  # a PeftModel from the first specialist on
        self._added = 0
        with torch.no_grad():
            self._empty_text = pipeline.encode_text([""])

    @classmethod
    def load(
        cls,
        paths: str | Path | Sequence[str | Path],
        *,
        base: str | Path | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        steps: int | None = None,
        batch_size: int = 8,
    ) -> SpecialistLibrary:
        """Load a specialist's folder, a folder of them, or several of either, and their base, once.

        Args:
            paths: the folders.
            base: in place of the cards' base.
            device: default: cuda where there is one, else cpu.
            dtype: default: float16 on cuda, else float32.
            steps, batch_size: as the class's.

        Raises:
            SimeditError: no specialist there, a broken one, or specialists on different bases.
        """
        roots = [paths] if isinstance(paths, str | Path) else list(paths)
        specialists = [Specialist.load(folder) for root in roots for folder in _folders(Path(root))]
        bases = {s.card.base for s in specialists} if base is None else {str(base)}
        if len(bases) != 1:
            raise SimeditError(
                f"a library has one base, but these specialists name {sorted(bases)}: give `base`"
            )
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
        # diffusers renames this option: do not trouble the users of float32 with its warning.
        precision = {} if dtype == torch.float32 else {"torch_dtype": dtype}
        pipeline = SpecialistPipeline.from_pretrained(bases.pop(), **precision).to(device)
        library = cls(pipeline, batch_size=batch_size, steps=steps)
        for specialist in specialists:
            library.add(specialist)
        return library

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        return tuple(self._loaded)

    def add(self, specialist: Specialist) -> None:
        """Add a specialist without reloading the base.

        Raises:
            SimeditError: its style is already there, or its weights do not fit the base.
        """
        card = specialist.card
        if card.style in self._loaded:
            raise SimeditError(f"the library already holds style {card.style!r}: remove it first")
        pipe = self.pipeline
        style_attention = copy.deepcopy(pipe.style_attention)
        adapter = self._add_adapter(lora_config(card.lora_rank, card.lora_alpha))
        try:
            set_weights(specialist, self._unet, adapter, style_attention)
        except SimeditError:
            self._delete_adapter(adapter)
            raise
        pixels = torch.tensor(specialist.style_images[card.style_image]).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            text = pipe.encode_text([card.instruction])
        self._loaded[card.style] = _Loaded(card, adapter, style_attention, pixels, text)

    def remove(self, style: str) -> None:
        """Drop a specialist and free its weights.

        Raises:
            SimeditError: unknown style.
        """
        if style not in self._loaded:
            raise unknown("style", style, self._loaded)
        self._delete_adapter(self._loaded.pop(style).adapter)

    @torch.no_grad()
    def edit(
        self,
        frames: np.ndarray,
        *,
        styles: Sequence[str],
        masks: np.ndarray | None = None,
        seeds: Sequence[int],
    ) -> np.ndarray:
        """Repaint each frame in its own style: see `simedit.protocols.Editor.edit`."""
        _check_input(frames, styles, masks, seeds)
        for style in styles:
            if style not in self._loaded:
                raise unknown("style", style, self._loaded)
        edits = np.empty_like(frames)
        runs: dict[tuple[str, int], list[int]] = {}
        for i, style in enumerate(styles):
            card = self._loaded[style].card
            runs.setdefault((card.sampler, self.steps or card.steps), []).append(i)
        for (sampler, steps), members in runs.items():
            schedule = self.pipeline.schedule(sampler, steps)
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                edits[batch] = self._edit(
                    frames[batch], [styles[i] for i in batch], [seeds[i] for i in batch], schedule
                )
        return edits if masks is None else compose(frames, edits, masks)

    def _edit(
        self, frames: np.ndarray, styles: list[str], seeds: list[int], schedule: Schedule
    ) -> np.ndarray:
        pipe, (height, width) = self.pipeline, frames.shape[1:3]
        loaded = [self._loaded[style] for style in styles]
        image = pipe.encode_images(torch.tensor(frames).permute(0, 3, 1, 2) / 255)
        text = torch.cat([one.text for one in loaded])
        style = torch.empty_like(image)
        for name in set(styles):
            at = [i for i, s in enumerate(styles) if s == name]
            latents = self._style_latents(self._loaded[name], height, width).expand_as(image[at])
            style[at] = self._loaded[name].style_attention(latents, image[at], text[at])
        conditioning = Conditioning(
            text=text,
            empty_text=self._empty_text,
            image=image,
            style=style,
            scales=scales_tensor([one.card.scales for one in loaded]),
        )
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        # A batch of one style needs no routing by frame, which takes peft a third of a small model's time.
        routing = {}
        if len(set(styles)) == 1:
            self._unet.set_adapter(loaded[0].adapter)
        else:
            routing = {"adapter_names": [one.adapter for one in loaded] * 4}
        latents = denoise(self._unet, conditioning, schedule, generators, **routing)
        images = pipe.decode(latents, height, width)
        return (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def _style_latents(self, loaded: _Loaded, height: int, width: int) -> Tensor:
        if (height, width) not in loaded.style_latents:
            loaded.style_latents[height, width] = self.pipeline.encode_style(
                loaded.style_image, height, width
            )
        return loaded.style_latents[height, width]

    def _add_adapter(self, config: LoraConfig) -> str:
        adapter = f"specialist{self._added}"
        self._added += 1
        if self._unet is None:
            self._unet = get_peft_model(self.pipeline.unet, config, adapter, autocast_adapter_dtype=False)
        else:
            self._unet.add_adapter(adapter, config, autocast_adapter_dtype=False)
        self._unet.eval()
        return adapter

    def _delete_adapter(self, adapter: str) -> None:
        others = [name for name in self._unet.peft_config if name != adapter]
        if others:
            # peft routes frames only while the active adapter exists.
            self._unet.set_adapter(others[0])
            self._unet.delete_adapter(adapter)
        else:
            self._unet.unload()
            self._unet = None


def _check_input(
    frames: np.ndarray, styles: Sequence[str], masks: np.ndarray | None, seeds: Sequence[int]
) -> None:
    if not isinstance(frames, np.ndarray):
        raise SimeditError(f"frames must be a uint8 array [N,H,W,3], got {type(frames).__name__}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise SimeditError(f"frames must be uint8 [N,H,W,3], got {frames.dtype} {list(frames.shape)}")
    if isinstance(styles, str):
        raise SimeditError(f"styles must be a list, one for each frame, not the one name {styles!r}")
    if not len(frames) == len(styles) == len(seeds):
        raise SimeditError(
            f"{len(frames)} frames need as many styles and seeds, got {len(styles)} and {len(seeds)}"
        )
    if not all(isinstance(seed, int | np.integer) for seed in seeds):
        raise SimeditError(f"seeds must be integers, got {list(seeds)}")
    if masks is not None and (masks.dtype != bool or masks.shape != frames.shape[:3]):
        raise SimeditError(
            f"masks must be bool {list(frames.shape[:3])}, one for each frame, "
            f"got {masks.dtype} {list(masks.shape)}"
        )


def _folders(root: Path) -> list[Path]:
    if (root / CARD).is_file():
        return [root]
    found = sorted(p.parent for p in root.glob(f"*/{CARD}"))
    if not found:
        raise SimeditError(f"no specialist at {root}: neither it nor a folder in it has a {CARD}")
    return found
