"""Image files as frames and masks, and which files of a folder are images."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from simedit.errors import SimeditError

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff")
FOREIGN = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".gif", ".apng", ".mpo", ".psd", ".xcf"),
    *(".svg", ".eps", ".exr", ".hdr", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".ico", ".dds", ".raw"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),
)
"""Pictures of kinds that are not read."""
JUNK = ("thumbs.db", "desktop.ini", "__macosx")
"""What systems leave in folders, beside hidden files."""
_CONVERT = "convert it to PNG or JPEG first"
_GREY = 0.5
"""A mask of which more is neither black nor white is none."""


def images_in(folder: Path, *, deep: bool = True) -> list[Path]:
    """The paths of its images, relative to it, sorted; what else lies there is named on stderr.

    Hidden files, and what systems leave in folders, do not count. Links are followed, loops of them but once.

    Args:
        deep: at any depth; else a folder with images in it is refused.

    Raises:
        SimeditError: no such folder, one that cannot be read, no image in it, a picture of a kind that is not
            read, or an image's name on what is no plain file.
    """
    if not folder.is_dir():
        raise SimeditError(f"there is no folder {folder}")
    images, others = [], []
    for name in _files(folder, Path(), set()):
        path, suffix = folder / name, name.suffix.lower()
        if suffix not in IMAGES + FOREIGN:
            others.append(name)
        elif not path.is_file():
            what = "a link to nothing" if path.is_symlink() and not path.exists() else "no plain file"
            raise SimeditError(f"{path} is {what}: remove it")
        elif not deep and len(name.parts) > 1:
            raise SimeditError(
                f"{folder} has images in folders of its own, such as {name}: give one folder, without any"
            )
        elif suffix in FOREIGN:
            raise SimeditError(f"cannot read {path}: {_CONVERT}, or move it out of {folder}")
        else:
            images.append(name)
    if not images:
        raise SimeditError(f"no images in {folder}: they end in one of {' '.join(IMAGES)}")
    if others:
        say(f"{folder}: not images, and left out: {listed(others)}")
    return images


def listed(names: list[Path], most: int = 10) -> str:
    """The names in a row, the first of them where there are many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more


def say(line: str) -> None:
    """Print a line on stderr, of several processes of one training in the first alone."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)


def read_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], RGB in sRGB, upright as its EXIF says. What is transparent is laid on white.

    Raises:
        SimeditError: not an image, a broken one, one of several pages, or of more than 8 bits in one channel.
    """
    return np.array(rgb(open_image(path, deepest=8)))


def read_mask(path: Path, *, may_be_empty: bool = False) -> np.ndarray:
    """bool [H, W], True where the image is white (a channel above 127) and not transparent.

    Raises:
        SimeditError: not an image, nothing in it is white, or most of it is neither black nor white.
    """
    values = np.array(rgb(open_image(path, deepest=8), background="black")).max(axis=-1)
    if ((values > 63) & (values < 192)).mean() > _GREY:
        raise SimeditError(f"the mask {path} is grey: paint white (255) where the edit may show, else black")
    mask = values > 127
    if not (may_be_empty or mask.any()):
        raise SimeditError(f"the mask {path} is black all over: paint white (255) where the edit may show")
    return mask


def masks_beside(folder: Path, names: Sequence[Path], masks: Path) -> list[Path]:
    """The mask's file of each image of a folder: of the same relative path, with any image's suffix.

    Args:
        folder: of the images; or the one image.
        names: the images, relative to `folder`.
        masks: the folder of the masks.

    Raises:
        SimeditError: an image has none, or two; the masks are images of the folder.
    """
    if folder.resolve() in (masks.resolve(), *masks.resolve().parents):
        raise SimeditError(f"the masks {masks} lie inside the images {folder}: choose a folder beside it")
    there: dict[Path, Path] = {}
    for name in images_in(masks):
        if (other := there.setdefault(name.with_suffix(""), masks / name)) != masks / name:
            raise SimeditError(f"{other} and {masks / name} are both the mask of one image: remove one")
    missing = [str(name) for name in names if name.with_suffix("") not in there]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise SimeditError(
            f"{masks} has no mask for {', '.join(missing[:5])}{more}: each image needs one of its own path"
        )
    return [there[name.with_suffix("")] for name in names]


def open_image(path: Path, *, deepest: int = 16) -> Image.Image:
    """The image, all of it read, upright as its EXIF says, in sRGB where a profile says otherwise.

    Args:
        deepest: bits of a channel that are allowed. Colours of 16 bits come as 8.

    Raises:
        SimeditError: not an image, a broken one, one of several pages, a deeper one, or a colour profile that
            cannot be used.
    """
    if path.exists() and not path.is_file():
        raise SimeditError(f"cannot read the image {path}: it is no plain file")
    try:
        # Pillow warns of what it can read all the same, and of sizes from half its own bound on.
        with _quiet(), Image.open(path) as image:
            if (pages := _pages(image)) > 1:
                raise SimeditError(
                    f"{path} holds {pages} pictures: save the one that is meant as a file of its own"
                )
            deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile) for tile in image.tile)
            if deep and deepest < 16:
                raise SimeditError(f"{path} has more than 8 bits a channel: convert it to 8 bits first")
            image.load()
            return _srgb(ImageOps.exif_transpose(image))
    except (SimeditError, MemoryError):
        raise
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise SimeditError(f"{path} has more than {most} megapixels: shrink it first") from None
    except ImageCms.PyCMSError as error:
        raise SimeditError(f"{path} has a broken colour profile: save it as sRGB first") from error
    except Exception as error:  # Pillow lets through whatever a broken file makes its readers stumble over
        reason = getattr(error, "strerror", None) or f"{error}" or type(error).__name__
        raise SimeditError(f"cannot read the image {path}: {reason}") from error


def rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """The image in RGB of 8 bits a channel, what is transparent laid on the background."""
    if _transparent(image):
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))
    return image.convert("RGB")


def _files(folder: Path, below: Path, seen: set[str]) -> list[Path]:
    """What is no folder, hidden or junk, at any depth, relative to the folder; each folder once."""
    try:
        entries = sorted(os.scandir(folder / below), key=lambda entry: entry.name)
    except OSError as error:
        raise SimeditError(f"cannot read the folder {folder / below}: {error.strerror}") from error
    seen.add(os.path.realpath(folder / below))
    found = []
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in JUNK:
            continue
        if not os.path.isdir(entry.path):  # of a link to itself `entry.is_dir` is an error
            found.append(below / entry.name)
        elif os.path.realpath(entry.path) not in seen:
            found += _files(folder, below / entry.name, seen)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pages(image: Image.Image) -> int:
    """How many pictures it holds. In a camera's JPEG, smaller ones are previews and maps of brightness."""
    count, size = getattr(image, "n_frames", 1), image.size
    if image.format != "MPO":
        return count
    pages = 0
    for number in reversed(range(count)):  # the first stays open
        image.seek(number)
        pages += image.size[0] * image.size[1] >= size[0] * size[1]
    return pages


def _srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode.startswith(("I", "F")):
        return image
    try:
        given: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(given):
            return image
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}[given.profile.xcolor_space.strip()]
        plain = image if image.mode == mode else image.convert(mode)
        converted = ImageCms.profileToProfile(plain, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, KeyError) as error:
        raise ImageCms.PyCMSError(error) from error
    assert converted is not None
    if _transparent(image):
        converted.putalpha(image.convert("RGBA").getchannel("A"))
    return converted


def _transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info
