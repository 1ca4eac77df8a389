from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
from small_dataset import CAMERA, FEATURES, FPS, LENGTHS, SIZE, TOP, WRIST, episodes, write_small

from simedit.coding import coding_of
from simedit.errors import SimeditError
from simedit.lerobot import read_dataset, write_dataset, writing
from simedit.lerobot.statistics import of_values
from simedit.video import probe, read

pq = pytest.importorskip("pyarrow.parquet")

TABLES = {"next.done": FEATURES["next.done"], "action": FEATURES["action"]}
"""Features without a video, which are quickly written."""


def steps(count: int = 3, **changed: Any) -> dict[str, Any]:
    return {
        "task": "go",
        "next.done": np.zeros(count, bool),
        "action": np.ones((count, 2), np.float32),
        **changed,
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("written") / "dataset")


def test_episodes_lie_one_after_another_in_one_video(written):
    dataset = read_dataset(written, TOP)
    (file,) = dataset.files
    assert (dataset.size, dataset.frames, dataset.rate) == (SIZE, sum(LENGTHS), FPS)
    assert [(span.first, span.frames) for span in file.spans] == [(0, 5), (5, 7), (12, 6)]
    wanted = np.concatenate([episode[TOP] for episode in episodes()])
    found = np.stack(list(read(file.video)))
    assert np.abs(found.astype(int) - wanted).mean() < 3
    coding = coding_of(written / file.name)
    assert (coding.codec, coding.pixels, coding.keyframes) == ("av1", "yuv420p", 2)


def test_data_is_what_was_given_with_the_columns_of_every_dataset(written):
    table = pq.read_table(written / "data/chunk-000/file-000.parquet")
    wanted = list(episodes())
    for name in ("observation.state", "action", "next.done"):
        found = np.array(table.column(name).to_pylist(), wanted[0][name].dtype)
        np.testing.assert_array_equal(found, np.concatenate([episode[name] for episode in wanted]))
    columns = {
        name: table.column(name).to_numpy()
        for name in ("index", "frame_index", "episode_index", "task_index")
    }
    assert columns["index"].tolist() == list(range(18))
    assert columns["frame_index"].tolist() == [*range(5), *range(7), *range(6)]
    assert columns["episode_index"].tolist() == [0] * 5 + [1] * 7 + [2] * 6
    assert columns["task_index"].tolist() == [0] * 5 + [1] * 7 + [0] * 6
    times = table.column("timestamp").to_numpy()
    assert times.dtype == np.float32
    np.testing.assert_allclose(times, columns["frame_index"] / FPS)


def test_metadata_tells_of_episodes_and_statistics(written):
    info = json.loads((written / "meta/info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 3, 18)
    assert (info["total_tasks"], info["fps"], info["robot_type"]) == (2, FPS, "pusher")
    assert info["features"][TOP]["info"]["video.codec"] == "av1"
    rows = pq.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in rows] == [
        (0, 5),
        (5, 12),
        (12, 18),
    ]
    assert [row[f"videos/{WRIST}/from_timestamp"] for row in rows] == pytest.approx([0, 0.5, 1.2])
    assert [row["tasks"] for row in rows] == [["push the T"], ["wait"], ["push the T"]]
    wanted = of_values(list(episodes())[1]["action"])
    for name, value in wanted.items():
        np.testing.assert_array_equal(rows[1][f"stats/action/{name}"], value)
    stats = json.loads((written / "meta/stats.json").read_text())
    assert np.shape(stats[TOP]["std"]) == (3, 1, 1)
    assert 0.2 < stats[TOP]["mean"][2][0][0] < 0.6
    assert stats["action"]["count"] == [18]


def test_a_large_dataset_has_several_videos(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_VIDEO_MB", 0.001)
    monkeypatch.setattr(writing, "_CHUNK", 2)
    dataset = read_dataset(write_small(tmp_path / "many", cameras=(TOP,)))
    assert [str(file.name.relative_to(f"videos/{TOP}")) for file in dataset.files] == [
        *("chunk-000/file-000.mp4", "chunk-000/file-001.mp4", "chunk-001/file-000.mp4"),
    ]
    assert [[(span.episode, span.first, span.frames) for span in file.spans] for file in dataset.files] == [
        *([(0, 0, 5)], [(1, 0, 7)], [(2, 0, 6)]),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"action": np.ones((3, 2))},
            r"action of episode 1 must be float32 \[3, 2\], but is float64 \[3, 2\]",
        ),
        ({"action": np.ones((4, 2), np.float32)}, r"action of episode 1 must be .* but is float32 \[4, 2\]"),
        ({"acton": 1}, "unknown feature 'acton': did you mean 'action'"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused_and_nothing_stays(tmp_path, changed, message):
    with pytest.raises(SimeditError, match=message):
        write_dataset(tmp_path / "a", [steps(), steps(**changed)], fps=FPS, features=TABLES)
    assert os.listdir(tmp_path) == []


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(SimeditError, match="episode 0 has no 'task'"):
        write_dataset(tmp_path / "a", [{"action": 1, "next.done": 1}], fps=FPS, features=TABLES)
    with pytest.raises(SimeditError, match="no episode"):
        write_dataset(tmp_path / "a", [], fps=FPS, features=TABLES)
    with pytest.raises(SimeditError, match="timestamp are made here"):
        write_dataset(tmp_path / "a", [], fps=FPS, features={"timestamp": TABLES["action"]})
    with pytest.raises(SimeditError, match="must have one dimension"):
        write_dataset(tmp_path / "a", [], fps=FPS, features={"map": {"dtype": "float32", "shape": (2, 2)}})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").touch()
    with pytest.raises(SimeditError, match="exists: choose another"):
        write_dataset(tmp_path / "b", [steps()], fps=FPS, features=TABLES)


def test_frames_of_another_size_are_refused(tmp_path):
    frames = np.zeros((3, 10, 10, 3), np.uint8)
    with pytest.raises(
        SimeditError, match=rf"must be uint8 \[3, {SIZE[0]}, {SIZE[1]}, 3\], but is uint8 \[3, 10, 10, 3\]"
    ):
        write_dataset(tmp_path / "a", [steps(**{TOP: frames})], fps=FPS, features={**TABLES, TOP: CAMERA})


def test_of_frames_that_were_written_the_statistics_are_told(written):
    file = read_dataset(written, TOP).files[0]
    frames = np.stack(list(read(probe(written / file.name)))) / 255
    rows = pq.read_table(written / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for row, span in zip(rows, file.spans, strict=True):
        pixels = frames[span.first : span.first + span.frames].reshape(-1, 3)
        for name, value in (("min", pixels.min(0)), ("mean", pixels.mean(0)), ("std", pixels.std(0))):
            np.testing.assert_allclose(np.ravel(row[f"stats/{TOP}/{name}"]), value, atol=1e-12)
