"""What a training is fed with: input frames, style images, the region of each, and what each sample draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from simedit.errors import SimeditError
from simedit.files import images_in, open_image, read_mask
from simedit.training.config import ImagesConfig, RegionsConfig, StyleConfig

SMALLEST = 32
"""Pixels: a shorter side is refused."""

STYLE_SIDE = 512
"""Pixels: a longer side of a style image is shrunk to it, as every specialist keeps its style images."""

Segment = Callable[[Tensor, Sequence[str]], tuple[Tensor, Tensor]]
"""(images float [N, 3, H, W] in 0..1, N nouns) -> (masks bool [N, H, W], found bool [N]), as GroundedSam2."""


class Inputs(Protocol):
    """The frames that a specialist learns to edit, all of the size trained at."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame, uint8 [H, W, 3], and its mask, bool [H, W], True where an edit belongs, if it has one.

        Raises:
            IndexError: there is no such input.
        """
        ...


class ImageInputs:
    """Inputs from a folder of images. All are read once now, so that a broken one is not met hours later.

    Args:
        config: the folder, and the folder of masks if there is one.
        width, height: of the frames, pixels.

    Raises:
        SimeditError: no folder, no images, one that `read_photo` refuses; a mask that is missing, broken or
            of another size than its image.
    """

    def __init__(self, config: ImagesConfig, width: int, height: int) -> None:
        folder = Path(config.path)
        names = images_in(folder)
        self._size = (width, height)
        self._images = [folder / name for name in names]
        self._masks = None if config.masks is None else _masks(folder, names, Path(config.masks))
        for i, path in enumerate(self._images):
            shape = read_photo(path).shape[:2]
            if self._masks is None:
                continue
            mask = read_mask(self._masks[i], may_be_empty=True)
            if mask.shape != shape:
                raise SimeditError(
                    f"the mask {self._masks[i]} is {mask.shape[1]} x {mask.shape[0]} pixels and {path} is "
                    f"{shape[1]} x {shape[0]}: they must be equal"
                )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame, uint8 [height, width, 3], and its mask, bool [height, width]."""
        frame = fit(read_photo(self._images[index]), *self._size)
        if self._masks is None:
            return frame, None
        return frame, fit(read_mask(self._masks[index], may_be_empty=True), *self._size)


def read_photo(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], RGB, upright as its EXIF says.

    Grey becomes RGB, 16 bits become 8, and what is transparent is laid on white.

    Raises:
        SimeditError: not an image, a broken one, one of other numbers, or a side below `SMALLEST`.
    """
    with open_image(path) as image:
        if min(image.size) < SMALLEST:
            raise SimeditError(
                f"{path} is {image.width} x {image.height} pixels: {SMALLEST} a side is the least"
            )
        if image.mode.startswith(("I", "F")):
            grey = np.asarray(image)
            if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
                raise SimeditError(f"{path} has pixels of more than 16 bits: convert it to 8 bits")
            return np.repeat((grey / 257).round().astype(np.uint8)[..., None], 3, axis=-1)
        if "A" in image.getbands() or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return np.array(image.convert("RGB"))


def read_style_images(path: Path) -> tuple[np.ndarray, ...]:
    """The style images, uint8 [h, w, 3], at most `STYLE_SIDE` a side, by name: 2.jpg comes before 10.jpg.

    Args:
        path: a folder, whose images at any depth are meant, or one image.

    Raises:
        SimeditError: no images there, or one that `read_photo` refuses.
    """
    try:
        files = [path] if path.is_file() else [path / name for name in images_in(path)]
    except SimeditError as error:
        raise SimeditError(
            f"no style images: {error}. Give a folder of photographs that show the style, five are usual"
        ) from error
    files.sort(
        key=lambda file: [(len(n), n) if n.isdigit() else (0, n) for n in re.split(r"(\d+)", str(file))]
    )
    images = [Image.fromarray(read_photo(file)) for file in files]
    for image in images:
        image.thumbnail((STYLE_SIDE, STYLE_SIDE))
    return tuple(np.array(image) for image in images)


def fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale to cover width x height and cut at the centre, antialiased.

    Args:
        image: uint8 [H, W, 3]; or a mask, bool [H, W], which stays True where at least half is.
    """
    size = (width, height)
    if image.dtype != bool:
        return np.array(ImageOps.fit(Image.fromarray(image), size, Image.Resampling.BILINEAR))
    grey = Image.fromarray(image.astype(np.uint8) * 255)
    return np.array(ImageOps.fit(grey, size, Image.Resampling.BOX)) > 127


@dataclass(frozen=True)
class Draw:
    """What one sample is made from.

    Attributes:
        input, wording, style: indices of the input, the prompt's wording and the style image.
        noise_seed: in 0 .. 2^63 - 1, its own in every sample.
    """

    input: int
    wording: int
    style: int
    noise_seed: int


