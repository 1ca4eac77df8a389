from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from simedit.coding import Coding, coding_of, join, kept
from simedit.errors import SimeditError
from simedit.video import Timing, probe, read, writing

PURE = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)], np.uint8)
LEROBOT = Coding("av1", "yuv420p", "tv", "unknown", "unknown", "unknown", keyframes=2)


def coloured(colours: np.ndarray = PURE) -> np.ndarray:
    return np.broadcast_to(colours[:, None, None], (len(colours), 48, 64, 3)).copy()


def write(path: Path, frames: np.ndarray, coding: Coding, rate: Fraction = Fraction(10)) -> None:
    with writing(path, frames.shape[1:3], Timing.steady(len(frames), rate), coding=coding) as add:
        for frame in frames:
            add(frame)


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read(probe(path))))


def by_ffmpeg(path: Path, *arguments: str) -> None:
    """Six frames of one colour, encoded by plain ffmpeg."""
    source = ("-f", "lavfi", "-i", "color=0xC87828:s=64x48:r=10:d=0.6,format=rgb24")
    subprocess.run(
        [get_ffmpeg_exe(), "-v", "error", "-y", *source, *arguments, str(path)],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("codec", ["av1", "h264", "hevc"])
@pytest.mark.parametrize(("range_", "matrix"), [("tv", "unknown"), ("pc", "bt709")])
def test_a_coding_is_found_and_written_again_with_pure_colours(tmp_path, codec, range_, matrix):
    coding = kept(Coding(codec, "yuv420p", range_, matrix, "unknown", "unknown", keyframes=2))
    write(tmp_path / "a.mp4", coloured(), coding)
    found = coding_of(tmp_path / "a.mp4")
    assert (found.codec, found.pixels, found.matrix) == (codec, "yuv420p", matrix)
    assert (found.keyframes or 9) <= 2  # encoders add some where all changes
    assert found.range == range_ or (codec, range_, found.range) == ("h264", "tv", "unknown")
    assert np.abs(frames_of(tmp_path / "a.mp4").astype(int) - coloured()).max() <= 6
    write(tmp_path / "b.mp4", frames_of(tmp_path / "a.mp4"), kept(found))
    assert replace(coding_of(tmp_path / "b.mp4"), keyframes=found.keyframes) == found
    assert np.abs(frames_of(tmp_path / "b.mp4").astype(int) - coloured()).max() <= 6


@pytest.mark.parametrize(
    ("arguments", "matrix"),
    [(["-c:v", "libsvtav1", "-g", "3"], "unknown"), (["-c:v", "libx264", "-g", "3", "-bf", "2"], "unknown")],
)
def test_what_says_nothing_of_its_colours_still_says_nothing(tmp_path, arguments, matrix):
    """As LeRobot's own videos: its readers take BT.601 then, and so must who writes them anew."""
    by_ffmpeg(tmp_path / "a.mp4", "-pix_fmt", "yuv420p", *arguments)
    found = coding_of(tmp_path / "a.mp4")
    assert (found.matrix, found.keyframes) == (matrix, 3)
    write(tmp_path / "b.mp4", frames_of(tmp_path / "a.mp4"), kept(found))
    assert coding_of(tmp_path / "b.mp4").matrix == matrix
    assert np.abs(frames_of(tmp_path / "b.mp4").astype(int) - (200, 120, 40)).max() <= 4


@pytest.mark.parametrize(
    ("arguments", "codec"),
    [(["-c:v", "mpeg4"], "mpeg4"), (["-c:v", "libx264rgb"], "h264"), (["-c:v", "libvpx-vp9"], "vp9")],
)
def test_what_cannot_be_written_as_it_was_becomes_h264(tmp_path, arguments, codec):
    by_ffmpeg(tmp_path / "a.mp4", *arguments)
    found = coding_of(tmp_path / "a.mp4")
    assert found.codec == codec
    assert kept(found) == Coding(crf=23, keyframes=found.keyframes)
    write(tmp_path / "b.mp4", frames_of(tmp_path / "a.mp4"), kept(found))
    assert (coding_of(tmp_path / "b.mp4").codec, coding_of(tmp_path / "b.mp4").matrix) == ("h264", "bt709")


@pytest.mark.parametrize("coding", [LEROBOT, Coding(keyframes=4)], ids=["av1", "h264"])
def test_joined_parts_are_their_frames_at_steady_times(tmp_path, coding):
    """30000 / 1001 frames a second: lengths in millionths of seconds would not add up."""
    rate, lengths = Fraction(30000, 1001), (3, 1, 7, 2, 5)
    parts = [tmp_path / "it's: parts" / f"{i:06d}.mp4" for i in range(len(lengths))]
    noise = np.random.default_rng(0).integers(0, 256, (sum(lengths), 48, 64, 3), np.uint8)
    for part, one in zip(parts, np.split(noise, np.cumsum(lengths)[:-1]), strict=True):
        write(part, one, coding, rate)
    for name in ("a.mp4", "b.mp4"):
        join(parts, tmp_path / name, rate)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    np.testing.assert_array_equal(
        frames_of(tmp_path / "a.mp4"), np.concatenate([frames_of(part) for part in parts])
    )
    timing = probe(tmp_path / "a.mp4").timing
    assert timing.tick == 1 / rate
    np.testing.assert_array_equal(timing.ticks, np.arange(sum(lengths)))
    assert (coding_of(tmp_path / "a.mp4").keyframes or 9) <= (coding.keyframes or 0)


def test_joining_what_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(SimeditError, match=r"cannot write the video .*a\.mp4: Impossible to open"):
        join([tmp_path / "000000.mp4"], tmp_path / "a.mp4", Fraction(10))
