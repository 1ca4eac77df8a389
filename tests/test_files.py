from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from full_disk import full_disk
from PIL import Image

from simedit.errors import SimeditError
from simedit.files import edit_images, edit_video, plan, read_image
from simedit.video import Timing, probe, writing


def negative(frames: np.ndarray, *_: object) -> np.ndarray:
    return 255 - frames


def save(path: Path, size: tuple[int, int] = (16, 12), mode: str = "RGB", seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def save_video(path: Path, width: int, height: int, *, frames: int = 5, fps: int = 7) -> np.ndarray:
    """A drifting gradient, which compresses well enough to compare frames by."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    clip = [np.stack([200 * x, 200 * y, np.full_like(x, 40 * i)], -1).astype(np.uint8) for i in range(frames)]
    with imageio.get_writer(
        path, format="FFMPEG", fps=fps, quality=10, macro_block_size=1, pixelformat="yuv444p"
    ) as writer:
        for frame in clip:
            writer.append_data(frame)
    return np.stack(clip)


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_folder_is_mirrored_and_batches_share_a_size(tmp_path):
    sizes = {
        "a.png": (16, 12),
        "b.png": (16, 12),
        "c.png": (16, 12),
        "deep/er/d.png": (20, 8),
        "e.PNG": (16, 12),
    }
    for i, (name, size) in enumerate(sizes.items()):
        save(tmp_path / "in" / name, size, seed=i)
    save(tmp_path / "in" / ".hidden" / "x.png")
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    jobs = plan(tmp_path / "in", tmp_path / "out")
    batches, counted = [], []

    def edit(frames: np.ndarray, sources: list[Path]) -> np.ndarray:
        batches.append(frames.shape)
        np.testing.assert_array_equal(frames, [read_image(source) for source in sources])
        return negative(frames)

    edit_images(jobs, edit, batch_size=2, done=counted.append)
    assert names(tmp_path / "out") == sorted(sizes)
    for name in sizes:
        np.testing.assert_array_equal(
            read_image(tmp_path / "out" / name), 255 - read_image(tmp_path / "in" / name)
        )
    assert batches == [(2, 12, 16, 3), (1, 12, 16, 3), (1, 8, 20, 3), (1, 12, 16, 3)]
    assert sum(counted) == 5


@pytest.mark.parametrize(("width", "height"), [(32, 24), (33, 25)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi"])
def test_video_keeps_rate_size_and_frames(tmp_path, width, height, suffix):
    clip = save_video(tmp_path / "in.mp4", width, height)
    (job,) = plan(tmp_path / "in.mp4", tmp_path / f"out{suffix}")
    assert (job.frames, job.size) == (5, (height, width))
    counted = []
    edit_video(job, negative, batch_size=2, done=counted.append)
    assert counted == [2, 2, 1]
    with imageio.get_reader(job.target, format="FFMPEG") as reader:
        assert reader.get_meta_data()["fps"] == 7
        edited = np.stack(list(reader.iter_data()))
    assert edited.shape == clip.shape
    assert np.abs(edited.astype(int) - (255 - clip.astype(int))).mean() < 4
    assert names(tmp_path) == ["in.mp4", f"out{suffix}"]


def test_a_video_of_variable_rate_lasts_as_long_and_is_edited_once_a_frame(tmp_path):
    ticks = Timing(np.array([0, 20, 40, 60, 240, 420, 421]), Fraction(1, 600), 60)
    with writing(tmp_path / "in.mp4", (24, 32), ticks) as write:
        for index in range(7):
            write(np.full((24, 32, 3), 30 * index, np.uint8))
    (job,) = plan(tmp_path / "in.mp4", tmp_path / "out.mp4")
    counted = []
    edit_video(job, negative, batch_size=3, done=counted.append)
    assert (job.frames, counted) == (7, [3, 3, 1])
    before, after = probe(job.source).timing, probe(job.target).timing
    np.testing.assert_allclose(after.seconds(), before.seconds(), atol=1e-4)
    assert after.last * after.tick == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_full_disk_keeps_the_old_output(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    if kind == "image":
        source, target, run = save(tmp_path / "in.png"), save(tmp_path / "out.png", (9, 9)), edit_images
        Image.fromarray(noise[0]).save(source)
    else:
        source, target, run = tmp_path / "in.mp4", tmp_path / "out.mp4", edit_video
        save_video(target, 16, 16)
        with writing(source, (64, 64), Timing.steady(12, 5)) as write:
            for frame in noise:
                write(frame)
    before = target.read_bytes()
    jobs = plan(source, target, overwrite=True)
    with (
        full_disk(1000),
        pytest.raises(SimeditError, match=f"cannot write .*{target.name}.*: .*File too large"),
    ):
        run(jobs if kind == "image" else jobs[0], negative, batch_size=4, done=lambda _: None)
    assert target.read_bytes() == before
    assert names(tmp_path) == sorted([source.name, target.name])


def test_an_image_that_changes_or_goes_while_others_are_edited(tmp_path):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    jobs = plan(tmp_path / "in", tmp_path / "out")
    for change, message in (
        (lambda path: save(path, (5, 7)), "has changed while others were edited"),
        (Path.unlink, r"cannot read the image .*b\.png: No such file"),
    ):
        change(tmp_path / "in" / "b.png")
        with pytest.raises(SimeditError, match=message):
            edit_images(jobs, negative, batch_size=1, done=lambda _: None)
    assert names(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_failure_leaves_the_old_output_and_nothing_half_done(tmp_path, kind):
    if kind == "image":
        source, target, run = save(tmp_path / "in.png"), save(tmp_path / "out.png", seed=9), edit_images
    else:
        source, target, run = tmp_path / "in.mp4", tmp_path / "out.mp4", edit_video
        save_video(source, 32, 24)
        save_video(target, 16, 16)
    before = target.read_bytes()
    jobs = plan(source, target, overwrite=True)
    calls = []

    def fail_late(frames: np.ndarray, *_: object) -> np.ndarray:
        calls.append(len(frames))
        if kind == "image" or len(calls) == 2:
            raise KeyboardInterrupt
        return frames

    with pytest.raises(KeyboardInterrupt):
        run(jobs if kind == "image" else jobs[0], fail_late, batch_size=2, done=lambda _: None)
    assert target.read_bytes() == before
    assert names(tmp_path) == sorted([source.name, target.name])


class TestPlanRefuses:
    def test_missing_or_unknown_input(self, tmp_path):
        with pytest.raises(SimeditError, match="there is no"):
            plan(tmp_path / "in.png", tmp_path / "out.png")
        (tmp_path / "in.gif").write_bytes(b"GIF89a")
        with pytest.raises(SimeditError, match=r"images are .*\.png.* videos .*\.mp4"):
            plan(tmp_path / "in.gif", tmp_path / "out.gif")
        (tmp_path / "empty").mkdir()
        with pytest.raises(SimeditError, match="no images"):
            plan(tmp_path / "empty", tmp_path / "out")

    @pytest.mark.parametrize("content", ["text", "truncated"])
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".mp4"])
    def test_unreadable_input(self, tmp_path, suffix, content):
        path = tmp_path / f"in{suffix}"
        if content == "text":
            path.write_text("not what the name says")
        else:
            save_video(path, 32, 24) if suffix == ".mp4" else save(path, (64, 64))
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(SimeditError, match=r"cannot read the (image|video)"):
            plan(path, tmp_path / f"out{suffix}")

    def test_output_of_another_kind(self, tmp_path):
        source = save(tmp_path / "in.png")
        for target in (tmp_path / "out.mp4", tmp_path / "out", tmp_path):
            with pytest.raises(SimeditError, match=r"must be a file that ends in one of .*\.png"):
                plan(source, target)

    def test_output_that_is_or_lies_in_the_input(self, tmp_path):
        source = save(tmp_path / "in" / "a.png")
        with pytest.raises(SimeditError, match="both"):
            plan(source, tmp_path / "in" / ".." / "in" / "a.png", overwrite=True)
        with pytest.raises(SimeditError, match="both"):
            plan(tmp_path / "in", tmp_path / "in", overwrite=True)
        with pytest.raises(SimeditError, match="inside"):
            plan(tmp_path / "in", tmp_path / "in" / "out")

    def test_output_that_is_the_input_by_a_link(self, tmp_path):
        source = save(tmp_path / "in" / "a.png")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.png").symlink_to(source)
        with pytest.raises(SimeditError, match=r"out/a\.png is a file of the input"):
            plan(tmp_path / "in", tmp_path / "out", overwrite=True)
        with pytest.raises(SimeditError, match="both"):
            plan(source, tmp_path / "out" / "a.png", overwrite=True)
        os.link(source, tmp_path / "out" / "b.png")
        with pytest.raises(SimeditError, match="is a file of the input"):
            plan(source, tmp_path / "out" / "b.png", overwrite=True)
        save(tmp_path / "above" / "in" / "x" / "in" / "x" / "a.png")
        save(tmp_path / "above" / "in" / "x" / "a.png")
        (tmp_path / "above" / "x").symlink_to(tmp_path / "above" / "in" / "x")
        with pytest.raises(SimeditError, match="is a file of the input"):
            plan(tmp_path / "above" / "in", tmp_path / "above", overwrite=True)

    def test_two_outputs_that_are_one_file(self, tmp_path):
        for name in ("a.png", "b.png"):
            save(tmp_path / "in" / name)
        save(tmp_path / "out" / "a.png")
        (tmp_path / "out" / "b.png").symlink_to("a.png")
        with pytest.raises(SimeditError, match=r"out/b\.png is a link to another output"):
            plan(tmp_path / "in", tmp_path / "out", overwrite=True)

    def test_what_is_no_plain_file(self, tmp_path):
        os.mkfifo(tmp_path / "a.png")
        (tmp_path / "b.mp4").symlink_to("/dev/zero")
        for name in ("a.png", "b.mp4"):
            with pytest.raises(SimeditError, match="is no plain file"):
                plan(tmp_path / name, tmp_path / f"out{name}")

    def test_nothing_is_made_for_a_folder_that_cannot_be_read(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.png").write_text("no image")
        with pytest.raises(SimeditError, match="cannot read the image"):
            plan(tmp_path / "in", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_output_that_exists(self, tmp_path):
        for name in ("in/a.png", "in/b.png", "in/c.png", "out/a.png", "out/b.png"):
            save(tmp_path / name)
        with pytest.raises(SimeditError, match=r"a\.png exists \(and 1 more\): pass --overwrite"):
            plan(tmp_path / "in", tmp_path / "out")
        assert len(plan(tmp_path / "in", tmp_path / "out", overwrite=True)) == 3

    def test_output_folder_that_cannot_be_written(self, tmp_path):
        source = save(tmp_path / "in.png")
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(SimeditError, match="cannot write into"):
            plan(source, tmp_path / "file" / "out.png")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_output_folder(self, tmp_path):
        source = save(tmp_path / "in.png")
        (tmp_path / "locked").mkdir(mode=0o555)
        with pytest.raises(SimeditError, match=r"cannot write into .*locked: Permission denied"):
            plan(source, tmp_path / "locked" / "out.png")
