from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from full_disk import full_disk
from small_dataset import TOP, WRIST, contents, write_small

from simedit.coding import coding_of
from simedit.errors import SimeditError
from simedit.lerobot import editing, read_dataset
from simedit.lerobot.editing import edit_dataset, plan_dataset, seed_of
from simedit.lerobot.statistics import NAMES
from simedit.video import Timing, probe, read, writing

pq = pytest.importorskip("pyarrow.parquet")

EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{TOP}/chunk-000/file-000.mp4"
RECORD = {"specialist": "teak", "card": {"steps": 2}}


def negative(frames: np.ndarray, seeds: list[int]) -> np.ndarray:
    return 255 - frames


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = write_small(tmp_path_factory.mktemp("source") / "dataset")
    (folder / "README.md").write_text("a card")
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    """Four frames: 18 frames have five parts."""
    monkeypatch.setattr(editing, "PART", 4)


def run(
    source: Path, target: Path, edit: Any = negative, seed: int = 0, overwrite: bool = False, **record: Any
) -> None:
    job = plan_dataset(source, target, camera=TOP, overwrite=overwrite)
    edit_dataset(job, edit, {**RECORD, **record}, seed=seed, batch_size=2, title="teak")


@pytest.fixture(scope="module")
def edited(source, tmp_path_factory) -> Path:
    """What comes out where nothing disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editing, "PART", 4)
        run(source, target := tmp_path_factory.mktemp("edited") / "dataset")
    return target


def test_one_camera_is_edited_and_all_else_is_copied(source, edited):
    before, after = contents(source), contents(edited)
    assert after.keys() - before.keys() == {"meta/simedit.json"}
    assert {name for name in before if before[name] != after[name]} == {VIDEO, EPISODES, "meta/stats.json"}
    one, other = (read_dataset(folder, TOP).files[0] for folder in (source, edited))
    assert other.spans == one.spans
    np.testing.assert_array_equal(other.video.timing.seconds(), one.video.timing.seconds())
    found, wanted = (np.stack(list(read(file.video))).astype(int) for file in (other, one))
    assert np.abs(found - (255 - wanted)).mean() < 3
    assert coding_of(edited / VIDEO) == coding_of(source / VIDEO)


def test_statistics_are_those_of_the_new_frames(source, edited):
    before, after = (pq.read_table(folder / EPISODES) for folder in (source, edited))
    assert after.schema.equals(before.schema, check_metadata=True)
    of_camera = [f"stats/{TOP}/{name}" for name in NAMES]
    assert after.drop_columns(of_camera).equals(before.drop_columns(of_camera))
    frames = np.stack(list(read(probe(edited / VIDEO)))) / 255
    for row, span in zip(after.to_pylist(), read_dataset(edited, TOP).files[0].spans, strict=True):
        pixels = frames[span.first : span.first + span.frames].reshape(-1, 3)
        assert np.shape(row[f"stats/{TOP}/mean"]) == (3, 1, 1)
        for name, value in (("max", pixels.max(0)), ("mean", pixels.mean(0)), ("std", pixels.std(0))):
            np.testing.assert_allclose(np.ravel(row[f"stats/{TOP}/{name}"]), value, atol=1e-12)
    stats, old = (json.loads((folder / "meta/stats.json").read_text()) for folder in (edited, source))
    np.testing.assert_allclose(np.ravel(stats[TOP]["mean"]), frames.reshape(-1, 3).mean(0), atol=1e-12)
    assert stats.pop(TOP) != old.pop(TOP)
    assert stats == old


def test_the_edit_is_recorded_after_those_before_it(source, edited, tmp_path):
    (first,) = json.loads((edited / "meta/simedit.json").read_text())["edits"]
    assert (first["camera"], first["seed"], first["batch_size"]) == (TOP, 0, 2)
    assert first["card"] == RECORD["card"]
    job = plan_dataset(edited, tmp_path / "again", camera=WRIST)
    edit_dataset(job, negative, RECORD, seed=3, batch_size=4, title="teak")
    one, two = json.loads((tmp_path / "again/meta/simedit.json").read_text())["edits"]
    assert one == first
    assert (two["camera"], two["seed"]) == (WRIST, 3)
    assert two["source"]["digest"] != one["source"]["digest"]


def test_an_episode_has_one_noise_whatever_the_batches(source, tmp_path):
    """Frames carry their seeds in their colours; batches go across episodes."""
    sizes, drawn = [], defaultdict(set)
    numbers = iter(np.repeat(range(3), (5, 7, 6)))

    def edit(frames: np.ndarray, seeds: list[int]) -> np.ndarray:
        sizes.append(len(frames))
        for seed in seeds:
            drawn[next(numbers)].add(seed)
        return frames

    job = plan_dataset(source, tmp_path / "out", camera=TOP)
    edit_dataset(job, edit, RECORD, seed=5, batch_size=4, title="teak")
    assert sizes == [4, 4, 4, 4, 2]
    assert dict(drawn) == {episode: {seed_of(5, episode)} for episode in range(3)}
    assert len({seed_of(seed, episode) for seed in range(50) for episode in range(50)}) == 2500
    assert 0 <= seed_of(2**63 - 1, 10**6) < 2**63


def test_nobodys_frames_stay_as_they_are(source, tmp_path):
    import pyarrow as pa

    folder = Path(shutil.copytree(source, tmp_path / "source"))
    with writing(folder / VIDEO, (48, 64), Timing.steady(23, 10)) as add:
        for number in range(23):
            add(np.full((48, 64, 3), 10 * number, np.uint8))
    table = pq.read_table(folder / EPISODES)
    at = table.column_names.index(column := f"videos/{TOP}/from_timestamp")
    pq.write_table(table.set_column(at, column, pa.array([0.1, 0.8, 1.6])), folder / EPISODES)
    run(folder, tmp_path / "out", lambda frames, seeds: np.full_like(frames, 255))
    means = np.array([frame.mean() for frame in read(probe(tmp_path / "out" / VIDEO))])
    inside = np.r_[1:6, 8:15, 16:22]
    wanted = np.where(np.isin(range(23), inside), 255, 10 * np.arange(23))
    assert np.abs(means - wanted).max() < 4


KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from simedit.lerobot import editing
    editing.PART = 4
    at, left = sys.argv[3], int(sys.argv[4])

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def edit(frames, seeds):
        global left
        left -= 1
        if at == "edit" and left < 0:
            die()
        return 255 - frames

    if at != "edit":
        setattr(editing, at, die)
    job = editing.plan_dataset(Path(sys.argv[1]), Path(sys.argv[2]), camera=sys.argv[5])
    record = {"specialist": "teak", "card": {"steps": 2}}
    editing.edit_dataset(job, edit, record, seed=0, batch_size=2, title="teak")
"""


