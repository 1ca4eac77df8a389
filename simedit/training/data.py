"""What a training is fed with: input frames, style images, and what each sample draws of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from simedit.errors import SimeditError
from simedit.images import images_in, listed, masks_beside, open_image, read_mask, rgb, say
from simedit.training.config import ImagesConfig

SMALLEST = 32
"""Pixels: a shorter side is refused."""

STYLE_SIDE = 512
"""Pixels: a longer side of a style image is shrunk to it, as every specialist keeps its style images."""


class Inputs(Protocol):
    """The frames that a specialist learns to edit, all of the size trained at."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame, uint8 [H, W, 3], and its mask, bool [H, W], True where an edit belongs, if it has one.

        Raises:
            IndexError: there is no such input.
        """
        ...

    def unseen(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None] | None:
        """A frame, and its mask, that is like the inputs and none of them, for any index; None if there are
        no others."""
        ...

    def regions(self, number: int, /) -> Mapping[str, np.ndarray]:
        """The masks by region, bool [H, W], of an input, or as number len(inputs) + i of the unseen frame i;
        none where it has but one mask, or no mask."""
        ...


class ImageInputs:
    """Inputs from a folder of images. All are read once now, so that a broken one is not met hours later.

    How many there are, and which masks are empty, is said on stderr.

    Args:
        config: the folder, and the folder of masks if there is one.
        width, height: of the frames, pixels.

    Raises:
        SimeditError: no folder, no images, one that `read_photo` refuses; a mask that is missing, broken or
            of another size than its image; two masks for one image.
    """

    def __init__(self, config: ImagesConfig, width: int, height: int) -> None:
        folder = Path(config.path)
        names = images_in(folder)
        self._size = (width, height)
        self._images = [folder / name for name in names]
        self._masks = {
            region: masks_beside(folder, names, Path(masks)) for region, masks in config.mask_folders.items()
        }
        self._region = config.region or ""
        say(f"{len(names)} input images in {folder}")
        empty = []
        for i, path in enumerate(self._images):
            shape = read_photo(path).shape[:2]
            for region, masks in self._masks.items():
                mask = read_mask(masks[i], may_be_empty=True)
                if mask.shape != shape:
                    raise SimeditError(
                        f"the mask {masks[i]} is {mask.shape[1]} x {mask.shape[0]} pixels and {path} is "
                        f"{shape[1]} x {shape[0]}: they must be equal"
                    )
                if region == self._region and not fit(mask, *self._size).any():
                    empty.append(masks[i])
        if empty:
            say(
                f"{len(empty)} of {len(names)} masks are black all over, at {width} x {height} pixels cut at "
                f"the centre: there nothing may change: {listed(empty)}"
            )

    def __len__(self) -> int:
        return len(self._images)

    def unseen(self, index: int, /) -> None:
        return None

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        """The frame, uint8 [height, width, 3], and its mask, bool [height, width]."""
        frame = fit(read_photo(self._images[index]), *self._size)
        return frame, self._mask(self._region, index) if self._region in self._masks else None

    def regions(self, number: int, /) -> dict[str, np.ndarray]:
        return {region: self._mask(region, number) for region in self._masks if region}

    def _mask(self, region: str, index: int) -> np.ndarray:
        return fit(read_mask(self._masks[region][index], may_be_empty=True), *self._size)


def read_photo(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], RGB, upright as its EXIF says.

    Grey becomes RGB, 16 bits become 8, and what is transparent is laid on white.

    Raises:
        SimeditError: not an image, a broken one, one of other numbers, or a side below `SMALLEST`.
    """
    image = open_image(path)
    if min(image.size) < SMALLEST:
        raise SimeditError(f"{path} is {image.width} x {image.height} pixels: {SMALLEST} a side is the least")
    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise SimeditError(f"{path} has pixels of more than 16 bits: convert it to 8 bits")
        return np.repeat((grey / 257).round().astype(np.uint8)[..., None], 3, axis=-1)
    return np.array(rgb(image))


def style_files(path: Path) -> list[Path]:
    """The style images' files, by name: 2.jpg comes before 10.jpg.

    Args:
        path: a folder without images in folders of its own, or one image.

    Raises:
        SimeditError: no images there, or some in folders below.
    """
    try:
        files = [path] if path.is_file() else [path / name for name in images_in(path, deep=False)]
    except SimeditError as error:
        raise SimeditError(
            f"no style images: {error}. Give a folder of photographs that show the style, five are usual"
        ) from error
    return sorted(files, key=_natural)


def read_style_images(path: Path) -> tuple[np.ndarray, ...]:
    """The style images, uint8 [h, w, 3], at most `STYLE_SIDE` a side, in the order of `style_files`.

    Which they are is said on stderr.

    Args:
        path: as for `style_files`.

    Raises:
        SimeditError: as `style_files`, and one that `read_photo` refuses.
    """
    files = style_files(path)
    images = [Image.fromarray(read_photo(file)) for file in files]
    say(f"style images ({len(files)}): {listed([Path(file.name) for file in files])}")
    for image in images:
        image.thumbnail((STYLE_SIDE, STYLE_SIDE))
    return tuple(np.array(image) for image in images)


def read_style_masks(path: Path, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """bool [h, w], the part of each style image that shows the style, from a folder of masks, white there.

    Args:
        path: the folder; sorted by name, as the style images are, its masks are theirs.
        images: the style images, uint8 [h, w, 3] each.

    Raises:
        SimeditError: not as many masks as images, a broken or black one, or one of another aspect.
    """
    files = sorted((path / name for name in images_in(path, deep=False)), key=_natural)
    if len(files) != len(images):
        raise SimeditError(f"{path} has {len(files)} masks for {len(images)} style images: each needs one")
    masks = []
    for file, image in zip(files, images, strict=True):
        mask, (height, width) = read_mask(file), image.shape[:2]
        if abs(mask.shape[1] / mask.shape[0] * height / width - 1) > 0.02:
            raise SimeditError(
                f"the mask {file} is {mask.shape[1]} x {mask.shape[0]} pixels, which is not the shape of its "
                f"style image: masks and style images must sort alike by name"
            )
        masks.append(fit(mask, width, height))
    return masks


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


def _natural(file: Path) -> list[tuple[int, str]]:
    """2.jpg before 10.jpg."""
    return [(len(n), n) if n.isdigit() else (0, n) for n in re.split(r"(\d+)", str(file))]


def _random(seed: int, *key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
