from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipes import make_recipe
from small_training import SIDE, small_settings, write_config, write_inputs, write_photos

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.specialist import Specialist
from simedit.training.after import AT_ONCE, EditedInputs
from simedit.training.cli import main
from simedit.training.config import ImagesConfig, TrainConfig
from simedit.training.data import ImageInputs

COUNT = AT_ONCE + 3


class Frames:
    """Inputs with masks by region, and as many as one likes that are none of them."""

    def __init__(self, named: bool = True) -> None:
        self.named = named

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        if not 0 <= index < COUNT:
            raise IndexError
        return self.unseen(index - COUNT)

    def unseen(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        random = np.random.default_rng(index + COUNT)
        frame = random.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        return frame, self.regions(index + COUNT)["block"] if self.named else None

    def regions(self, number: int) -> dict[str, np.ndarray]:
        if not self.named:
            return {}
        block = np.zeros((SIDE, SIDE), bool)
        block[8:20, 4 : 10 + number] = True
        return {"block": block, "background": ~block}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Path:
    folder = Path(shutil.copytree(tiny_root, tmp_path_factory.mktemp("after") / "library"))
    make_recipe(folder, "tabletop", {"specialist": "gold", "region": "background"}, {"specialist": "wood"})
    return folder


class Loaded:
    """Loads the editor, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.times = folder, 0
        self.edited: list[int] = []

    def __call__(self) -> Any:
        self.times += 1
        library, edit = SpecialistLibrary.load(self.folder, device="cpu", steps=1), SpecialistLibrary.edit

        def counted(frames: np.ndarray, **asked: Any) -> np.ndarray:
            self.edited.append(len(frames))
            return edit(library, frames, **asked)

        library.edit = counted  # type: ignore[method-assign]
        return library


def config(recipe: Path, **settings: Any) -> TrainConfig:
    after = {"recipe": str(recipe), "region": "block"}
    return parse_config(TrainConfig, small_settings("base", "x") | {"after": after, **settings}, where="test")


def made(
    recipe: Path, folder: Path, inputs: Any = None, depends: str = "1", **settings: Any
) -> tuple[EditedInputs, Loaded]:
    load = Loaded(recipe)
    found = EditedInputs(inputs or Frames(), config(recipe, **settings), load, folder, {"recipe": depends})
    return found, load


def all_of(found: EditedInputs) -> np.ndarray:
    return np.stack([found[i][0] for i in range(len(found))])


def test_inputs_are_edited_by_the_passes_before_in_their_own_regions(library: Path, tmp_path: Path) -> None:
    found, load = made(library / "tabletop", tmp_path)
    found.check()
    assert list(found.prepare(found.groups())) == [0, AT_ONCE, COUNT]
    raw = Frames()
    for i in (0, COUNT - 1):
        frame, mask = found[i]
        block = raw.regions(i)["block"]
        assert np.array_equal(mask, block)
        changed = (frame != raw[i][0]).any(-1)
        assert changed.mean() > 0.9  # the second pass, which has no region, shows in "block"
    background, _ = made(
        library / "gold", tmp_path / "one", after={"recipe": str(library / "gold"), "region": "background"}
    )
    list(background.prepare(background.groups()))
    frame, block = background[3][0], raw.regions(3)["block"]
    assert np.array_equal(frame[block], raw[3][0][block])
    assert np.array_equal(frame[~block], found[3][0][~block])  # the same noise
    assert load.times == 1


def test_an_edit_follows_from_the_seed_and_the_number_alone(library: Path, tmp_path: Path) -> None:
    found, _ = made(library / "tabletop", tmp_path)
    list(found.prepare(found.groups()))
    before = {path.name: path.read_bytes() for path in (tmp_path / "inputs").iterdir()}
    assert len(before) == COUNT
    for name in ("00001.png", "00002.png", f"{COUNT - 1:05d}.png"):
        (tmp_path / "inputs" / name).unlink()  # as if it had been killed
    again, load = made(library / "tabletop", tmp_path)
    assert list(again.prepare(again.groups())) == [0, AT_ONCE, COUNT]
    assert {path.name: path.read_bytes() for path in (tmp_path / "inputs").iterdir()} == before
    assert load.edited == [AT_ONCE, 3]
    third, load = made(library / "tabletop", tmp_path)
    assert list(third.prepare(third.groups())) == [COUNT]
    assert load.times == 0
    assert np.array_equal(all_of(third), all_of(found))
    other, _ = made(library / "tabletop", tmp_path / "other", seed=1)
    list(other.prepare(other.groups()))
    assert not np.array_equal(all_of(other), all_of(found))


def test_processes_share_the_work(library: Path, tmp_path: Path) -> None:
    found, _ = made(library / "tabletop", tmp_path / "alone")
    list(found.prepare(found.groups()))
    for process in range(2):
        shared, load = made(library / "tabletop", tmp_path / "shared")
        list(shared.prepare(shared.groups()[process::2]))
        assert load.edited == [[AT_ONCE], [3]][process]
    assert np.array_equal(all_of(shared), all_of(found))


@pytest.mark.parametrize("change", [{"depends": "2"}, {"seed": 2}, {"width": 64}])
def test_what_was_edited_from_other_things_is_edited_anew(
    library: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    first, _ = made(library / "tabletop", tmp_path)
    list(first.prepare(first.groups()))
    found, _ = made(library / "tabletop", tmp_path, **change)
    assert next(iter(found.prepare(found.groups()))) == 0
    with pytest.raises(SimeditError, match=r"00000\.png is gone: go on once more"):
        found[0]


def test_unseen_frames_are_edited_too_and_nouns_are_found_in_what_was(library: Path, tmp_path: Path) -> None:
    found, load = made(library / "tabletop", tmp_path)
    list(found.prepare(found.groups()))
    one, other = found.unseen(0), found.unseen(0)
    assert load.times == 2  # a training in between had the memory
    assert one is not None
    assert other is not None
    assert np.array_equal(one[0], other[0])
    assert (one[0] != Frames().unseen(0)[0]).any(-1).mean() > 0.9
    assert np.array_equal(one[1], Frames().regions(COUNT)["block"])
    seen = []

    def masks(numbers: Any, frames: np.ndarray, own: Any) -> np.ndarray:
        seen.append((list(numbers), frames))
        return np.ones(frames.shape[:3], bool)

    found.found_before(masks)([1, COUNT], np.zeros((2, SIDE, SIDE, 3), np.uint8), [None, None])
    assert seen[0][0] == [1, COUNT]
    assert np.array_equal(seen[0][1], [Frames()[1][0], Frames().unseen(0)[0]])


def test_inputs_without_masks_are_edited_whole(library: Path, tmp_path: Path) -> None:
    after = {"recipe": str(library / "gold")}
    found, _ = made(library / "gold", tmp_path, Frames(named=False), after=after)
    found.check()
    list(found.prepare(found.groups()[:1]))
    frame, mask = found[0]
    assert mask is None
    assert (frame != Frames()[0][0]).any(-1).mean() > 0.9


@pytest.mark.parametrize(
    ("recipe", "named", "region", "message"),
    [
        ("tabletop", False, None, "recipe: .* edits the region 'background', but there are no masks"),
        ("tabletop", True, None, "recipe: .* has no region of its own.*after.region"),
        ("tabletop", True, "blok", "region: unknown region of the inputs 'blok': did you mean 'block'"),
        ("gold", True, None, "recipe: .* has no region of its own"),
        ("gold", False, "block", "region: unknown region of the inputs 'block' .known: none"),
    ],
)
def test_regions_are_checked_before_anything_is_edited(
    library: Path, tmp_path: Path, recipe: str, named: bool, region: str | None, message: str
) -> None:
    after = {"recipe": str(library / recipe), "region": region}
    found, load = made(library / recipe, tmp_path, Frames(named), after=after)
    with pytest.raises(SimeditError, match=f"after.{message}"):
        found.check()
    assert load.times == 0
    assert not os.listdir(tmp_path)


@pytest.fixture
def here(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: inputs with masks of two regions, photographs, and a config after gold."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "frames", COUNT)
    write_photos(tmp_path / "photos", 2)
    for region in ("block", "background"):
        Path(region).mkdir()
        for i in range(COUNT):
            mask = np.arange(2 * SIDE) < np.full((2 * SIDE, 1), SIDE + i)
            Image.fromarray(mask if region == "block" else ~mask).save(f"{region}/input_{i}.png")
    masks = "inputs.masks={block: block, background: background}"
    after = f"after={{recipe: {library / 'gold'}, region: background}}"
    whole = ("inputs.region=block", "regions={inputs: files, styles: full-frame}")
    told = "style={instruction: paint the block, noun: null, style_noun: null}"
    write_config(Path("small.yaml"), library / "base", "frames", masks, after, told, *whole)
    return tmp_path


NEW = ("--config", "small.yaml", "--style-images", "photos", "--cpu")


@pytest.mark.slow
def test_a_specialist_of_a_later_pass_trains_on_what_the_first_makes(
    library: Path, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*NEW, "--name", "teak"]) == 0
    assert f"inputs, edited by {library / 'gold'}: {COUNT} of {COUNT}" in capfd.readouterr().err
    raw = ImageInputs(ImagesConfig(path="frames"), SIDE, SIDE)
    masks = ImageInputs(ImagesConfig(path="frames", masks="background"), SIDE, SIDE)
    for i in range(COUNT):
        edited = np.asarray(Image.open(f"runs/train/teak/inputs/{i:05d}.png"))
        changed, mask = (edited != raw[i][0]).any(-1), masks[i][1]
        assert changed[mask].mean() > 0.9
        assert not changed[~mask].any()
    trained = Specialist.load("specialists/teak")
    assert trained.card.training["config"]["after"] == {"region": "background"}  # paths are nobody else's

    # Killed while it edits, and begun anew: what was edited stays.
    command = [sys.executable, "-m", "simedit.training.cli", *NEW, "--name", "again"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    first = Path("runs/train/again/inputs/00000.png")
    while not first.exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    kept = first.stat().st_mtime_ns
    whole = all(Path(f"runs/train/again/inputs/{i:05d}.png").exists() for i in range(AT_ONCE))
    assert main([*NEW, "--name", "again"]) == 0
    assert (first.stat().st_mtime_ns == kept) == whole
    again = Specialist.load("specialists/again")
    assert all(torch.equal(again.weights[key], weight) for key, weight in trained.weights.items())

    # The next training may not go on once the pass before is another.
    capfd.readouterr()
    assert main(["--resume", "runs/train/teak", "--cpu", "--set", "steps=3", "--overwrite"]) == 0
    Image.fromarray(np.zeros((64, 64), bool)).save("background/input_0.png")
    assert main(["--resume", "runs/train/teak", "--cpu", "--set", "steps=4", "--overwrite"]) == 2
    assert "the masks in background" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("after.recipe=nowhere", "no specialist at nowhere"),
        ("after.region=tabel", "after.region: unknown region of the inputs 'tabel'"),
        ("after.regoin=x", "after: unknown key 'regoin': did you mean 'region'"),
        ("inputs.region=blok", "unknown region of masks 'blok': did you mean 'block'"),
        ("inputs.region=null", "needs inputs.region: where the edit belongs"),
    ],
)
def test_a_mistake_is_explained_before_any_work(
    here: Path, capfd: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    assert main([*NEW, "--name", "teak", "--set", setting]) == 2
    assert message in capfd.readouterr().err
    assert not Path("runs").exists()


def test_a_dry_run_tells_of_the_passes_before(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "small.yaml", "--dry-run", "--cpu"]) == 0
    assert "in 32 U-Net evaluations" in capfd.readouterr().out
    assert main(["--config", "small.yaml", "--dry-run", "--cpu", "--set", "after.recipe=nowhere"]) == 0
    assert "after.recipe, which is not there: no specialist at nowhere" in capfd.readouterr().out


def test_a_broken_one_is_named(library: Path, tmp_path: Path) -> None:
    found, _ = made(library / "tabletop", tmp_path)
    list(found.prepare(found.groups()[1:]))
    (tmp_path / "inputs" / f"{AT_ONCE:05d}.png").write_bytes(b"no picture")
    with pytest.raises(SimeditError, match=rf"cannot read .*{AT_ONCE:05d}\.png, remove it"):
        found[AT_ONCE]
