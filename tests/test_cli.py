from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from small_dataset import TOP, write_small
from small_pipelines import tiny

from simedit.cli import main
from simedit.config import parse_config
from simedit.lerobot import read_dataset
from simedit.library import SpecialistLibrary
from simedit.recipe import Recipe, RecipeConfig
from simedit.tiny import make_tiny_library
from simedit.video import probe, read


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A folder named `specialists` with a tiny base and two untrained specialists."""
    return make_tiny_library(tmp_path_factory.mktemp("cli") / "specialists", ["teak", "gold"])


@pytest.fixture(autouse=True)
def folder(library, tmp_path, monkeypatch) -> Path:
    """The current folder: specialists/, in.png, in.mp4 and photos/."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specialists").symlink_to(library)
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 40, 3), dtype=np.uint8)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name, frame in zip(("in.png", "photos/a.png", "photos/more/b.png"), frames, strict=True):
        Image.fromarray(frame).save(name)
    with imageio.get_writer("in.mp4", format="FFMPEG", fps=5, macro_block_size=1) as writer:
        for _ in range(3):
            writer.append_data(frames[0])
    return tmp_path


def pixels(path: str) -> np.ndarray:
    return np.asarray(Image.open(path))


def run(*args: str) -> int:
    return main(["--specialist", "teak", "--steps", "2", *args])


def test_image_is_edited_by_the_seed_and_the_specialist():
    assert run("in.png", "out.png") == 0
    assert run("in.png", "same.png") == 0
    assert run("in.png", "seed.png", "--seed", "1") == 0
    assert run("in.png", "steps.png", "--steps", "3") == 0
    assert main(["--specialist", "specialists/gold", "--steps", "2", "in.png", "gold.png"]) == 0
    np.testing.assert_array_equal(pixels("same.png"), pixels("out.png"))
    for other in ("in.png", "seed.png", "steps.png", "gold.png"):
        assert pixels(other).shape == pixels("out.png").shape
        assert not np.array_equal(pixels(other), pixels("out.png"))


def test_folder_gives_each_image_what_it_gets_alone():
    assert run("photos", "edited") == 0
    assert run("photos/more/b.png", "alone.png") == 0
    difference = pixels("edited/more/b.png").astype(int) - pixels("alone.png")
    assert np.abs(difference).max() <= 1  # batched sums round differently
    assert sorted(p.name for p in Path("edited").rglob("*.png")) == ["a.png", "b.png"]


def test_video_keeps_rate_and_size():
    assert run("in.mp4", "out.mp4", "--batch-size", "2") == 0
    with imageio.get_reader("out.mp4", format="FFMPEG") as reader:
        assert reader.get_meta_data()["fps"] == 5
        assert [frame.shape for frame in reader.iter_data()] == [(24, 40, 3)] * 3


def test_mask_keeps_the_rest_bit_for_bit():
    mask = np.zeros((24, 40), np.uint8)
    mask[5:20, 10:30] = 255
    Image.fromarray(mask).save("mask.png")
    assert run("in.png", "out.png", "--mask", "mask.png") == 0
    changed = (pixels("out.png") != pixels("in.png")).any(-1)
    assert not changed[mask == 0].any()
    assert changed[mask == 255].mean() > 0.9


@pytest.fixture
def tabletop() -> None:
    """A recipe's folder, of the regions "block" and "table", and their masks."""
    passes = [
        {"specialist": "teak", "region": "table", "prompt": "make the table out of teak"},
        {"specialist": "gold", "region": "block"},
    ]
    config = parse_config(RecipeConfig, {"name": "tabletop", "passes": passes}, where="recipe")
    Recipe.made(config).save("tabletop")
    block = np.zeros((24, 40), np.uint8)
    block[5:20, 10:30] = 255
    Image.fromarray(block).save("block.png")
    Image.fromarray(np.where(np.arange(40) < 35, 255 - block, 0).astype(np.uint8)).save("table.png")


