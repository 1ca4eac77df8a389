"""A dataset's camera repainted: in parts that a kill leaves whole, and a new dataset made of them.

Work goes on in a hidden folder beside the output, `.NAME.simedit`: what was asked for, the new dataset as far
as it is, and the edited video in parts. When all is there the dataset moves to its place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from simedit.coding import coding_of, join, kept
from simedit.config import load_json
from simedit.digests import digest
from simedit.drafts import whole
from simedit.errors import SimeditError, shortened
from simedit.images import say
from simedit.lerobot.describing import check_metadata, describe, is_described
from simedit.lerobot.reading import CameraFile, Dataset, is_dataset, read_dataset
from simedit.lerobot.writing import write_json
from simedit.locks import locked
from simedit.progress import counting
from simedit.video import Timing, check, read, writing

PART = 64
"""Frames of a part, about: what a kill may lose."""

Edit = Callable[[np.ndarray, list[int]], np.ndarray]
"""Repaints uint8 [N, H, W, 3], each frame with its own seed."""


@dataclass(frozen=True)
class DatasetJob:
    """A dataset to edit.

    Attributes:
        target: the folder to be written.
        sources: all files of the dataset that count, relative to its folder.
        overwrite: whether what is there may go.
    """

    dataset: Dataset
    target: Path
    sources: tuple[Path, ...]
    overwrite: bool

    @property
    def source(self) -> Path:
        """Its folder."""
        return self.dataset.folder

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.dataset.frames

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of them, pixels."""
        return self.dataset.size

    @property
    def work(self) -> Path:
        """The folder of what is not finished yet."""
        return self.target.with_name(f".{self.target.name}.simedit")

    @property
    def new(self) -> Path:
        """The dataset as far as it is."""
        return self.work / "dataset"

    def parts(self, file: CameraFile) -> Path:
        """The folder of a video's parts."""
        return self.work / "parts" / file.name


def plan_dataset(
    source: Path, target: Path, *, camera: str | None = None, overwrite: bool = False
) -> DatasetJob:
    """What editing a dataset means, after checking that nothing stands in its way.

    Raises:
        SimeditError: as `read_dataset`, or the target is in the source, holds it, or exists, or the disk is
            too small.
    """
    source, target = source.resolve(), target.resolve()
    if source == target:
        raise SimeditError(f"input and output are both {source}: choose another output")
    if source in target.parents or target in source.parents:
        raise SimeditError(
            f"of {source} and {target} one lies inside the other: choose a folder beside the input"
        )
    sources = tuple(_files(source))
    if any(target in (source / name).resolve().parents for name in sources):
        raise SimeditError(f"files of {source} are links into {target}: choose another output")
    _check_free(target, overwrite)
    job = DatasetJob(read_dataset(source, camera), target, sources, overwrite)
    check_metadata(job.dataset)
    _check_room(job)
    return job


def edit_dataset(
    job: DatasetJob, edit: Edit, record: Mapping[str, Any], *, seed: int, batch_size: int, title: str
) -> None:
    """Write the edited dataset, or go on with what is begun of it.

    All but the camera's pixels stays: other files are copied byte for byte, the camera's videos keep their
    codec, frames and times, and only its statistics are made anew. Frames are edited `batch_size` at once,
    across episodes; an episode's have one noise, drawn from the seed and the episode's number.

    Args:
        record: what else the result depends on, plain data. It is kept in the dataset, in RECORD, and of an
            unfinished one it must be the same.
        title: of the progress.

    Raises:
        SimeditError: it cannot be written, or what is begun there is of another record.
    """
    try:
        with locked(job.work, "simedit-edit", option="OUTPUT"):
            _check_free(job.target, job.overwrite)
            said = _recorded(job, record, seed, batch_size)
            begun = _begin(job, said)
            try:
                _edit(job, edit, seed, batch_size, title, begun)
                describe(job.dataset, job.new, said)
            except BaseException:
                if _done(job):
                    say(f"what is done is kept in {job.work}: the same command goes on from there")
                raise
            if job.target.exists():
                os.replace(job.target, job.work / "replaced")
            os.replace(job.new, job.target)
            shutil.rmtree(job.work)
    except OSError as error:
        raise SimeditError(
            f"cannot write {error.filename or job.target}: {error.strerror or error}"
        ) from error


def seed_of(seed: int, episode: int) -> int:
    """The seed of an episode's noise, 0 to 2^63 - 1."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1, np.uint64)[0]) >> 1


def _files(folder: Path, below: Path = Path(), within: tuple[str, ...] = ()) -> Iterator[Path]:
    """A dataset's files, relative to it; hidden ones, such as the hub's notes, do not count. Links do."""
    within = (*within, os.path.realpath(folder / below))
    for entry in sorted(os.scandir(folder / below), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):
            if os.path.realpath(entry.path) in within:
                raise SimeditError(f"{entry.path} is a link to a folder that it is in: remove it")
            yield from _files(folder, below / entry.name, within)
        elif os.path.isfile(entry.path):
            yield below / entry.name
        else:
            raise SimeditError(
                f"{entry.path} is a link to nothing, or no plain file: download the dataset anew"
            )


def _check_free(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not is_dataset(target):
        raise SimeditError(f"{target} exists, and is no LeRobot dataset: choose another output")
    if not overwrite:
        raise SimeditError(f"{target} exists: pass --overwrite to replace it, or choose another output")


def _check_room(job: DatasetJob) -> None:
    """A new dataset is about as large as the old one, and one video's parts lie beside it."""
    folder = job.dataset.folder
    there = next(parent for parent in job.target.parents if parent.exists())
    sizes = {name: (folder / name).stat().st_size for name in job.sources}
    wanted = sum(sizes.values()) + max(sizes.get(file.name, 0) for file in job.dataset.files)
    begun = sum(path.stat().st_size for path in job.work.rglob("*") if path.is_file())
    free = shutil.disk_usage(there).free
    if wanted - begun > free:
        raise SimeditError(
            f"the new dataset needs about {(wanted - begun) / 1e9:.1f} GB more, and {there} has "
            f"{free / 1e9:.1f} GB free: make room, or choose another output"
        )