@pytest.mark.parametrize(
    ("at", "batches", "kept"), [("edit", 0, 0), ("edit", 5, 8), ("join", 9, 18), ("describe", 9, 18)]
)
def test_killed_and_given_again_it_is_the_same_to_the_last_byte(
    source, edited, tmp_path, capfd, at, batches, kept
):
    target = tmp_path / "dataset"
    command = [sys.executable, "-c", KILLED, source, target, at, str(batches), TOP]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert not target.exists()
    seen = []
    run(source, target, lambda frames, seeds: (seen.extend(seeds), 255 - frames)[1])
    assert len(seen) == 18 - kept
    assert (f"{kept} of 18 frames are edited already" in capfd.readouterr().err) == (kept > 0)
    assert contents(target) == contents(edited)
    assert os.listdir(tmp_path) == ["dataset"]


def test_killed_while_it_moves_to_its_place_it_is_there_or_comes(source, edited, tmp_path, monkeypatch):
    def stop(one: Path, other: Path) -> None:
        if other == target:
            raise KeyboardInterrupt
        os.rename(one, other)

    target = tmp_path / "dataset"
    with monkeypatch.context() as patch:
        patch.setattr(editing.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            run(source, target)
    assert not target.exists()
    run(source, target, lambda *_: pytest.fail("all is edited"))
    assert contents(target) == contents(edited)


def interrupted(source: Path, target: Path, **record: Any) -> None:
    """Begin, and stop after three batches."""
    left = 3

    def edit(frames: np.ndarray, seeds: list[int]) -> np.ndarray:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return 255 - frames

    with pytest.raises(KeyboardInterrupt):
        run(source, target, edit, **record)


def test_an_interrupt_says_that_what_is_done_is_kept(source, tmp_path, capfd):
    interrupted(source, tmp_path / "dataset")
    assert f"what is done is kept in {tmp_path / '.dataset.simedit'}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"specialist": "gold"}, "begun with another specialist: teak there, gold now"),
        ({"card": {"steps": 3}}, r"begun with another card\.steps: 2 there, 3 now"),
        ({"seed": 1}, "begun with another seed: 0 there, 1 now"),
    ],
)
def test_what_is_begun_goes_on_with_the_same_alone(source, edited, tmp_path, changed, message):
    target = tmp_path / "dataset"
    interrupted(source, target)
    with pytest.raises(SimeditError, match=message) as caught:
        run(source, target, **changed)
    assert "\n" not in str(caught.value)
    run(source, target)
    assert contents(target) == contents(edited)


