from __future__ import annotations

import imageio.v2 as imageio
import numpy as np
from PIL import Image
from small_drawer import CONFIG

from simedit.eval.recording import (
    MAX_WIDTH,
    STRIP_FRAMES,
    Recording,
    chosen_trials,
    save_strip,
    save_video,
    strip_path,
)
from simedit.eval.trials import trials


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


def test_paths_have_no_odd_characters(tmp_path):
    trial = next(trials(CONFIG.model_copy(update={"policies": {"RT-1 (15%)": CONFIG.policies["able"]}})))
    assert strip_path(tmp_path, trial).name == "RT-1--15---open-top-a0-raw-seed-0.png"