def _recorded(job: DatasetJob, record: Mapping[str, Any], seed: int, batch_size: int) -> dict[str, Any]:
    folder = job.dataset.folder
    said = {
        **{"simedit": version("simedit"), "camera": job.dataset.camera, **record},
        **{"seed": seed, "noise": "one of each episode", "batch_size": batch_size},
        "source": {"digest": digest(folder, [folder / name for name in job.sources])},
    }
    return json.loads(json.dumps(said))


def _begin(job: DatasetJob, said: dict[str, Any]) -> bool:
    """Take up what is begun, if it is the same, or begin. Whether there is something to take up."""
    path = job.work / "job.json"
    before = load_json(path) if path.exists() else None
    if before == said:
        return True
    if before is not None and _done(job) and not job.overwrite:
        one, other = _flat(before), _flat(said)
        key = next(key for key in (*other, *one) if one.get(key) != other.get(key))
        raise SimeditError(
            f"{job.target} is begun with another {key}: {shortened(one.get(key))} there, "
            f"{shortened(other.get(key))} now. Give the same, choose another output, or pass --overwrite to "
            "begin anew"
        )
    for name in ("dataset", "parts", "replaced"):
        if (job.work / name).exists():
            shutil.rmtree(job.work / name)
    with whole(path) as partial:
        write_json(partial, said)
    return False


def _done(job: DatasetJob) -> bool:
    """Whether anything was edited."""
    return any(
        (job.new / file.name).exists() or any(job.parts(file).glob("[0-9]*.mp4"))
        for file in job.dataset.files
    )


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {name: data}
    return {
        key: value for k, v in data.items() for key, value in _flat(v, f"{name}.{k}" if name else k).items()
    }


def _edit(job: DatasetJob, edit: Edit, seed: int, batch_size: int, title: str, begun: bool) -> None:
    dataset = job.dataset
    for name in job.sources:
        if not is_described(name, dataset.camera) and not (job.new / name).exists():
            with whole(job.new / name) as partial:
                shutil.copyfile(dataset.folder / name, partial)
    step = batch_size * max(1, round(PART / batch_size))
    plans: list[list[tuple[Path, int]]] = []
    done = 0
    for file in dataset.files:
        counts = [min(step, len(file.video) - at) for at in range(0, len(file.video), step)]
        plans.append([(job.parts(file) / f"{i:06d}.mp4", count) for i, count in enumerate(counts)])
        finished = (job.new / file.name).exists()
        done += len(file.video) if finished else sum(count for part, count in plans[-1] if part.exists())
    if begun and done:
        say(f"{done} of {job.frames} frames are edited already")
    with counting(title, job.frames, done=done) as show:

        def edited(count: int) -> None:
            nonlocal done
            done += count
            show(done)

        for file, parts in zip(dataset.files, plans, strict=True):
            if not (job.new / file.name).exists():
                _edit_file(job, file, parts, edit, seed, batch_size, edited)
            shutil.rmtree(job.parts(file), ignore_errors=True)


def _edit_file(
    job: DatasetJob,
    file: CameraFile,
    parts: list[tuple[Path, int]],
    edit: Edit,
    seed: int,
    batch_size: int,
    edited: Callable[[int], None],
) -> None:
    video, rate = file.video, job.dataset.rate
    coding = kept(coding_of(video.path))
    seeds = [None if episode < 0 else seed_of(seed, int(episode)) for episode in file.episodes()]
    at = 0
    with closing(read(video)) as frames:
        for part, count in parts:
            if part.exists():
                at += sum(1 for _ in islice(frames, count))
                continue
            end = at + count
            with writing(part, video.size, Timing.steady(count, rate), video.aspect, coding=coding) as write:
                while at < end:
                    # Cut by the frames' numbers alone: an edit depends on its batch by rounding.
                    batch = np.stack(list(islice(frames, min(batch_size, end - at))))
                    drawn = seeds[at : at + len(batch)]
                    of = [
                        i for i, one in enumerate(drawn) if one is not None
                    ]  # the rest is nobody's, and stays
                    if of:
                        batch[of] = edit(batch[of], [one for one in drawn if one is not None])
                    for frame in batch:
                        write(frame)
                    at += len(batch)
                    edited(len(batch))
        next(frames, None)  # what was wrong is heard at the end
    with whole(job.new / file.name) as partial:
        join([part for part, _ in parts], partial, rate)
        check(job.new / file.name, partial, Timing.steady(len(video), rate))
