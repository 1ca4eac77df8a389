"""LeRobot's own reader on datasets that were written and edited here. scripts/lerobot_reader.sh brings it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_dataset import FPS, LENGTHS, TOP, WRIST, episodes, write_small

from simedit.lerobot import read_dataset
from simedit.lerobot.editing import edit_dataset, plan_dataset
from simedit.video import read

pq = pytest.importorskip("pyarrow.parquet")

READER = os.environ.get("LEROBOT_READER", "")
pytestmark = pytest.mark.skipif(not READER, reason="needs LeRobot's reader: run scripts/lerobot_reader.sh")

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def found_in(folder: Path) -> dict[str, np.ndarray]:
    """All that the reader finds: see lerobot_reader.py."""
    out = folder.with_suffix(".npz")
    command = [READER, Path(__file__).with_name("lerobot_reader.py"), folder, out]
    cache = {**os.environ, "HF_HOME": str(folder.parent / "cache")}
    done = subprocess.run(command, env=cache, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(out) as file:
        return dict(file)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A dataset that was written, and the edited one."""
    source = write_small(tmp_path_factory.mktemp("reader") / "written")
    job = plan_dataset(source, source.with_name("edited"), camera=TOP)
    edit_dataset(job, lambda frames, seeds: 255 - frames, {}, seed=0, batch_size=4, title="negative")
    return source, job.target


@pytest.fixture(scope="module")
def written(folders) -> dict[str, np.ndarray]:
    return found_in(folders[0])


@pytest.fixture(scope="module")
def edited(folders) -> dict[str, np.ndarray]:
    return found_in(folders[1])


def test_what_was_written_is_read(folders, written):
    wanted = list(episodes())
    for name in ("observation.state", "action", "next.done"):
        np.testing.assert_array_equal(written[name], np.concatenate([episode[name] for episode in wanted]))
    for camera in (TOP, WRIST):
        pixels = written[camera].transpose(0, 2, 3, 1) * 255
        assert np.abs(pixels - np.concatenate([episode[camera] for episode in wanted])).mean() < 3
        ours = np.stack(list(read(read_dataset(folders[0], camera).files[0].video)))
        assert np.abs(pixels - ours).max() <= 2  # two programs' arithmetic of colours
    steps = np.concatenate([np.arange(length) for length in LENGTHS])
    np.testing.assert_allclose(written["timestamp"], steps / FPS, atol=1e-6)
    np.testing.assert_array_equal(written["frame_index"], steps)
    np.testing.assert_array_equal(written["episode_index"], np.repeat(range(3), LENGTHS))
    assert written["tasks"].tolist() == ["push the T"] * 5 + ["wait"] * 7 + ["push the T"] * 6
    assert (written["dataset_from_index"].tolist(), written["dataset_to_index"].tolist()) == (
        [0, 5, 12],
        [5, 12, 18],
    )


def test_the_edited_one_differs_in_one_camera_alone(written, edited):
    assert edited.keys() == written.keys()
    for name, value in written.items():
        if TOP not in name:
            np.testing.assert_array_equal(edited[name], value, err_msg=name)
    assert np.abs(edited[TOP] - (1 - written[TOP])).mean() < 0.015


@pytest.mark.parametrize("which", ["written", "edited"])
def test_statistics_are_what_the_readers_own_arithmetic_gives(folders, which, request):
    found, folder = request.getfixturevalue(which), folders[which == "edited"]
    rows = pq.read_table(folder / EPISODES).to_pylist()
    for name, value in found.items():
        if name.startswith("computed/"):
            _, camera, number, key = name.split("/")
            ours = np.array(rows[int(number)][f"stats/{camera}/{key}"])
            assert ours.shape == value.shape, name
            np.testing.assert_allclose(ours, value, atol=0.01, err_msg=name)
    for key in ("mean", "std", "q50"):
        assert found[f"stats/{TOP}/{key}"].shape == (3, 1, 1)
