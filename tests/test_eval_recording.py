from __future__ import annotations

import os
from dataclasses import replace

import imageio.v2 as imageio
import numpy as np
import pytest
from full_disk import full_disk
from PIL import Image
from small_drawer import CONFIG

from simedit.errors import SimeditError
from simedit.eval.recording import (
    MAX_WIDTH,
    STRIP_FRAMES,
    Recording,
    chosen_trials,
    recorded,
    save_strip,
    save_video,
    strip_path,
    video_path,
)
from simedit.eval.trials import Trial, trials


def recording(frames=7, height=41, width=65):
    made = Recording()
    for index in range(frames):
        raw = np.full((height, width, 3), 10 * index, np.uint8)
        made.add(255 - raw, raw)
    return made


def test_a_strip_has_the_raw_frames_above_the_edited_ones(tmp_path):
    save_strip(recording(), tmp_path / "media" / "strip.png")
    strip = np.array(Image.open(tmp_path / "media" / "strip.png"))
    assert strip.shape == (2 * 40, STRIP_FRAMES * 64, 3)
    assert (strip[0, 0, 0], strip[0, -1, 0], strip[-1, 0, 0], strip[-1, -1, 0]) == (0, 60, 255, 195)


def test_without_edits_there_is_one_row():
    made = Recording()
    made.add(np.zeros((20, 30, 3), np.uint8), None)
    assert made.strip().shape == (20, STRIP_FRAMES * 30, 3)


def test_large_frames_are_shrunk():
    assert recording(1, 512, 640).raw[0].shape == (256, MAX_WIDTH, 3)


def test_a_video_is_h264_that_browsers_play(tmp_path):
    path = tmp_path / "media" / "video.mp4"
    save_video(recording(), path)
    with imageio.get_reader(path) as reader:
        meta = reader.get_meta_data()
        frames = [np.asarray(frame) for frame in reader]
    assert (meta["codec"], meta["pix_fmt"].split("(")[0]) == ("h264", "yuv420p")
    assert meta["size"] == (128, 40)
    assert len(frames) == 7
    assert np.abs(frames[3][:, :60].astype(int) - 30).max() < 12
    assert [file.name for file in path.parent.iterdir()] == ["video.mp4"]


def test_chosen_trials_are_edited_and_spread():
    chosen = chosen_trials(trials(CONFIG), 6)
    assert len(set(chosen)) == 6
    assert {t.domain for t in chosen} == {"edited"}
    assert {t.style for t in chosen} == {"gold", "wood"}
    assert len({t.policy for t in chosen}) > 1
    assert chosen_trials(trials(CONFIG), 0) == []
    raw = CONFIG.model_copy(update={"domains": ["raw"]})
    assert {t.domain for t in chosen_trials(trials(raw), 3)} == {"raw"}


def of_policy(name: str) -> Trial:
    return replace(next(trials(CONFIG)), policy=name)


def test_paths_have_no_odd_characters(tmp_path):
    name = strip_path(tmp_path, of_policy("RT-1 (15%)/../x")).name
    assert name.startswith("RT-1--15---..-x-open-top-a0-raw-seed-0-")
    assert name.endswith(".png")
    assert not set(name) & set("/ ()%:\\")


@pytest.mark.parametrize("path", [strip_path, video_path])
def test_no_two_trials_share_a_picture(tmp_path, path):
    names = [
        "RT-1 15",
        "RT-1-15",
        "rt-1 15",
        "RT-1_15",
        "x" * 99 + "a",
        "x" * 99 + "b",
        "é" * 60,
        "e\u0301" * 40,
    ]
    files = [path(tmp_path, of_policy(name)).name for name in names]
    assert len({file.casefold() for file in files}) == len(names)
    assert max(len(os.fsencode(file)) for file in files) < 200


def test_pictures_of_an_earlier_version_are_found(tmp_path):
    trial = of_policy("RT-1 15")
    path = strip_path(tmp_path, trial)
    assert recorded(path, trial) == path
    before = tmp_path / "media" / "RT-1-15-open-top-a0-raw-seed-0.png"
    save_strip(recording(), before)
    assert recorded(path, trial) == before
    save_strip(recording(), path)
    assert recorded(path, trial) == path
    long = of_policy("x" * 300)
    assert not recorded(strip_path(tmp_path, long), long).exists()


@pytest.mark.parametrize("save", [save_strip, save_video])
def test_a_full_disk_keeps_the_picture_that_was_there(tmp_path, monkeypatch, save):
    path = tmp_path / "media" / ("strip.png" if save is save_strip else "video.mp4")
    save(recording(), path)
    before = path.read_bytes()
    made = Recording()
    random = np.random.default_rng(0)
    for _ in range(20):
        made.add(random.integers(0, 256, (256, 256, 3), np.uint8), None)
    with full_disk(100_000), pytest.raises(SimeditError, match=f"cannot write .*{path.name}: "):
        save(made, path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
