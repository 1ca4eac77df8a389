"""Image and video files as frames. Every output appears whole, under its own name, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageOps

from simedit.errors import SimeditError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mov", ".mkv", ".avi")

Edit = Callable[[np.ndarray], np.ndarray]
"""Repaints uint8 [N, H, W, 3]."""


@dataclass(frozen=True)
class Job:
    """One file to edit.

    Attributes:
        source, target: the file read and the file to be written.
        frames: how many frames it holds (for a video as ffmpeg counts them, good for a progress bar).
        size: height and width of each, pixels.
    """

    source: Path
    target: Path
    frames: int
    size: tuple[int, int]


def plan(source: Path, target: Path, *, overwrite: bool = False) -> list[Job]:
    """What editing `source` into `target` means, after checking that nothing stands in its way.

    Args:
        source: an image, a video, or a folder, whose images at any depth (hidden ones aside) are meant.
        target: a file of the same kind, or a folder that gains the same names at the same places.
        overwrite: allow targets that exist.

    Raises:
        SimeditError: a source that is missing, unreadable or of an unknown kind; a target of another kind,
            that exists, that is the source or lies in it, or that cannot be written.
    """
    if not source.exists():
        raise SimeditError(f"there is no {source}")
    if source.resolve() == target.resolve():
        raise SimeditError(f"input and output are both {source}: choose another output")
    pairs = _folder_pairs(source, target) if source.is_dir() else [_file_pair(source, target)]
    existing = [t for _, t in pairs if t.exists()]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise SimeditError(
            f"{existing[0]} exists{more}: pass --overwrite to replace it, or choose another output"
        )
    folder = target if source.is_dir() else target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SimeditError(f"cannot write into {folder}: {error.strerror or error}") from error
    return [Job(s, t, *(_probe_video(s) if is_video(s) else (1, read_image(s).shape[:2]))) for s, t in pairs]


def images_in(folder: Path) -> list[Path]:
    """The paths of its images at any depth (hidden ones aside), relative to it, sorted.

    Raises:
        SimeditError: there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise SimeditError(f"there is no folder {folder}")
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGES]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not names:
        raise SimeditError(f"no images in {folder}: they end in one of {' '.join(IMAGES)}")
    return names


def is_video(path: Path) -> bool:
    """Whether the name is a video's."""
    return path.suffix.lower() in VIDEOS


def read_image(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], RGB, upright as its EXIF says. Grey becomes RGB; an alpha channel is dropped.

    Raises:
        SimeditError: not an image, a broken one, or one of more than 8 bits in one channel.
    """
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):
            raise SimeditError(f"{path} has more than 8 bits a channel: convert it to an 8-bit image first")
        return np.array(image.convert("RGB"))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image, upright as its EXIF says.

    Raises:
        SimeditError: not an image or a broken one, also where that shows only inside the `with`.
    """
    try:
        with Image.open(path) as image:
            yield ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SimeditError(f"cannot read the image {path}: {error}") from error


def read_mask(path: Path, *, may_be_empty: bool = False) -> np.ndarray:
    """bool [H, W], True where the image is white (a channel above 127).

    Raises:
        SimeditError: not an image, or nothing in it is white.
    """
    mask = read_image(path).max(axis=-1) > 127
    if not (may_be_empty or mask.any()):
        raise SimeditError(f"the mask {path} is black all over: paint white (255) where the edit may show")
    return mask


def edit_images(jobs: Iterable[Job], edit: Edit, *, batch_size: int, done: Callable[[int], None]) -> None:
    """Edit images, neighbours of one size together; `done` hears how many were just written."""
    for _, same in groupby(jobs, key=lambda job: job.size):
        for batch in _batches(same, batch_size):
            edits = edit(np.stack([read_image(job.source) for job in batch]))
            for job, edited in zip(batch, edits, strict=True):
                with whole(job.target) as partial:
                    Image.fromarray(edited).save(partial, quality=95)
            done(len(batch))


def edit_video(job: Job, edit: Edit, *, batch_size: int, done: Callable[[int], None]) -> None:
    """Edit a video into H.264 of the same frame size and rate, without sound; `done` as in `edit_images`."""
    even = all(side % 2 == 0 for side in job.size)
    with whole(job.target) as partial, _opened(job.source) as reader:
        writer = imageio.get_writer(
            partial,
            format="FFMPEG",  # type: ignore[arg-type]
            fps=reader.get_meta_data()["fps"],
            codec="libx264",
            quality=8,
            # Halved chroma needs even sides; macro_block_size=1 keeps imageio from resizing.
            pixelformat="yuv420p" if even else "yuv444p",
            macro_block_size=1,
        )
        with closing(writer):  # imageio's own `with` leaves ffmpeg running after an error
            for batch in _batches(reader, batch_size):
                for edited in edit(np.stack(batch)):
                    writer.append_data(edited)
                done(len(batch))


def _file_pair(source: Path, target: Path) -> tuple[Path, Path]:
    kind = next((kind for kind in (IMAGES, VIDEOS) if source.suffix.lower() in kind), None)
    if kind is None:
        raise SimeditError(f"cannot edit {source}: images are {' '.join(IMAGES)}, videos {' '.join(VIDEOS)}")
    if target.is_dir() or target.suffix.lower() not in kind:
        raise SimeditError(
            f"the output for {source} must be a file that ends in one of {' '.join(kind)}, not {target}"
        )
    return source, target


def _folder_pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    if source.resolve() in target.resolve().parents:
        raise SimeditError(f"the output {target} lies inside the input {source}: choose a folder beside it")
    return [(source / name, target / name) for name in images_in(source)]


def _probe_video(path: Path) -> tuple[int, tuple[int, int]]:
    with _opened(path) as reader:
        height, width = next(iter(reader)).shape[:2]
        return reader.count_frames(), (height, width)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        reader = imageio.get_reader(path, format="FFMPEG")  # type: ignore[arg-type]
    except (OSError, RuntimeError, IndexError, ValueError) as error:
        raise SimeditError(f"cannot read the video {path}: {str(error).strip().splitlines()[-1]}") from error
    with closing(reader):
        yield reader


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden name to write to, which becomes `path` at the end, or goes if there is no good end.

    Raises:
        SimeditError: the path cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SimeditError(f"cannot write {path}: {error.strerror or error}") from error


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