def test_another_source_is_refused_too_and_overwrite_begins_anew(source, tmp_path):
    target = tmp_path / "dataset"
    interrupted(source, target)
    other = Path(shutil.copytree(source, tmp_path / "other"))
    (other / "README.md").write_text("another card")
    with pytest.raises(SimeditError, match=r"begun with another source\.digest"):
        run(other, target)
    run(other, target, overwrite=True)
    assert (target / "README.md").read_text() == "another card"


def test_what_failed_before_anything_was_done_may_be_asked_for_otherwise(source, tmp_path):
    def fail(*_: Any) -> np.ndarray:
        raise SimeditError("out of memory")

    with pytest.raises(SimeditError, match="out of memory"):
        run(source, tmp_path / "dataset", fail)
    run(source, tmp_path / "dataset", seed=1)


def test_a_finished_one_is_refused_and_with_overwrite_replaced(source, edited, tmp_path):
    target = Path(shutil.copytree(edited, tmp_path / "dataset"))
    (target / "stale").touch()
    with pytest.raises(SimeditError, match="exists: pass --overwrite to replace it"):
        run(source, target, seed=1)
    run(source, target, seed=1, overwrite=True)
    assert contents(target).keys() == contents(edited).keys()
    assert json.loads((target / "meta/simedit.json").read_text())["edits"][0]["seed"] == 1