@pytest.mark.usefixtures("tabletop")
def test_a_recipe_edits_each_region_by_its_mask(folder):
    masks = ["--mask", "block=block.png", "--mask", "table=table.png"]
    recipe = ["--specialist", "tabletop", "--steps", "2"]
    assert main([*recipe, *masks, "in.png", "out.png"]) == 0
    changed = (pixels("out.png") != pixels("in.png")).any(-1)
    assert not changed[:, 35:].any()
    assert changed[:, :35].mean() > 0.9
    assert run("in.png", "teak.png", "--mask", "table.png") == 0  # its prompt is its own
    block = np.asarray(Image.open("block.png")) > 0
    assert (pixels("out.png") != pixels("teak.png"))[:, :35][~block[:, :35]].any()

    name = f"masks_{folder.name}"
    Path(f"{name}.py").write_text(
        "import numpy as np\n"
        "block = lambda frame: np.pad(np.ones((15, 20), bool), ((5, 4), (10, 10)))\n"
        "table = lambda frame: ~block(frame) & (np.arange(40) < 35)\n"
    )
    functions = ["--mask", f"block={name}:block", "--mask", f"table={name}:table"]
    assert main([*recipe, *functions, "in.png", "same.png"]) == 0
    np.testing.assert_array_equal(pixels("same.png"), pixels("out.png"))
    assert main([*recipe, *functions, "in.mp4", "out.mp4"]) == 0

    for region in ("block", "table"):
        for file in ("a.jpg", "more/b.png"):
            Path("masks", region, file).parent.mkdir(parents=True, exist_ok=True)
            mask = Image.open(f"{region}.png")
            (mask if file == "a.jpg" else mask.transpose(Image.Transpose.FLIP_TOP_BOTTOM)).save(
                f"masks/{region}/{file}"
            )
    folders = ["--mask", "block=masks/block", "--mask", "table=masks/table"]
    assert main([*recipe, *folders, "photos", "edited"]) == 0
    assert main([*recipe, *masks, "photos/a.png", "alone.png"]) == 0
    assert np.abs(pixels("edited/a.png").astype(int) - pixels("alone.png")).max() <= 2
    changed = (pixels("edited/more/b.png") != pixels("photos/more/b.png")).any(-1)
    assert changed[:, :35].mean() > 0.9


@pytest.mark.usefixtures("tabletop")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "'tabletop' edits the region 'table', 'block': give --mask table=... --mask block=..."),
        (["--mask", "block.png"], "give --mask table=... --mask block=..."),
        (["--mask", "block=block.png", "--mask", "tabel=table.png"], "edits the region 'table': give"),
        (
            ["--mask", "block=block.png", "--mask", "table=table.png", "--mask", "block.png"],
            "name each --mask",
        ),
        (
            ["--mask", "block=block.png", "--mask", "table=table.png", "--mask", "tabel=table.png"],
            "unknown region of 'tabletop' 'tabel': did you mean 'table'",
        ),
        (["--mask", "a=block.png", "--mask", "a=block.png"], "there are two --mask of the region 'a'"),
        (["--mask", "../a=block.png"], "the region of --mask '../a' must not"),
        (["--mask", "block=nowhere.png"], "nowhere.png"),
    ],
)
def test_a_mistake_about_masks_is_one_clear_line(args, message, capfd):
    assert main(["--specialist", "tabletop", *args, "in.png", "out.png"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not Path("out.png").exists()


def test_a_specialist_has_no_region(capfd):
    Image.new("L", (40, 24), 255).save("all.png")
    assert run("in.png", "out.png", "--mask", "block=all.png") == 2
    assert "'teak' has no regions: give its --mask without a name" in capfd.readouterr().err


def test_interrupt_leaves_no_half_file(folder, capfd):
    def interrupt_once_writing() -> None:
        deadline = time.monotonic() + 60
        while not any(Path().glob(".*.partial.mp4")) and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    before = sorted(os.listdir())
    thread = threading.Thread(target=interrupt_once_writing)
    thread.start()
    assert run("in.mp4", "out.mp4", "--batch-size", "1", "--steps", "30") == 130
    thread.join()
    assert sorted(os.listdir()) == before
    assert capfd.readouterr().err.endswith("interrupted\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing.png", "out.png"], "there is no nothing.png"),
        (["in.png", "in.png"], "both in.png"),
        (["in.png", "photos/a.png"], "pass --overwrite"),
        (["in.png", "out.png", "--specialist", "teek"], "did you mean 'teak'? (known: gold, teak)"),
        (["in.png", "out.png", "--specialist", "photos"], "unknown specialist 'photos'"),
        (["in.png", "out.png", "--base", "./nowhere"], "./nowhere"),
        (["in.png", "out.png", "--batch-size", "0"], "--batch-size must be 1 or more"),
        (["in.png", "out.png", "--steps", "0"], "--steps must be 1 or more"),
        (["in.png", "out.png", "--seed", "-1"], "--seed must be from 0"),
        (["in.png", "out.png", "--seed", str(2**64)], "--seed must be from 0"),
        (["photos", "out", "--mask", "small.png"], "the mask small.png is 8x8, but photos/a.png is 40x24"),
    ],
)
def test_a_mistake_is_one_clear_line(args, message, capfd):
    Image.new("L", (8, 8), 255).save("small.png")
    assert run(*args) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not Path("out.png").exists()


