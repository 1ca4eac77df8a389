from __future__ import annotations

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from full_disk import full_disk
from imageio_ffmpeg import get_ffmpeg_exe

from simedit.errors import SimeditError
from simedit.video import Timing, probe, read, writing


def ffmpeg(*arguments: object) -> None:
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def clip(count: int, height: int = 24, width: int = 32) -> np.ndarray:
    """Each frame of a colour of its own."""
    steps = np.linspace(20, 235, count).astype(np.uint8)
    return np.stack([np.full((height, width, 3), (step, 255 - step, 60), np.uint8) for step in steps])


def write(path: Path, frames: np.ndarray, timing: Timing, aspect: Fraction = Fraction(1)) -> None:
    with writing(path, frames.shape[1:3], timing, aspect) as add:
        for frame in frames:
            add(frame)


def again(source: Path, target: Path) -> None:
    """Write what is read."""
    video = probe(source)
    with writing(target, video.size, video.timing, video.aspect) as add:
        for frame in read(video):
            add(frame)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


VARIABLE = Timing(np.array([0, 20, 40, 60, 120, 181, 240, 900]), Fraction(1, 600), 77)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("timing", [VARIABLE, Timing(np.arange(8), Fraction(1001, 30000))])
def test_frames_keep_their_times(tmp_path, suffix, timing):
    frames = clip(8)
    write(tmp_path / f"a{suffix}", frames, timing)
    again(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
    for name in "ab":
        video = probe(tmp_path / f"{name}{suffix}")
        assert (len(video), video.size) == (8, (24, 32))
        np.testing.assert_allclose(video.timing.seconds(), timing.seconds(), atol=0.0011)
        if suffix != ".avi":  # which knows of no frame's length
            last = float(video.timing.last * video.timing.tick)
            assert last == pytest.approx(float(timing.last * timing.tick), abs=0.002)
        found = np.stack(list(read(video)))
        assert np.abs(found.astype(int) - frames).max() <= 6
    assert names(tmp_path) == [f"a{suffix}", f"b{suffix}"]


def test_a_rate_is_kept_through_a_coarse_clock(tmp_path):
    """Matroska counts milliseconds: 30 frames a second stay that, and become no rate like 30.3."""
    write(tmp_path / "a.mkv", clip(9), Timing.steady(9, 30))
    assert probe(tmp_path / "a.mkv").timing.tick == Fraction(1, 30)
    again(tmp_path / "a.mkv", tmp_path / "b.mp4")
    timing = probe(tmp_path / "b.mp4").timing
    assert timing.tick == Fraction(1, 30)
    np.testing.assert_array_equal(timing.ticks, np.arange(9))


def test_every_frame_is_there_once_where_frames_are_stored_out_of_order(tmp_path):
    times = "setpts='if(lt(N,10),N/30,1/3+(N-10)/10)/TB'"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=s=96x64:r=30:d=0.6667", "-vf", times, "-fps_mode", "vfr"),
        *("-video_track_timescale", 600, "-pix_fmt", "yuv420p", "-bf", 3, tmp_path / "a.mp4"),
    )
    again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    before, after = (probe(tmp_path / f"{name}.mp4") for name in "ab")
    np.testing.assert_allclose(after.timing.seconds(), before.timing.seconds(), atol=1e-4)
    assert np.diff(before.timing.seconds()).max() < 0.15
    assert after.timing.last * after.timing.tick < 0.15
    for one, other in zip(read(before), read(after), strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("range_", ["tv", "pc"])
def test_colours_stay_whatever_the_source_says_of_its_own(tmp_path, matrix, range_):
    filters = f"scale=out_color_matrix={matrix}:out_range={range_},format=yuv444p"
    told = ["-colorspace", matrix, "-color_range", range_]
    source = ("-f", "lavfi", "-i", "color=0xC83214:s=32x24:r=5:d=0.6")
    ffmpeg(*source, "-vf", filters, "-c:v", "libx264", "-qp", 0, *told, tmp_path / "a.mp4")
    assert np.abs(next(read(probe(tmp_path / "a.mp4")))[0, 0].astype(int) - (0xC8, 0x32, 0x14)).max() <= 4
    again(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert np.abs(next(read(probe(tmp_path / "b.mp4")))[0, 0].astype(int) - (0xC8, 0x32, 0x14)).max() <= 6
    header = subprocess.run(
        [get_ffmpeg_exe(), "-i", tmp_path / "b.mp4"], capture_output=True, text=True, check=False
    ).stderr
    assert "yuv420p(tv, bt709" in header


def test_the_shape_of_pixels_is_kept(tmp_path):
    write(tmp_path / "a.mp4", clip(3), Timing.steady(3, 5), Fraction(4, 3))
    again(tmp_path / "a.mp4", tmp_path / "b.mkv")
    assert probe(tmp_path / "b.mkv").aspect == Fraction(4, 3)


def test_what_is_transparent_is_laid_on_white(tmp_path):
    source = ("-f", "lavfi", "-i", "color=0xC83214@0.2:s=32x24:r=5:d=0.6,format=rgba")
    ffmpeg(*source, "-c:v", "qtrle", tmp_path / "a.mov")
    video = probe(tmp_path / "a.mov")
    assert video.transparent
    expected = 255 - (255 - np.array([0xC8, 0x32, 0x14])) * 0.2
    assert np.abs(next(read(video))[0, 0] - expected).max() <= 2


def test_ten_bits_become_eight(tmp_path):
    source = ("-f", "lavfi", "-i", "color=gray:s=32x24:r=5:d=0.6")
    ffmpeg(*source, "-c:v", "libx264", "-pix_fmt", "yuv420p10le", tmp_path / "a.mp4")
    assert np.abs(next(read(probe(tmp_path / "a.mp4"))).astype(int) - 128).max() <= 2


def test_what_cannot_be_kept_is_refused(tmp_path):
    source = ("-f", "lavfi", "-i", "testsrc=s=32x24:r=5:d=0.6", "-pix_fmt", "yuv420p")
    ffmpeg(*source, "-vf", "setparams=color_trc=smpte2084", "-c:v", "libx264", tmp_path / "hdr.mp4")
    ffmpeg(*source, "-map", "0:v", "-map", "0:v", tmp_path / "two.mp4")
    for name, message in (("hdr", "is HDR: convert it"), ("two", "holds 2 tracks of pictures")):
        with pytest.raises(SimeditError, match=message):
            probe(tmp_path / f"{name}.mp4")


def test_a_cover_is_no_track(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x24:r=5:d=0.6", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64:d=0.1", "-frames:v", 1, tmp_path / "c.png")
    ffmpeg(
        *("-i", tmp_path / "a.mp4", "-i", tmp_path / "c.png", "-map", "1", "-map", "0", "-c", "copy"),
        *("-disposition:v:0", "attached_pic", tmp_path / "b.mp4"),
    )
    assert probe(tmp_path / "b.mp4").size == (24, 32)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("share", [0, 0.3, 0.7, 0.95])
def test_one_that_is_cut_short_is_refused(tmp_path, suffix, share):
    whole = tmp_path / f"a{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=4:r=10", "-pix_fmt", "yuv420p", whole)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    with pytest.raises(SimeditError, match=rf"cannot read the video .*a\{suffix}: .") as caught:
        probe(whole)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", ["sound", "text", "missing", "folder"])
def test_what_is_no_video_is_refused(tmp_path, kind):
    path = tmp_path / "a.mp4"
    if kind == "sound":
        ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", path)
    elif kind == "text":
        path.write_text("hello\n" * 50)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(SimeditError, match=r"cannot read the video .*a\.mp4"):
        probe(path)


def test_one_that_changes_after_it_was_looked_at_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write(path, clip(6), Timing.steady(6, 5))
    video = probe(path)
    write(path, clip(5), Timing.steady(5, 5))
    with pytest.raises(SimeditError, match="it has changed"):
        list(read(video))
    path.unlink()
    with pytest.raises(SimeditError, match="No such file"):
        list(read(video))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
@pytest.mark.parametrize("room", [0, 200, 5_000, 60_000])
def test_a_full_disk_is_said_in_ffmpegs_words_and_keeps_what_was_there(tmp_path, suffix, room):
    path = tmp_path / f"a{suffix}"
    write(path, clip(3), Timing.steady(3, 5))
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    with full_disk(room), pytest.raises(SimeditError, match=rf"cannot write .*a\{suffix}: .*File too large"):
        write(path, noise, Timing.steady(30, 5))
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


def test_fewer_frames_than_said_is_an_error(tmp_path):
    with pytest.raises(SimeditError, match="it took 2 of 3 frames"):
        write(tmp_path / "a.mp4", clip(2), Timing.steady(3, 5))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError, ValueError])
def test_an_error_while_writing_leaves_nothing_and_no_ffmpeg(tmp_path, error):
    def fail() -> None:
        with writing(tmp_path / "a.mp4", (24, 32), Timing.steady(3, 5)) as add:
            add(clip(1)[0])
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["12:30:05.mp4", "-dash %d.mp4", "'é\n.mp4", os.fsdecode(b"\xff.mp4")])
def test_names_of_every_kind(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path(name), clip(3), Timing.steady(3, 5))
    assert len(list(read(probe(Path(name))))) == 3
    assert names(tmp_path) == [name]