def draws(seed: int, step: int, samples: int, inputs: int, wordings: int, styles: int) -> list[Draw]:
    """What the samples of a training step are made from: it follows from the arguments alone.

    Inputs come in a random order, all of them once before any comes again. Style images take turns, and begin
    one further in each step. Wordings are drawn.

    Args:
        seed, step: 0 or more.
        samples, inputs, wordings, styles: how many there are, 1 or more.
    """
    first, end = step * samples, (step + 1) * samples
    turns = range(first // inputs, (end - 1) // inputs + 1)
    orders = {turn: _random(seed, 0, turn).permutation(inputs) for turn in turns}
    result = []
    for index in range(samples):
        turn, place = divmod(first + index, inputs)
        random = _random(seed, 1, step, index)
        result.append(
            Draw(
                input=int(orders[turn][place]),
                wording=int(random.integers(wordings)),
                style=(step + index) % styles,
                noise_seed=int(random.integers(2**63)),
            )
        )
    return result


class Regions:
    """Where the edit belongs in each input, and which part of each style image shows the style.

    Args:
        config: where masks come from.
        style: its nouns, filled in. Where one is null, "grounded-sam2" means the whole image.
        images: the style images, uint8 [h, w, 3] each.
        load: loads what looks for nouns; called only if some noun is to be looked for.

    Attributes:
        styles: bool [h, w] for each style image; all of it where the noun was not found.
        styles_found: whether the noun was found, for each; empty if none was looked for.
        found: the same for each input looked at so far, by its index.
    """

    def __init__(
        self,
        config: RegionsConfig,
        style: StyleConfig,
        images: Sequence[np.ndarray],
        load: Callable[[], Segment],
    ) -> None:
        self._own = config.inputs in ("simulator", "files")
        self._noun = style.noun if config.inputs == "grounded-sam2" else None
        self._kept: dict[int, np.ndarray] = {}
        self.found: dict[int, bool] = {}
        self.styles = [np.ones(image.shape[:2], bool) for image in images]
        self.styles_found: list[bool] = []
        style_noun = style.style_noun if config.styles == "grounded-sam2" else None
        segment = None if self._noun is None and style_noun is None else load()
        if segment is not None and style_noun is not None:
            results = [_look(segment, image[None], style_noun) for image in images]
            self.styles = [masks[0] for masks, _ in results]
            self.styles_found = [found[0] for _, found in results]
        self._segment = None if self._noun is None else segment  # not kept in memory for nothing

    def inputs(
        self, indices: Sequence[int], frames: np.ndarray, own: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        """bool [N, H, W], the regions of the inputs `indices`. Each input is looked at once.

        Args:
            indices: N numbers of inputs.
            frames: uint8 [N, H, W, 3], the inputs' frames.
            own: the inputs' own masks.

        Raises:
            SimeditError: an input lacks the mask that the config asks for.
        """
        if self._own:
            return np.stack([_own(index, mask) for index, mask in zip(indices, own, strict=True)])
        if self._segment is None or self._noun is None:
            return np.ones(frames.shape[:3], bool)
        new = {index: frame for index, frame in zip(indices, frames, strict=True) if index not in self.found}
        if new:
            masks, found = _look(self._segment, np.stack(list(new.values())), self._noun)
            self._kept |= zip(new, np.packbits(masks, axis=-1), strict=True)
            self.found |= zip(new, found, strict=True)
        kept = np.stack([self._kept[index] for index in indices])
        return np.unpackbits(kept, axis=-1, count=frames.shape[2]).astype(bool)


def check_masks(config: RegionsConfig, inputs: Inputs) -> None:
    """Check that the inputs' own masks, if they are what is meant, mark something somewhere.

    Raises:
        SimeditError: all are empty, or one on the way to the first that is not is missing.
    """
    if config.inputs not in ("simulator", "files"):
        return
    if not any(_own(index, inputs[index][1]).any() for index in range(len(inputs))):
        raise SimeditError(
            f"the masks of all {len(inputs)} inputs are empty, so no edit belongs anywhere: masks are white "
            f"(255) where it does. Without masks, set regions.inputs to full-frame or grounded-sam2"
        )


def _own(index: int, mask: np.ndarray | None) -> np.ndarray:
    if mask is None:
        raise SimeditError(f"input {index} has no mask: set regions.inputs to full-frame or grounded-sam2")
    return mask


def _look(segment: Segment, frames: np.ndarray, noun: str) -> tuple[np.ndarray, list[bool]]:
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    masks, found = segment(images, [noun] * len(frames))
    return masks.numpy(), found.tolist()


def _masks(folder: Path, names: Sequence[Path], masks: Path) -> list[Path]:
    """The mask of each image, by its relative path without the suffix."""
    if folder.resolve() in (masks.resolve(), *masks.resolve().parents):
        raise SimeditError(f"the masks {masks} lie inside the images {folder}: choose a folder beside it")
    there = {name.with_suffix(""): masks / name for name in images_in(masks)}
    missing = [str(name) for name in names if name.with_suffix("") not in there]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise SimeditError(
            f"{masks} has no mask for {', '.join(missing[:5])}{more}: each image needs one of its own path"
        )
    return [there[name.with_suffix("")] for name in names]


def _random(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