@pytest.fixture
def gold():
    """A folder of style images."""
    Path("styles").mkdir()
    Image.new("RGB", (8, 8), (220, 170, 20)).save("styles/gold.png")


def test_any_editor_edits_where_the_mask_is(gold, tmp_path):
    mask = np.zeros((24, 40), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save("mask.png")
    tiny("StableDiffusionXLInstructPix2PixPipeline").save_pretrained(tmp_path / "model")
    Path("mine.yaml").write_text("like: cosxl\nmodel: model\nsteps: 2\nsize: 48\n")
    own = ["library=styles"]
    for editor, extra in (("mine.yaml", []), ("histogram", own), ("flat", own)):
        extra = ["--set", *extra] if extra else []
        how = ["--editor", editor, "--style", "gold", "--mask", "mask.png", *extra]
        assert main([*how, "--overwrite", "in.png", "out.png"]) == 0
        changed = (pixels("out.png") != pixels("in.png")).any(-1)
        assert not changed[:, 20:].any()
        assert changed[:, :20].mean() > 0.9
    assert main([*how, "--batch-size", "2", "in.mp4", "out.mp4"]) == 0
    frame, *rest = read(probe(Path("out.mp4")))
    assert len(rest) == 2
    np.testing.assert_allclose(frame[2:-2, 2:16].mean((0, 1)), (220, 170, 20), atol=8)


def test_a_dataset_keeps_what_edited_it(gold, folder):
    pytest.importorskip("pyarrow")
    write_small(folder / "data")
    args = ["--editor", "reinhard", "--style", "gold", "--set", "library=styles", "--camera", TOP]
    assert main([*args, "data", "edited"]) == 0
    (kept,) = json.loads((folder / "edited" / "meta" / "simedit.json").read_text())["edits"]
    assert kept["editor"]["transfer"] == "reinhard"
    assert kept["editor_digests"].keys() == {"specialists.gold", "base"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give --specialist, or --editor with --style"),
        (["--specialist", "teak", "--editor", "flat", "--style", "gold"], "one of the two"),
        (["--editor", "flat"], "--style goes with --editor"),
        (["--specialist", "teak", "--style", "gold"], "--style goes with --editor"),
        (["--editor", "flta", "--style", "gold"], "unknown config 'flta': did you mean 'flat'"),
        (["--editor", "flat", "--style", "gold", "--set", "library=styles"], "give --mask"),
        (["--editor", "hive", "--style", "gold"], "hive: there is no model hive_rw_condition.ckpt"),
        (["--editor", "hive", "--style", "gold", "--steps", "3"], "say --set steps=20"),
        (["--editor", "reinhard", "--style", "glod", "--set", "library=styles"], "did you mean 'gold'"),
    ],
)
def test_mistakes_about_editors_are_one_clear_line(args, message, gold, capfd):
    assert main([*args, "in.png", "out.png"]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not Path("out.png").exists()


def test_what_is_left_out_of_a_folder_is_said(capfd):
    Path("photos/notes.txt").write_text("x")
    Path("photos/more/clip.mp4").write_bytes(b"x")
    assert run("photos", "edited") == 0
    assert "not images, and left out: more/clip.mp4, notes.txt" in capfd.readouterr().err
    Path("photos/d.heic").write_bytes(b"x")
    assert run("photos", "edited2") == 2
    assert "cannot read photos/d.heic: convert it" in capfd.readouterr().err
    assert not Path("edited2").exists()


def test_a_dataset_is_edited_where_a_function_allows_it(folder):
    pytest.importorskip("pyarrow")
    source = write_small(folder / "dataset", lengths=(3, 2))
    (folder / "masks_of_this_test.py").write_text("def white(frame):\n    return frame.min(axis=-1) > 200\n")
    args = ["--mask", "masks_of_this_test:white", "--batch-size", "2"]
    assert run("dataset", "out", "--camera", TOP, *args) == 0
    before, after = (
        np.stack(list(read(read_dataset(at, TOP).files[0].video))) for at in (source, folder / "out")
    )
    shown = (before > 200).all(-1)
    difference = np.abs(after.astype(int) - before).max(-1)
    assert difference[shown].mean() > 10 * difference[~shown].mean()
    (record,) = json.loads((folder / "out/meta/simedit.json").read_text())["edits"]
    assert (record["specialist"], record["card"]["style"], record["steps"]) == ("teak", "teak", 2)
    assert record["masks"] == ["masks_of_this_test:white"]


@pytest.mark.usefixtures("tabletop")
def test_a_recipe_edits_a_dataset(folder):
    pytest.importorskip("pyarrow")
    source = write_small(folder / "dataset", lengths=(2,))
    (folder / "halves_of_this_test.py").write_text(
        "import numpy as np\n"
        "def left(frame):\n    return np.arange(frame.shape[1]) < frame.shape[1] // 2 + 0 * frame[..., 0]\n"
        "def none(frame):\n    return np.zeros(frame.shape[:2], bool)\n"
    )
    args = ["--specialist", "tabletop", "--steps", "2", "--camera", TOP, "dataset", "out"]
    masks = ["--mask", "block=halves_of_this_test:left", "--mask", "table=halves_of_this_test:none"]
    assert main([*args, *masks]) == 0
    before, after = (
        np.stack(list(read(read_dataset(at, TOP).files[0].video))) for at in (source, folder / "out")
    )
    middle = before.shape[2] // 2
    difference = np.abs(after.astype(int) - before).max(-1)
    assert difference[:, :, : middle - 8].mean() > 5 * difference[:, :, middle + 8 :].mean()
    (record,) = json.loads((folder / "out/meta/simedit.json").read_text())["edits"]
    assert record["card"]["name"] == "tabletop"
    assert set(record["mask_digests"]) == {"block", "table"}


def test_mistakes_about_datasets_are_one_clear_line(folder, capfd):
    (folder / "old/meta").mkdir(parents=True)
    (folder / "old/meta/info.json").write_text('{"codebase_version": "v2.1"}')
    for args, message in (
        (["in.png", "out.png", "--camera", "top"], "--camera is for LeRobot datasets, and in.png is none"),
        (["old", "out"], "of version v2.1, simedit reads v3.0: convert it with LeRobot's own script"),
    ):
        assert run(*args) == 2
        assert message in capfd.readouterr().err


@pytest.mark.parametrize("source", ["in.png", "in.mp4"])
def test_too_little_memory_is_one_clear_line(source, monkeypatch, capfd):
    def edit(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(SpecialistLibrary, "edit", edit)
    target = f"out{source[2:]}"
    assert run(source, target, "--batch-size", "2") == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: out of memory: 40x24 pixels, ")
    assert ("lower --batch-size (now 2)" in error) == (source == "in.mp4")
    assert not Path(target).exists()


def test_no_specialists_at_all():
    Path("specialists").unlink()
    assert run("in.png", "out.png") == 2


def test_overwrite_replaces():
    assert run("in.png", "out.png") == 0
    first = pixels("out.png")
    assert run("in.png", "out.png", "--seed", "1", "--overwrite") == 0
    assert not np.array_equal(pixels("out.png"), first)


def test_help_teaches_and_does_not_wait_for_torch():
    script = """if True:
        import sys
        from simedit.cli import main
        try:
            main(["--help"])
        finally:
            assert "torch" not in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "simedit-edit --specialist lab:gold in.mp4 out.mp4" in done.stdout


@pytest.mark.parametrize("args", [["in.png"], ["--specialist", "teak", "--stepz", "3"]])
def test_usage_errors_exit_with_2(args):
    with pytest.raises(SystemExit) as exit_:
        main(args)
    assert exit_.value.code == 2
