"""A dataset of LeRobot's format v3 as it lies in a folder: metadata and data in parquet files, and videos in
which episodes lie one after another. Read and checked before anything is done with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import ConfigDict, Field

from simedit.config import Config, load_json, parse_config
from simedit.errors import SimeditError, shortened, unknown
from simedit.extras import has, install
from simedit.video import Video, probe

INFO, STATS, EPISODES = "meta/info.json", "meta/stats.json", "meta/episodes"
VERSION = "v3.0"
TOLERANCE = 1e-4
"""Seconds that LeRobot lets a frame be from its time."""
_CONVERT = "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30 --repo-id=ORGANISATION/NAME"
_FIELD = re.compile(r"\{(\w+)(?::0([1-9])d)?\}")
_PLACE = ("chunk_index", "file_index", "from_timestamp")


class Feature(Config):
    """What a column or a camera holds."""

    model_config = ConfigDict(extra="allow")

    dtype: str


class Info(Config):
    """What meta/info.json must say; what else it says is kept."""

    model_config = ConfigDict(extra="allow")

    fps: float = Field(gt=0, le=1000)
    total_episodes: int
    total_frames: int
    video_path: str | None = None
    features: dict[str, Feature]


@dataclass(frozen=True)
class Span:
    """An episode's frames in a video: so many from frame `first` on."""

    episode: int
    first: int
    frames: int


@dataclass(frozen=True)
class CameraFile:
    """One of a camera's videos.

    Attributes:
        name: its path in the dataset.
        spans: the episodes in it, in order.
    """

    name: Path
    video: Video
    spans: tuple[Span, ...]

    def episodes(self) -> np.ndarray:
        """Of each frame its episode, int64 [N]; -1 where none is."""
        found = np.full(len(self.video), -1, np.int64)
        for span in self.spans:
            found[span.first : span.first + span.frames] = span.episode
        return found


