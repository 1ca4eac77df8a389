"""Datasets of LeRobot's format v3, written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from simedit.coding import Coding, join
from simedit.errors import SimeditError, unknown
from simedit.lerobot.reading import EPISODES, INFO, STATS, VERSION, Span, needs_pyarrow
from simedit.lerobot.statistics import Stats, of_frames, of_values, sampled, tally, together
from simedit.video import Timing, Video, probe, read, writing

CODING = Coding("av1", "yuv420p", "tv", "unknown", "unknown", "unknown", crf=30, keyframes=2)
"""LeRobot's own: every other frame a keyframe, so that any frame is near one."""
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
TASKS = "meta/tasks.parquet"
_OURS = {
    "timestamp": "float32",
    **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
}
"""The columns that every dataset has."""
_MB = 1 << 20
_CHUNK, _DATA_MB, _VIDEO_MB = 1000, 100, 200
"""LeRobot's limits: files of a folder; of a file of data and of a video, MiB."""


def write_dataset(
    folder: Path,
    episodes: Iterable[Mapping[str, Any]],
    *,
    fps: int,
    features: Mapping[str, Mapping[str, Any]],
    robot_type: str | None = None,
) -> None:
    """Write episodes as a dataset, which appears whole at the end. They may come one by one: of each only the
    encoded frames are kept.

    Args:
        folder: of the dataset; it must not exist, or be empty.
        episodes: of T steps each: "task", a sentence, and for each feature an array [T, *shape] or, of shape
            (1,), [T]. A camera's is uint8 [T, H, W, 3].
        fps: steps a second. Step t is at t / fps.
        features: as LeRobot's: {"observation.image": {"dtype": "video", "shape": (H, W, 3), "names":
            ["height", "width", "channels"]}, "action": {"dtype": "float32", "shape": (2,), "names": ["x",
            "y"]}}. The dtype of what is no camera is NumPy's.
        robot_type: what acts.

    Raises:
        SimeditError: the folder is there, no episode, an array that is not what its feature says, or it
            cannot be written.
    """
    needs_pyarrow()
    folder = Path(folder).resolve()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SimeditError(f"{folder} exists: choose another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".dataset-", dir=folder.parent) as scratch:
            _Writer(Path(scratch), fps, features).write(episodes, robot_type)
            (Path(scratch) / "new").rename(folder)
    except OSError as error:
        raise SimeditError(f"cannot write {folder}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """As LeRobot writes its JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False), encoding="utf-8")


