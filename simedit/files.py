"""Image and video files as frames. Every output appears whole, under its own name, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.images import IMAGES, images_in, read_image, read_mask
from simedit.video import Video, probe, read, writing

__all__ = ["Job", "edit_images", "edit_video", "is_video", "plan", "read_image", "read_mask", "whole"]

VIDEOS = (".mp4", ".mov", ".mkv", ".avi")

Edit = Callable[[np.ndarray], np.ndarray]
"""Repaints uint8 [N, H, W, 3]."""


@dataclass(frozen=True)
class Job:
    """One file to edit.

    Attributes:
        source, target: the file read and the file to be written.
        size: height and width of its frames, pixels.
        video: what is known of a video; None for an image.
    """

    source: Path
    target: Path
    size: tuple[int, int]
    video: Video | None = None

    @property
    def frames(self) -> int:
        """How many there are."""
        return 1 if self.video is None else len(self.video)


def plan(source: Path, target: Path, *, overwrite: bool = False) -> list[Job]:
    """What editing `source` into `target` means, after checking that nothing stands in its way.

    Args:
        source: an image, a video, or a folder, whose images at any depth (hidden ones aside) are meant.
        target: a file of the same kind, or a folder that gains the same names at the same places.
        overwrite: allow targets that exist.

    Raises:
        SimeditError: a source that is missing, unreadable or of an unknown kind; a target of another kind,
            that exists, that is a file of the source or lies in it, or that cannot be written.
    """
    if not source.exists():
        raise SimeditError(f"there is no {source}")
    if not (source.is_dir() or source.is_file()):
        raise SimeditError(f"{source} is no plain file")
    if source.resolve() == target.resolve():
        raise SimeditError(f"input and output are both {source}: choose another output")
    pairs = _folder_pairs(source, target) if source.is_dir() else [_file_pair(source, target)]
    _check_apart(pairs)
    existing = [t for _, t in pairs if t.exists()]
    if existing and not overwrite:
        more = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise SimeditError(
            f"{existing[0]} exists{more}: pass --overwrite to replace it, or choose another output"
        )
    jobs = [_job(*pair) for pair in pairs]
    folder = target if source.is_dir() else target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise SimeditError(f"cannot write into {folder}: {error.strerror or error}") from error
    return jobs


def is_video(path: Path) -> bool:
    """Whether the name is a video's."""
    return path.suffix.lower() in VIDEOS


def edit_images(
    jobs: Iterable[Job],
    edit: Callable[[np.ndarray, list[Path]], np.ndarray],
    *,
    batch_size: int,
    done: Callable[[int], None],
) -> None:
    """Edit images, neighbours of one size together; `done` hears how many were just written.

    Args:
        edit: as `Edit`, but it gets the images' files too.
    """
    for _, same in groupby(jobs, key=lambda job: job.size):
        for batch in _batches(same, batch_size):
            edits = edit(np.stack([_frame(job) for job in batch]), [job.source for job in batch])
            for job, edited in zip(batch, edits, strict=True):
                with whole(job.target) as partial:
                    Image.fromarray(edited).save(partial, quality=95)
            done(len(batch))


def edit_video(job: Job, edit: Edit, *, batch_size: int, done: Callable[[int], None]) -> None:
    """Edit a video into H.264 whose frames have the source's size, shape and times, without sound; `done` as
    in `edit_images`."""
    video = job.video
    assert video is not None
    with writing(job.target, video.size, video.timing, video.aspect) as write:
        for batch in _batches(read(video), batch_size):
            for edited in edit(np.stack(batch)):
                write(edited)
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


def _check_apart(pairs: list[tuple[Path, Path]]) -> None:
    """Links can make an output of what is read, or one file of two outputs."""
    sources, targets = {source.resolve() for source, _ in pairs}, set()
    for source, target in pairs:
        if (real := target.resolve()) in sources or (target.exists() and target.samefile(source)):
            raise SimeditError(f"the output {target} is a file of the input: choose another output")
        if real in targets:
            raise SimeditError(f"the output {target} is a link to another output: choose another output")
        targets.add(real)


def _job(source: Path, target: Path) -> Job:
    if not is_video(source):
        return Job(source, target, read_image(source).shape[:2])
    video = probe(source)
    return Job(source, target, video.size, video)


def _frame(job: Job) -> np.ndarray:
    image = read_image(job.source)
    if image.shape[:2] != job.size:
        raise SimeditError(f"{job.source} has changed while others were edited")
    return image


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
