from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_dataset import FPS, LENGTHS, SIZE, TOP, WRIST, write_small

from simedit.errors import SimeditError
from simedit.lerobot import is_dataset, read_dataset
from simedit.video import Timing, writing

pq = pytest.importorskip("pyarrow.parquet")

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
DATA = "data/chunk-000/file-000.parquet"
VIDEO = f"videos/{TOP}/chunk-000/file-000.mp4"


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return write_small(tmp_path_factory.mktemp("good") / "dataset")


@pytest.fixture
def dataset(good, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "dataset"))


def change_info(folder: Path, **changed: Any) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def change_column(path: Path, column: str, change: Callable[[list[Any]], list[Any]]) -> None:
    import pyarrow as pa

    table = pq.read_table(path)
    at = table.column_names.index(column)
    field = table.schema.field(at)
    pq.write_table(
        table.set_column(at, field, pa.array(change(table.column(at).to_pylist()), field.type)), path
    )


def write_video(path: Path, frames: int, rate: int = FPS) -> None:
    with writing(path, SIZE, Timing.steady(frames, rate)) as add:
        for _ in range(frames):
            add(np.zeros((*SIZE, 3), np.uint8))


def test_every_frame_has_its_episode(dataset):
    found = read_dataset(dataset, WRIST)
    assert (found.camera, found.size, found.frames, found.rate) == (WRIST, SIZE, 18, Fraction(FPS))
    np.testing.assert_array_equal(found.files[0].episodes(), np.repeat(range(3), LENGTHS))


def test_frames_may_be_nobodys(dataset):
    """Where an episode was taken out of the metadata, the video may still have it."""
    write_video(dataset / VIDEO, 30)
    change_column(dataset / EPISODES, f"videos/{TOP}/from_timestamp", lambda _: [0.2, 0.7, 2.0])
    wanted = np.full(30, -1)
    wanted[2:7], wanted[7:14], wanted[20:26] = 0, 1, 2
    np.testing.assert_array_equal(read_dataset(dataset, TOP).files[0].episodes(), wanted)


def test_links_are_read_as_the_files_that_they_name(dataset, tmp_path):
    """As the hub's cache has them."""
    for number, path in enumerate(sorted(p for p in dataset.rglob("*") if p.is_file())):
        (tmp_path / "blobs").mkdir(exist_ok=True)
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(tmp_path / "blobs" / str(number))
    assert read_dataset(dataset, TOP).frames == 18


def test_a_folder_of_something_else_is_none(tmp_path):
    assert not is_dataset(tmp_path)
    assert not is_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (None, rf"several cameras, choose one: --camera {TOP} or {WRIST}"),
        ("observation.image.top", rf"did you mean '{TOP}'\? \(known: {TOP}, {WRIST}\)"),
        ("action", "unknown camera 'action'"),
    ],
)
def test_another_camera_is_refused(good, camera, message):
    with pytest.raises(SimeditError, match=message):
        read_dataset(good, camera)


def test_a_camera_of_images_is_refused(dataset):
    info = json.loads((dataset / "meta/info.json").read_text())
    info["features"][TOP]["dtype"] = "image"
    change_info(dataset, features=info["features"])
    with pytest.raises(
        SimeditError, match=rf"stores the camera {TOP} as images .* convert it with LeRobot's"
    ):
        read_dataset(dataset, TOP)
    change_info(dataset, features={"action": info["features"]["action"]})
    with pytest.raises(SimeditError, match="has no camera"):
        read_dataset(dataset)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codebase_version": "v2.1"}, r"of version v2\.1, .*: convert it with .*convert_dataset_v21_to_v30"),
        ({"codebase_version": "v4.0"}, r"of version v4\.0, simedit reads v3\.0$"),
        ({"codebase_version": None}, r"of version None, simedit reads v3\.0$"),
        ({"fps": 0}, "fps"),
        ({"fps": 12}, r"does not have 12 frames a second, as meta/info\.json says: its frame 3 is at 0\.3"),
        ({"total_episodes": 4}, "tells of 4 episodes, .* of 3"),
        ({"total_frames": 19}, "tells of 19 frames, but there are 18"),
        ({"video_path": None}, "video_path is missing"),
        ({"video_path": "../{video_key}.mp4"}, "leaves the dataset"),
        ({"video_path": "/{video_key}.mp4"}, "leaves the dataset"),
        (
            {"video_path": "videos/{video_name}.mp4"},
            "unknown field .* 'video_name': did you mean 'video_key'",
        ),
        ({"video_path": "videos/{video_key.__class__}.mp4"}, "is missing"),
    ],
)
def test_info_that_does_not_fit_is_refused(dataset, changed, message):
    change_info(dataset, **changed)
    with pytest.raises(SimeditError, match=message):
        read_dataset(dataset, TOP)