@dataclass(frozen=True)
class Dataset:
    """A dataset whose metadata, data and one camera's videos were read, and fit together.

    Attributes:
        rate: frames a second.
        camera: the camera's name.
        files: its videos.
    """

    folder: Path
    rate: Fraction
    camera: str
    files: tuple[CameraFile, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the camera's frames, pixels."""
        return self.files[0].video.size

    @property
    def frames(self) -> int:
        """How many the camera's videos have."""
        return sum(len(file.video) for file in self.files)


def is_dataset(folder: Path) -> bool:
    """Whether a folder holds a dataset's metadata."""
    return (folder / INFO).is_file()


def read_dataset(folder: Path, camera: str | None = None) -> Dataset:
    """Read a dataset's metadata and data, and one camera's videos from end to end.

    Args:
        camera: its name, needed where there are several.

    Raises:
        SimeditError: another version, no such camera or one that is stored as images, a file that is missing
            or broken, or what does not fit together: fewer frames than the metadata says, frames at other
            times, episodes that overlap; pyarrow is not installed.
    """
    raw = load_json(folder / INFO)
    if (version := raw.get("codebase_version")) != VERSION:
        how = f": convert it with LeRobot's own script, {_CONVERT}" if version == "v2.1" else ""
        raise SimeditError(
            f"{folder} is a LeRobot dataset of version {shortened(version)}, simedit reads {VERSION}{how}"
        )
    info = parse_config(Info, raw, where=str(folder / INFO))
    chosen = _choose(folder, info, camera)
    needs_pyarrow()
    rate = Fraction(info.fps).limit_denominator(1001)
    cameras = [name for name, feature in info.features.items() if feature.dtype == "video"]
    episodes = _episodes(folder, info, cameras)
    _check_data(folder, info, episodes)
    spans: dict[Path, list[tuple[float, dict[str, Any]]]] = {}
    for episode in episodes:
        for name in cameras:
            chunk, file, begin = (episode[f"videos/{name}/{part}"] for part in _PLACE)
            path = _video_path(folder, info, name, chunk, file)
            if name == chosen:
                spans.setdefault(path, []).append((begin, episode))
            elif not (folder / path).is_file():
                raise SimeditError(f"the video {folder / path} is missing: download the dataset anew")
    files = tuple(_file(folder, path, found, rate) for path, found in spans.items())
    if len({file.video.size for file in files}) != 1:
        raise SimeditError(f"the videos of {chosen} in {folder} are not all of one size")
    return Dataset(folder, rate, chosen, files)


def needs_pyarrow() -> None:
    """Raises:
    SimeditError: pyarrow is not installed.
    """
    if not has("pyarrow"):
        raise SimeditError(f"LeRobot datasets need pyarrow: {install('pyarrow')}")


def parquets(folder: Path, below: str) -> list[Path]:
    """The parquet files that LeRobot finds in a folder of a dataset.

    Raises:
        SimeditError: there are none.
    """
    found = sorted((folder / below).glob("*/*.parquet"))
    if not found:
        raise SimeditError(f"there is no parquet file in {folder / below}: download the dataset anew")
    return found


@contextmanager
def reading_parquet(path: Path) -> Iterator[Any]:
    """Inside, a pyarrow.parquet.ParquetFile; what goes wrong with it is one sentence.

    Raises:
        SimeditError: it is missing or broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, pa.ArrowException) as error:  # names that are no text are ValueErrors
        raise SimeditError(f"cannot read {path}, download it anew: {shortened(error, 200)}") from error


def _choose(folder: Path, info: Info, camera: str | None) -> str:
    cameras = {name: one.dtype for name, one in info.features.items() if one.dtype in ("video", "image")}
    if camera is None and len(cameras) > 1:
        raise SimeditError(
            f"{folder} has several cameras, choose one: --camera {' or '.join(sorted(cameras))}"
        )
    if not cameras:
        raise SimeditError(f"{folder} has no camera: none of its features is a video")
    chosen = next(iter(cameras)) if camera is None else camera
    if chosen not in cameras:
        raise unknown("camera", chosen, cameras)
    if cameras[chosen] == "image":
        raise SimeditError(
            f"{folder} stores the camera {chosen} as images in its parquet files, and simedit edits videos: "
            "convert it with LeRobot's lerobot-edit-dataset, operation convert_image_to_video"
        )
    return chosen


def _episodes(folder: Path, info: Info, cameras: list[str]) -> list[dict[str, Any]]:
    """Number, length and places in videos of each episode, as the columns are named, in order."""
    columns = ["episode_index", "length", *(f"videos/{name}/{part}" for name in cameras for part in _PLACE)]
    found: list[dict[str, Any]] = []
    for path in parquets(folder, EPISODES):
        with reading_parquet(path) as file:
            if missing := [name for name in columns if name not in file.schema_arrow.names]:
                raise SimeditError(f"{path} has no column {missing[0]}: download the dataset anew")
            found += file.read().select(columns).to_pylist()
        for episode in found:
            for name, value in episode.items():
                kind, least = (float, 0.0) if name.endswith("_timestamp") else (int, int(name == "length"))
                if not (isinstance(value, kind) and least <= value < 1e9):
                    raise SimeditError(f"{path}: an episode's {name} cannot be {shortened(value)}")
    found.sort(key=lambda episode: episode["episode_index"])
    numbers = [episode["episode_index"] for episode in found]
    if len(numbers) != info.total_episodes or numbers != list(range(len(numbers))):
        raise SimeditError(
            f"{folder / INFO} tells of {info.total_episodes} episodes, {folder / EPISODES} of {len(found)}, "
            "which must be numbered from 0 on: download the dataset anew"
        )
    return found


def _check_data(folder: Path, info: Info, episodes: list[dict[str, Any]]) -> None:
    """Read all of the data once: what is broken is to be found before work starts."""
    rows = np.zeros(len(episodes), np.int64)
    for path in parquets(folder, "data"):
        with reading_parquet(path) as file:
            if "episode_index" not in file.schema_arrow.names:
                raise SimeditError(f"{path} has no column episode_index: download the dataset anew")
            for batch in file.iter_batches():
                of = batch.column("episode_index").to_numpy(zero_copy_only=False)
                if of.dtype.kind != "i" or not ((of >= 0) & (of < len(rows))).all():
                    raise SimeditError(f"{path} has rows of episodes that the metadata does not know")
                rows += np.bincount(of, minlength=len(rows))
    for episode, there in zip(episodes, rows, strict=True):
        if there != episode["length"]:
            raise SimeditError(
                f"{folder}: episode {episode['episode_index']} has {there} rows of data, but its metadata "
                f"says {episode['length']}: download the dataset anew"
            )
    if rows.sum() != info.total_frames:
        raise SimeditError(f"{folder / INFO} tells of {info.total_frames} frames, but there are {rows.sum()}")


def _video_path(folder: Path, info: Info, camera: str, chunk: int, file: int) -> Path:
    if info.video_path is None:
        raise SimeditError(f"{folder / INFO} does not say where its videos are: video_path is missing")
    values = {"video_key": camera, "chunk_index": chunk, "file_index": file}

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise unknown(f"field in the video_path of {folder / INFO}", found[1], values)
        return str(values[found[1]]).zfill(int(found[2] or 0))

    path = PurePosixPath(_FIELD.sub(value, info.video_path))
    if path.is_absolute() or ".." in path.parts:
        raise SimeditError(f"the video_path of {folder / INFO} leaves the dataset: {shortened(path)}")
    return Path(path)


def _file(
    folder: Path, name: Path, episodes: list[tuple[float, dict[str, Any]]], rate: Fraction
) -> CameraFile:
    if not (folder / name).is_file():
        raise SimeditError(f"the video {folder / name} is missing: download the dataset anew")
    video = probe(folder / name)
    seconds = video.timing.seconds()
    off = np.flatnonzero(np.abs(seconds - np.arange(len(seconds)) / float(rate)) >= 0.5 / float(rate))
    if len(off):
        raise SimeditError(
            f"the video {folder / name} does not have {float(rate):g} frames a second, as {INFO} says: its "
            f"frame {off[0]} is at {seconds[off[0]]:.4f} s"
        )
    spans: list[Span] = []
    for begin, episode in sorted(episodes, key=lambda found: found[0]):
        span = Span(episode["episode_index"], round(begin * rate), episode["length"])
        if abs(begin - span.first / rate) > TOLERANCE:
            raise SimeditError(
                f"{folder}: episode {span.episode} begins at {begin:.4f} s of {name}, where no frame does"
            )
        if span.first + span.frames > len(video):
            raise SimeditError(
                f"the video {folder / name} has {len(video)} frames, but episode {span.episode} takes those "
                f"from {span.first} to {span.first + span.frames - 1}: download it anew"
            )
        if spans and span.first < spans[-1].first + spans[-1].frames:
            raise SimeditError(
                f"{folder}: episodes {spans[-1].episode} and {span.episode} overlap in {name}: LeRobot's "
                "metadata is broken, download the dataset anew"
            )
        spans.append(span)
    return CameraFile(name, video, tuple(spans))