def write_table(path: Path, table: Any) -> None:
    """A parquet file, as LeRobot writes its own."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy", use_dictionary=True)


def camera_statistics(video: Video, spans: Sequence[Span]) -> dict[int, Stats]:
    """By episode the statistics of its frames as they lie in a video, coding and all.

    Raises:
        SimeditError: it cannot be read.
    """
    chosen: dict[int, list[int]] = {}
    for i, span in enumerate(spans):
        for number in sampled(span.frames):
            chosen.setdefault(span.first + number, []).append(i)
    tallies = np.zeros((len(spans), 3, 256), np.int64)
    for number, frame in enumerate(read(video)):
        for i in chosen.get(number, ()):
            tallies[i] += tally(frame)
    return {
        span.episode: of_frames(counts, len(sampled(span.frames)))
        for span, counts in zip(spans, tallies, strict=True)
    }


class _Writer:
    def __init__(self, scratch: Path, fps: int, features: Mapping[str, Mapping[str, Any]]):
        self.parts, self.new = scratch / "parts", scratch / "new"
        self.new.mkdir(parents=True)
        self.fps = fps
        self.features = {
            name: {**feature, "shape": tuple(feature["shape"])} for name, feature in features.items()
        }
        if taken := _OURS.keys() & self.features.keys():
            raise SimeditError(f"the features {', '.join(sorted(taken))} are made here: leave them out")
        self.cameras = [name for name, feature in self.features.items() if feature["dtype"] == "video"]
        self.columns = [name for name in self.features if name not in self.cameras]
        for name in self.columns:
            if len(self.features[name]["shape"]) != 1:
                raise SimeditError(f"the feature {name} must have one dimension, or be a video")
        self.rows: list[dict[str, Any]] = []
        self.tasks: dict[str, int] = {}
        self.encoded: dict[str, list[tuple[Path, int]]] = {name: [] for name in self.cameras}

    def write(self, episodes: Iterable[Mapping[str, Any]], robot_type: str | None) -> None:
        import pyarrow.parquet as pq

        path = self.new / DATA.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        with ExitStack() as stack:
            file = None
            for episode in episodes:
                table = self._add(episode)
                file = file or stack.enter_context(pq.ParquetWriter(path, table.schema, compression="snappy"))
                file.write_table(table)
        if not self.rows:
            raise SimeditError("there is no episode to write")
        for camera in self.cameras:
            self._join(camera)
        self._metadata(robot_type)

    def _add(self, episode: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        number, total = len(self.rows), sum(row["length"] for row in self.rows)
        for name in episode:
            if name != "task" and name not in self.features:
                raise unknown("feature", name, self.features)
        if missing := [name for name in ("task", *self.features) if name not in episode]:
            raise SimeditError(f"episode {number} has no {missing[0]!r}")
        length = len(episode[next(iter(self.features))])
        values = {name: self._checked(name, episode[name], length, number) for name in self.features}
        task = self.tasks.setdefault(str(episode["task"]), len(self.tasks))
        index = np.arange(length)
        ours = (index / self.fps, index, np.full(length, number), index + total, np.full(length, task))
        columns = {name: values[name] for name in self.columns}
        columns |= {
            name: column.astype(kind) for (name, kind), column in zip(_OURS.items(), ours, strict=True)
        }
        self.rows.append(
            {
                **{"episode_index": number, "tasks": [str(episode["task"])], "length": length},
                **{"data/chunk_index": 0, "data/file_index": 0},
                **{"dataset_from_index": total, "dataset_to_index": total + length},
                "stats": {name: of_values(column) for name, column in columns.items()},
            }
        )
        for name in self.cameras:
            part = self.parts / name / f"{number:06d}.mp4"
            frames = values[name]
            with writing(part, frames.shape[1:3], Timing.steady(length, self.fps), coding=CODING) as write:
                for frame in frames:
                    write(frame)
            self.encoded[name].append((part, part.stat().st_size))
        return pa.table({name: _column(column) for name, column in columns.items()})

    def _checked(self, name: str, values: Any, length: int, number: int) -> np.ndarray:
        feature, found = self.features[name], np.asarray(values)
        kind = np.dtype("uint8" if name in self.cameras else feature["dtype"])
        shape = feature["shape"]
        if shape == (1,) and found.ndim == 1:
            found = found[:, None]
        if length == 0 or found.dtype != kind or found.shape != (length, *shape):
            raise SimeditError(
                f"{name} of episode {number} must be {kind} [{length or 'T'}, {', '.join(map(str, shape))}], "
                f"but is {found.dtype} {list(found.shape)}"
            )
        return found[:, 0] if shape == (1,) else found

    def _join(self, camera: str) -> None:
        """Episodes into as few videos as LeRobot's limit allows, and where each is."""
        files: list[list[Path]] = []
        size = first = 0
        for row, (part, more) in zip(self.rows, self.encoded[camera], strict=True):
            if not files or size + more > _VIDEO_MB * _MB:
                files.append([])
                size = first = 0
            files[-1].append(part)
            chunk, file = divmod(len(files) - 1, _CHUNK)
            begin, end = (float(Fraction(at, self.fps)) for at in (first, first + row["length"]))
            row |= {f"videos/{camera}/chunk_index": chunk, f"videos/{camera}/file_index": file}
            row |= {f"videos/{camera}/from_timestamp": begin, f"videos/{camera}/to_timestamp": end}
            size, first = size + more, first + row["length"]
        rows = iter(self.rows)
        for number, parts in enumerate(files):
            chunk, file = divmod(number, _CHUNK)
            path = self.new / VIDEOS.format(video_key=camera, chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            join(parts, path, Fraction(self.fps))
            spans, first = [], 0
            for _ in parts:
                row = next(rows)
                spans.append(Span(row["episode_index"], first, row["length"]))
                first += row["length"]
            for episode, stats in camera_statistics(probe(path), spans).items():
                self.rows[episode]["stats"][camera] = stats

    def _metadata(self, robot_type: str | None) -> None:
        import pyarrow as pa

        names = list(self.rows[0]["stats"])
        columns: dict[str, Any] = {
            name: [row[name] for row in self.rows] for name in self.rows[0] if name != "stats"
        }
        for name in names:
            for key in self.rows[0]["stats"][name]:
                columns[f"stats/{name}/{key}"] = [row["stats"][name][key].tolist() for row in self.rows]
        columns |= dict.fromkeys(
            ("meta/episodes/chunk_index", "meta/episodes/file_index"), [0] * len(self.rows)
        )
        write_table(self.new / EPISODES / "chunk-000" / "file-000.parquet", pa.table(columns))
        write_table(self.new / TASKS, _tasks(list(self.tasks)))
        whole = {name: together([row["stats"][name] for row in self.rows]) for name in names}
        write_json(self.new / STATS, as_lists(whole))
        features = {
            name: {**feature, "shape": list(feature["shape"])} for name, feature in self.features.items()
        }
        for name in self.cameras:
            features[name]["info"] = _video_info(features[name]["shape"], self.fps)
        for name, kind in _OURS.items():
            features[name] = {"dtype": kind, "shape": [1], "names": None}
        total = sum(row["length"] for row in self.rows)
        info = {
            **{"codebase_version": VERSION, "robot_type": robot_type},
            **{"total_episodes": len(self.rows), "total_frames": total, "total_tasks": len(self.tasks)},
            **{"chunks_size": _CHUNK, "data_files_size_in_mb": _DATA_MB, "video_files_size_in_mb": _VIDEO_MB},
            **{"fps": self.fps, "splits": {"train": f"0:{len(self.rows)}"}},
            **{"data_path": DATA, "video_path": VIDEOS if self.cameras else None, "features": features},
        }
        write_json(self.new / INFO, info)


def as_lists(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Statistics by feature, as JSON takes them."""
    return {
        name: {key: np.asarray(value).tolist() for key, value in one.items()} for name, one in stats.items()
    }


def _column(values: np.ndarray) -> Any:
    import pyarrow as pa

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _tasks(tasks: list[str]) -> Any:
    """A table that pandas reads with the tasks as its index, which is where LeRobot looks for them."""
    import pyarrow as pa

    index = "__index_level_0__"
    whole = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    words = {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"}
    told = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [{**whole, "metadata": None}, {**words, "metadata": None}],
    }
    table = pa.table({"task_index": np.arange(len(tasks)), index: tasks})
    return table.replace_schema_metadata({"pandas": json.dumps(told)})


def _video_info(shape: Sequence[int], fps: int) -> dict[str, Any]:
    """What LeRobot says of a video beside its feature."""
    size = {"video.height": shape[0], "video.width": shape[1], "video.channels": 3}
    coding = {"video.codec": CODING.codec, "video.pix_fmt": CODING.pixels, "video.fps": fps}
    return {**size, **coding, "video.is_depth_map": False, "has_audio": False}