@pytest.mark.parametrize("name", [VIDEO, VIDEO.replace(TOP, WRIST), EPISODES, DATA])
def test_a_file_that_is_missing_is_named(dataset, name):
    (dataset / name).unlink()
    with pytest.raises(SimeditError, match=rf"{Path(name).parents[1].name}.* download the dataset anew"):
        read_dataset(dataset, TOP)


@pytest.mark.parametrize("name", [VIDEO, EPISODES, DATA])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_file_that_is_cut_short_is_refused(dataset, name, share):
    path = dataset / name
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SimeditError, match=rf"cannot read .*{path.name}") as caught:
        read_dataset(dataset, TOP)
    assert len(str(caught.value)) < 500


def test_a_parquet_file_with_a_damaged_page_is_refused(dataset):
    path = dataset / DATA
    found = bytearray(path.read_bytes())
    found[4:300] = bytes(296)
    path.write_bytes(found)
    with pytest.raises(SimeditError, match=r"cannot read .*file-000\.parquet"):
        read_dataset(dataset, TOP)


@pytest.mark.parametrize(
    ("frames", "rate", "message"),
    [
        (17, FPS, "has 17 frames, but episode 2 takes those from 12 to 17"),
        (18, 5, "does not have 10 frames a second"),
    ],
)
def test_a_video_that_does_not_fit_is_refused(dataset, frames, rate, message):
    write_video(dataset / VIDEO, frames, rate)
    with pytest.raises(SimeditError, match=message):
        read_dataset(dataset, TOP)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (f"videos/{TOP}/from_timestamp", [0.0, 0.4, 1.2], "episodes 0 and 1 overlap"),
        (
            f"videos/{TOP}/from_timestamp",
            [0.0, 0.53, 1.2],
            "episode 1 begins at 0.5300 s of .* where no frame",
        ),
        (f"videos/{TOP}/from_timestamp", [0.0, float("nan"), 1.2], "from_timestamp cannot be nan"),
        (f"videos/{TOP}/file_index", [0, -1, 0], "file_index cannot be -1"),
        (f"videos/{WRIST}/file_index", [0, 3, 0], r"file-003\.mp4 is missing"),
        ("length", [5, None, 6], "length cannot be None"),
        ("length", [5, 8, 6], "episode 1 has 7 rows of data, but its metadata says 8"),
        ("episode_index", [0, 1, 1], "must be numbered from 0 on"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(dataset, column, values, message):
    change_column(dataset / EPISODES, column, lambda _: values)
    with pytest.raises(SimeditError, match=message):
        read_dataset(dataset, TOP)


def test_data_of_unknown_episodes_is_refused(dataset):
    change_column(dataset / DATA, "episode_index", lambda found: [*found[:-1], 7])
    with pytest.raises(SimeditError, match="rows of episodes that the metadata does not know"):
        read_dataset(dataset, TOP)


def test_a_missing_column_is_named(dataset):
    for path, column in ((EPISODES, f"videos/{TOP}/chunk_index"), (DATA, "episode_index")):
        kept = (dataset / path).read_bytes()
        pq.write_table(pq.read_table(dataset / path).drop_columns([column]), dataset / path)
        with pytest.raises(SimeditError, match=f"has no column {column}"):
            read_dataset(dataset, TOP)
        (dataset / path).write_bytes(kept)


def test_without_pyarrow_it_is_said_how_to_get_it(good, monkeypatch):
    monkeypatch.setattr("simedit.lerobot.reading.has", lambda package: False)
    with pytest.raises(SimeditError, match=r"LeRobot datasets need pyarrow: pip install 'simedit\[data\]'"):
        read_dataset(good, TOP)
