"""Tests of simedit.eval.inputs, on videos that a small study records."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import small_drawer
from small_drawer import CONFIG, HEIGHT, WIDTH, Painter, SmallDrawer, changed

from simedit.errors import SimeditError
from simedit.eval.inputs import RunInputs
from simedit.eval.recording import video_path
from simedit.eval.store import Store
from simedit.eval.trials import Trial
from simedit.training.config import RunConfig
from simedit.training.data import fit


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with videos of two raw trials and of three edited ones."""
    folder = tmp_path_factory.mktemp("run")
    for domain, videos in (("raw", 2), ("edited", 3)):
        report = CONFIG.report.model_copy(update={"videos": videos})
        config = changed(CONFIG, domains=[domain], report=report, scenes={"pose": ["a0", "c2"]})
        small_drawer.run(folder, config=config)
    return folder


@pytest.fixture
def broken(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "run"))


def inputs(folder: Path, every: int = 1, width: int = WIDTH, height: int = HEIGHT) -> RunInputs:
    return RunInputs(RunConfig(path=str(folder), every=every), width, height)


def videos(folder: Path) -> dict[Path, tuple[Trial, int]]:
    """Each video's trial and number of frames, in the order of the names."""
    with Store(folder, write=False) as store:
        results = store.results()
    found = {video_path(folder, t): (t, r.steps + 1) for t, r in results.items()}
    return {path: found[path] for path in sorted(found) if path.exists()}


def first_frame(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    env = SmallDrawer()
    drawer, pose = trial.scene.split("/")
    obs, _ = env.reset(options={"pose": pose, "task": trial.task, "drawer": drawer})
    camera = obs["sensor_data"]["overhead_camera"]
    return camera["rgb"][0].numpy(), camera["segmentation"][0, ..., 0].numpy() == 2


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_every_frame_of_every_video_is_there_unedited(recorded: Path) -> None:
    found, kept = inputs(recorded), videos(recorded)
    assert len({trial.domain for trial, _ in kept.values()}) == 2
    assert len(found) == sum(count for _, count in kept.values())
    index = 0
    for trial, count in kept.values():
        frame, mask = found[index]
        assert (frame.dtype, frame.shape, mask) == (np.uint8, (HEIGHT, WIDTH, 3), None)
        raw, cabinet = first_frame(trial)
        style = trial.style or "gold"
        edit = Painter().edit(raw[None], styles=[style], masks=cabinet[None], seeds=[0])[0]
        # The codec takes its toll of so small a frame.
        assert error(frame[cabinet], raw[cabinet]) < 10 < error(frame[cabinet], edit[cabinet])
        index += count


def test_each_nth_frame_of_each_video_in_a_stable_order(recorded: Path) -> None:
    whole, some = inputs(recorded), inputs(recorded, every=3)
    wanted, start = [], 0
    for _, count in videos(recorded).values():
        wanted += range(start, start + count, 3)
        start += count
    assert len(some) == len(wanted) < len(whole)
    assert all(np.array_equal(some[i][0], whole[j][0]) for i, j in enumerate(wanted))


def test_frames_are_fitted_to_the_training_size(recorded: Path) -> None:
    square, whole = inputs(recorded, width=16, height=16), inputs(recorded)
    assert np.array_equal(square[5][0], fit(whole[5][0], 16, 16))


def test_there_are_no_more_frames_than_recorded(recorded: Path) -> None:
    found = inputs(recorded)
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_folder_that_is_not_there_or_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="there is no run folder"):
        inputs(tmp_path / "none")
    with pytest.raises(SimeditError, match="holds no results"):
        inputs(tmp_path)


def test_a_run_without_videos_says_how_to_get_some(broken: Path) -> None:
    shutil.rmtree(broken / "media")
    with pytest.raises(SimeditError, match=r"holds no videos.*report\.videos"):
        inputs(broken)


@pytest.mark.parametrize("harm", ["cut", "junk", "holes"])
def test_a_damaged_video_is_named(broken: Path, harm: str) -> None:
    path = list(videos(broken))[1]
    data = path.read_bytes()
    hole = len(data) // 2
    path.write_bytes(
        {
            "cut": data[:hole],
            "junk": b"no video",
            "holes": data[:60] + bytes(hole) + data[60 + hole :],
        }[harm]
    )
    with pytest.raises(SimeditError, match=path.name):
        inputs(broken)