def test_what_is_there_and_no_dataset_is_never_replaced(source, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").touch()
    (tmp_path / "b").touch()
    for name in "ab":
        with pytest.raises(SimeditError, match="exists, and is no LeRobot dataset"):
            plan_dataset(source, tmp_path / name, camera=TOP, overwrite=True)
    (tmp_path / "empty").mkdir()
    plan_dataset(source, tmp_path / "empty", camera=TOP)


def test_output_and_input_are_apart(source, tmp_path):
    folder = Path(shutil.copytree(source, tmp_path / "outer" / "dataset"))
    (tmp_path / "link").symlink_to(folder)
    for target in (folder / "out", folder.parent, tmp_path / "link" / "out"):
        with pytest.raises(SimeditError, match="one lies inside the other"):
            plan_dataset(folder, target, camera=TOP, overwrite=True)
    with pytest.raises(SimeditError, match="input and output are both"):
        plan_dataset(folder, tmp_path / "link", camera=TOP, overwrite=True)


def test_links_are_copied_as_what_they_name(source, edited, tmp_path):
    folder = Path(shutil.copytree(source, tmp_path / "dataset"))
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        path.rename(tmp_path / "blobs" / str(number))
        path.symlink_to(tmp_path / "blobs" / str(number))
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").touch()
    run(folder, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(edited)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    with pytest.raises(SimeditError, match="are links into"):
        plan_dataset(folder, tmp_path / "blobs", camera=TOP, overwrite=True)
    (folder / "loop").symlink_to(folder)
    with pytest.raises(SimeditError, match="link to a folder that it is in"):
        plan_dataset(folder, tmp_path / "out2", camera=TOP)


@pytest.mark.parametrize(("room", "kept"), [(1_000, False), (20_000, True)])
def test_a_full_disk_keeps_what_is_done(source, edited, tmp_path, capfd, room, kept):
    """There is room for no file, or for all but the table of episodes, which is larger than the videos."""
    target = tmp_path / "dataset"
    with full_disk(room), pytest.raises(SimeditError, match=r"cannot write .*: .*File too large"):
        run(source, target)
    assert not target.exists()
    assert ("what is done is kept" in capfd.readouterr().err) == kept
    run(source, target)
    assert contents(target) == contents(edited)


def test_a_disk_that_is_too_small_is_said_before(source, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=20_000)
    monkeypatch.setattr(editing.shutil, "disk_usage", lambda path: free)
    with pytest.raises(
        SimeditError, match=r"the new dataset needs about 0\.0 GB more, and .* free: make room"
    ):
        plan_dataset(source, tmp_path / "dataset", camera=TOP)
    assert os.listdir(tmp_path) == []


def test_one_writer_at_a_time(source, tmp_path):
    (tmp_path / ".dataset.simedit").mkdir()
    with (tmp_path / ".dataset.simedit" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SimeditError, match=r"another simedit-edit .* writes to .* use another OUTPUT"):
            run(source, tmp_path / "dataset")


def test_the_input_is_never_changed(source, tmp_path):
    before = {name: os.stat(source / name).st_mtime_ns for name in contents(source)}
    bytes_before = contents(source)
    run(source, tmp_path / "dataset")
    assert contents(source) == bytes_before
    assert {name: os.stat(source / name).st_mtime_ns for name in contents(source)} == before


def test_a_codec_without_an_encoder_becomes_h264_and_is_said(source, tmp_path, capfd):
    from imageio_ffmpeg import get_ffmpeg_exe

    folder = Path(shutil.copytree(source, tmp_path / "source"))
    mpeg4 = ["-c:v", "mpeg4", "-g", "4", "-y", folder / VIDEO]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-i", source / VIDEO, *mpeg4], check=True)
    run(folder, tmp_path / "dataset")
    assert "is mpeg4, yuv420p: its edit is written as h264" in capfd.readouterr().err
    info, old = (json.loads((at / "meta/info.json").read_text()) for at in (tmp_path / "dataset", folder))
    assert info["features"][TOP]["info"].pop("video.codec") == "h264"
    assert old["features"][TOP]["info"].pop("video.codec") == "av1"
    assert info == old
    assert (coding_of(tmp_path / "dataset" / VIDEO).keyframes or 9) <= 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("meta/stats.json", "{", r"cannot read .*stats\.json"),
        ("meta/simedit.json", "[]", r"simedit\.json must hold a JSON object"),
        ("meta/simedit.json", "{}", "does not list the dataset's edits"),
    ],
)
def test_broken_metadata_is_said_before_work(source, tmp_path, name, text, message):
    folder = Path(shutil.copytree(source, tmp_path / "source"))
    (folder / name).write_text(text)
    with pytest.raises(SimeditError, match=message):
        plan_dataset(folder, tmp_path / "dataset", camera=TOP)
    assert os.listdir(tmp_path) == ["source"]
