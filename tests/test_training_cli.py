from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_clip import save_clip
from small_training import SIDE, write_config, write_inputs, write_photos

from simedit.cli import main as edit
from simedit.errors import SimeditError
from simedit.eval.library import find_specialists
from simedit.library import SpecialistLibrary
from simedit.locks import locked
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.checkpoint import load as load_checkpoint
from simedit.training.cli import main
from simedit.training.trainer import Interrupted, Trainer
from simedit.wrapper import EditObservation

NEW = ("--config", "small.yaml", "--style-images", "photos", "--name", "gold", "--cpu")
RESUME = ("--resume", "runs/train/gold", "--cpu")
COPY = (*RESUME, "--specialist", "specialists/gold")
"""Goes on with a copied run folder: its own specialist is elsewhere."""
CHECKPOINTS = Path("runs/train/gold/checkpoints")
STOPPED = "stopped, and saved. Go on with: simedit-train --resume runs/train/gold --cpu\ninterrupted\n"
SIZES = ("steps=4", "samples=6", "sampling.batch_size=1")
"""Small batches: there are moments in between to stop at."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base/, inputs/ and photos/."""
    folder = tmp_path_factory.mktemp("training")
    tiny_pipeline(0).save_pretrained(folder / "base")
    write_inputs(folder / "inputs", 6)
    write_photos(folder / "photos", 5)
    return folder


@pytest.fixture(autouse=True)
def folder(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: small.yaml, links to the base and the inputs, a copy of the photos."""
    monkeypatch.chdir(tmp_path)
    _furnish(pool, tmp_path)
    return tmp_path


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As in the subprocesses: sums over several threads differ in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a training of `SIZES` ran without interruption."""
    folder, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    _furnish(pool, folder)
    os.chdir(folder)
    try:
        assert main([*NEW, "--set", *SIZES]) == 0
    finally:
        os.chdir(before)
    return folder


def _furnish(pool: Path, folder: Path) -> None:
    for name in ("base", "inputs"):
        (folder / name).symlink_to(pool / name)
    shutil.copytree(pool / "photos", folder / "photos")
    write_config(folder / "small.yaml", "base", "inputs")


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "runs/train/gold/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_equals(trained: Path) -> None:
    """The current folder's specialist and metrics are, bit for bit, those of `trained`."""
    ours, theirs = (
        load_file(folder / "specialists/gold/adapter.safetensors") for folder in (Path(), trained)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert metrics(Path()) == metrics(trained)
    assert [record["step"] for record in metrics(Path())] == [1, 2, 3, 4]
    assert sorted(path.name for path in CHECKPOINTS.iterdir()) == ["step_0003", "step_0004"]


def started(*args: str, module: tuple[str, ...] = ("-m", "simedit.training.cli")) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *module, *args],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.005)


class Terminal(io.StringIO):
    """A terminal on which, once it shows `words`, somebody sends this process a signal."""

    def __init__(self, words: str, number: signal.Signals):
        super().__init__()
        self._waiting, self._number = re.compile(words, re.DOTALL), number

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._waiting.search(text):
            self._waiting = re.compile("(?!)")  # matches nothing
            os.kill(os.getpid(), self._number)
        return super().write(text)


@pytest.mark.slow
def test_kill_after_two_steps_of_four_then_resume(trained: Path):
    process = started(*NEW, "--set", *SIZES)
    wait_for(CHECKPOINTS / "step_0002", process)
    process.kill()
    process.communicate()
    assert not Path("specialists").exists()
    resumed = started(*RESUME)
    out, err = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, err
    assert "step 0 of 4" not in err
    assert "specialists/gold" in out
    assert_equals(trained)


@pytest.mark.slow
def test_kill_within_a_step_then_resume(trained: Path):
    process = started(*NEW, "--set", *SIZES)
    wait_for(CHECKPOINTS / "step_0001", process)
    time.sleep(random.uniform(0, 1.5))
    process.kill()
    process.communicate()
    assert main(RESUME) == 0
    assert_equals(trained)


@pytest.mark.slow
def test_sigterm_from_a_batch_system_saves_and_names_the_command_to_go_on(trained: Path):
    process = started(*NEW, "--set", *SIZES)
    wait_for(CHECKPOINTS / "step_0001", process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith(STOPPED)
    assert "Traceback" not in err
    assert not Path("specialists").exists()
    assert main(RESUME) == 0
    assert_equals(trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "phase", "number"),
    [(0, "update", signal.SIGINT), (1, "sample", signal.SIGTERM), (2, "update", signal.SIGINT)],
)
def test_a_signal_saves_within_the_step(
    trained: Path, monkeypatch, step: int, phase: str, number: signal.Signals
):
    terminal = Terminal(rf"{step}/4.*{phase}.*[12]/[36]", number)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", terminal)
        assert main([*NEW, "--set", *SIZES]) == 130
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    shown = terminal.getvalue()
    assert "stopping at the next safe point" in shown
    assert shown.endswith(STOPPED)
    interrupted = CHECKPOINTS / f"step_{step:04d}_interrupted"
    assert [path.name for path in CHECKPOINTS.glob("*_interrupted")] == [interrupted.name]
    assert [record["step"] for record in metrics(Path())] == list(range(1, step + 1))
    progress = json.loads((interrupted / "progress.json").read_text(encoding="utf-8"))
    assert (progress["updates"] > 0) == (phase == "update")
    assert not Path("specialists").exists()
    assert main(RESUME) == 0
    assert_equals(trained)


def test_a_signal_between_two_steps_stops_there(capsys, trained: Path):
    def interrupt() -> None:
        while not Path("runs/train/gold/curves.png").exists():  # a step's last
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main([*NEW, "--set", *SIZES]) == 130
    thread.join()
    assert capsys.readouterr().err.endswith(STOPPED)
    assert (CHECKPOINTS / "step_0001").exists()
    assert main(RESUME) == 0
    assert_equals(trained)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("objective={kind: nft, levels: 2}",),
        ("objective={kind: draft, last: 2}", "scores.structural_weight=0"),
        ("objective={kind: ppo}", "scores.baseline=prompt", "scores.min_count=2", "sampling.window=2"),
    ],
    ids=["d3po", "nft", "draft", "ppo"],
)
def test_two_processes_learn_what_one_does(settings: tuple[str, ...]):
    """One update a step: processes sum in another order, which shows in the last bits, no more. AdamW blows
    that up to whole updates where a gradient is next to nothing: after the second step its moments are
    compared, and a low rate keeps one step's differences from showing in the next one's gradients."""
    slow = ("update.learning_rate=1e-5", *settings)
    out = ("--out", "runs/two", "--specialist", "specialists/two", "--set", *slow)
    launch = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        "-m",
        "simedit.training.cli",
    )
    process = started(*NEW, *out, module=launch)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert err.count("step 1 of 2") == 1
    assert main([*NEW, "--set", *slow, "update.accumulation=4"]) == 0
    for step in (1, 2):
        one, two = (
            load_checkpoint(Path(f"{run}/checkpoints/step_{step:04d}"))
            for run in ("runs/train/gold", "runs/two")
        )
        if step == 1:
            torch.testing.assert_close(two.specialist.weights, one.specialist.weights, atol=1e-6, rtol=0)
            moved = [value.abs().max() for key, value in one.specialist.weights.items() if "lora_B" in key]
            assert max(moved) > 5e-6  # from zero
        largest = max(float(state["exp_avg"].abs().max()) for state in one.optimizer if state)
        assert largest > 1e-5
        near = min(1e-6, 1e-3 * largest)
        torch.testing.assert_close(two.optimizer, one.optimizer, atol=near, rtol=0)
        torch.testing.assert_close(two.newest, one.newest)
    lines = Path("runs/two/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for line, record in zip(lines, metrics(Path()), strict=True):
        numbers = {key: value for key, value in record.items() if value is not None}
        # A share of signs, which rounding turns where errors have hardly moved yet.
        signs = numbers.pop("in_order", 0)
        found = json.loads(line)
        assert {key: found[key] for key in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-6)
        assert abs(found.get("in_order", 0) - signs) < 0.2


def test_an_update_may_be_on_one_pair():
    assert main([*NEW, "--set", "steps=1", "update.accumulation=1"]) == 0
    assert metrics(Path())[0]["updates"] == 4


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that `simedit-train` says, after checking that it did nothing else."""
    before = everything(Path())
    capsys.readouterr()
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    # What was read is said before.
    *read, line = err.splitlines(keepends=True)
    assert all(said.startswith("style images (") or " input images in " in said for said in read)
    assert line.startswith("error: ")
    assert line.endswith("\n")
    assert everything(Path()) == before
    return line


@pytest.fixture
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if the base is loaded: mistakes are to be met before that."""

    def loaded(*args: Any, **options: Any) -> None:
        pytest.fail("the base was loaded")

    monkeypatch.setattr(SpecialistPipeline, "from_pretrained", loaded)


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("--style-images", "nowhere"),
            "no style images: there is no folder nowhere. Give a folder of photo",
        ),
        (("--style-images", "runs"), "no style images: no images in runs"),
        (("--style", "configs/rain.yaml"), "cannot read config configs/rain.yaml: No such file"),
        (("--name", "white/marble"), "--name 'white/marble' must be of letters"),
        (("--name", "white marble"), "--name 'white marble' must be of letters"),
        (("--name", ".."), "--name '..' must be of letters"),
        (("--name", ""), "--name '' must be of letters"),
        (("--name", "g" * 101), "must be at most 100 bytes long, not 101"),
        (("--set", "base="), "base: Input should be a valid string"),
        (("--set", "inputs.path=' '"), "it names no folder"),
        (("--config", "nowhere.yaml"), "cannot read config nowhere.yaml"),
        (
            ("--set", "samples=7"),
            "samples (7) must be a multiple of update.batch_size (1) x update.accumulation (2)",
        ),
        (("--set", "sampling.step=3"), "sampling: unknown key 'step': did you mean 'steps'?"),
        (("--set", "sampling.steps=[3"), "'[3' is not valid YAML"),
        (("--set", "seed"), "override 'seed' must read KEY=VALUE"),
        (("--set", "inputs.path=nowhere"), "there is no folder nowhere"),
        (("--set", "regions.inputs=simulator"), "'simulator' needs inputs.kind 'twin'"),
        (("--specialist", "photos"), "photos exists already: choose another --name or --specialist"),
        (("--specialist", "photos", "--overwrite"), "photos exists and is not a specialist's folder"),
        (("--specialist", "small.yaml/gold"), "small.yaml is a file: choose another --out or --specialist"),
        (("--out", "small.yaml"), "small.yaml is a file: choose another --out or --specialist"),
        (("--set", "scores.attention={noun: board}"), "must be words of style.instruction, not 'board'"),
        (("--set", "scores.attention={}", "style.noun=null"), "words of style.instruction, not None"),
    ],
)
def test_a_mistake_is_explained_before_any_work(capsys, change: tuple[str, ...], message: str):
    Path("runs").mkdir()
    assert message in refused(capsys, *NEW, *change)


@pytest.mark.usefixtures("no_base")
def test_what_is_needed_is_asked_for(capsys):
    assert "--config is missing" in refused(capsys)
    assert "--style-images and --name are needed" in refused(capsys, *NEW[:4])


@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.jpg", b"not a photograph", "cannot read the image photos/text.jpg"),
        ("cut.jpg", None, "cannot read the image photos/cut.jpg"),
        ("point.png", (1, 1), "photos/point.png is 1 x 1 pixels: 32 a side is the least"),
    ],
)
def test_a_bad_photo_is_named(capsys, name: str, content: Any, message: str):
    path = Path("photos") / name
    if isinstance(content, tuple):
        Image.new("RGB", content).save(path)
    else:
        path.write_bytes(content or Path("photos/photo_0.jpg").read_bytes()[:700])
    assert message in refused(capsys, *NEW)


def test_photos_to_doubt_are_named_before_the_training_begins(capsys, monkeypatch):
    def run(trainer: Trainer) -> None:
        raise SimeditError("here it begins")

    monkeypatch.setattr(Trainer, "run", run)
    Image.new("RGB", (200, 32), (90, 60, 30)).save("photos/photo_1.jpg")
    shutil.copy("photos/photo_2.jpg", "photos/photo_10.jpg")
    assert main([*NEW, "--set", "height=48"]) == 2
    *_, same, small, flat, far, begun = capsys.readouterr().err.splitlines()
    assert "identical photographs, which count as one: photo_2.jpg, photo_10.jpg: " in same
    assert small.startswith("warning: too small, its grain will be blurred: photo_1.jpg (200 x 32): ")
    assert flat.startswith("warning: nearly flat, almost without contrast: photo_1.jpg: ")
    assert far.startswith("warning: too different from one another in colour: ")
    assert begun == "error: here it begins"


def test_grey_transparent_and_deep_photos_are_fine():
    rgb = Image.open("photos/photo_0.jpg")
    rgb.convert("L").save("photos/photo_0.jpg")
    rgb.convert("RGBA").resize((50, 70)).save("photos/rgba.png")
    Image.fromarray(np.asarray(rgb)[..., 0].astype(np.uint16) * 257).save("photos/deep.png")
    assert main([*NEW, "--set", "steps=1"]) == 0
    images = Specialist.load("specialists/gold").style_images
    assert len(images) == 7
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in images)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.usefixtures("no_base")
@pytest.mark.parametrize("option", ["--out", "--specialist"])
def test_a_read_only_folder_is_named(capsys, option: str):
    Path("locked").mkdir(mode=0o500)
    assert "locked cannot be written" in refused(capsys, *NEW, option, "locked/gold")


def test_a_base_that_is_not_there_is_named(capsys):
    assert "no base at ./nowhere" in refused(capsys, *NEW, "--set", "base=./nowhere")


def test_without_the_hub_the_base_that_ships_is_offered(capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = refused(capsys, *NEW, "--set", "base=nobody/has-this")
    assert "no base at 'nobody/has-this': no such directory, and the hub gave no model of that name" in said
    assert said.endswith(
        "Give the directory of an InstructPix2Pix checkpoint, or train on the lab's small base, which ships "
        "with simedit: simedit-lab train-style gold --style-images photos\n"
    )
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "simedit-lab train-style NAME --style-images FOLDER" in capsys.readouterr().out


def test_a_base_that_edits_no_images_is_refused(capsys, pool: Path, folder: Path):
    """Four channels: a Stable Diffusion as it came, not an InstructPix2Pix."""
    pipeline = tiny_pipeline(0)
    config = dict(pipeline.unet.config) | {"in_channels": 4}
    shutil.copytree(pool / "base", folder / "plain")
    type(pipeline.unet).from_config(config).save_pretrained(folder / "plain/unet")
    capsys.readouterr()
    assert "InstructPix2Pix" in refused(capsys, *NEW, "--set", "base=./plain")


@pytest.fixture
def finished(trained: Path, folder: Path) -> Path:
    """The current folder, with copies of the finished training's run folder and specialist."""
    for name in ("runs", "specialists"):
        shutil.copytree(trained / name, folder / name)
    return folder


@pytest.mark.usefixtures("no_base", "finished")
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            NEW,
            "runs/train/gold holds a training: go on with --resume runs/train/gold, or choose another --out",
        ),
        ((*NEW, "--overwrite"), "runs/train/gold holds a training: go on with --resume"),
        (
            (*NEW, "--out", "runs/new"),
            "gold exists already: choose another --name or --specialist, or add --ov",
        ),
        (("--resume", "photos"), "photos is not a training's run folder"),
        (("--resume", "nowhere"), "nowhere is not a training's run folder"),
        ((*NEW, *RESUME), "--resume goes on with the run's own config, style images and name: give none of"),
        ((*RESUME, "--name", "teak"), "--resume goes on with the run's own config, style images and name"),
        (
            (*RESUME, "--set", "seed=1"),
            "seed cannot change when a training goes on, only keep, sampling.batch",
        ),
        ((*RESUME, "--set", "update.batch_size=2"), "update.accumulation was 2 and would be 4"),
        ((*RESUME, "--set", "steps=0"), "steps: 0 and no warm_start would train nothing"),
    ],
)
def test_a_training_is_neither_replaced_nor_bent(capsys, args: tuple[str, ...], message: str):
    assert message in refused(capsys, *args)


CHANGES: dict[str, tuple[Callable[[], Any], str]] = {
    "inputs": (
        lambda: [Path("inputs", f"input_{i}.png").unlink() for i in (1, 4)],
        r"the inputs in inputs \(6 files [0-9a-f]{16}, now 4 files [0-9a-f]{16}\)",
    ),
    "input": (
        lambda: shutil.copy("inputs/input_1.png", "inputs/input_2.png"),
        r"the inputs in inputs \(6 files [0-9a-f]{16}, now 6 files [0-9a-f]{16}\)",
    ),
    "base": (
        lambda: tiny_pipeline(1).save_pretrained("base"),
        r"the base base \(\d+ files [0-9a-f]{16}, now \d+ files [0-9a-f]{16}\)",
    ),
}


@pytest.mark.usefixtures("no_base", "finished")
@pytest.mark.parametrize("what", CHANGES)
def test_a_training_does_not_go_on_from_other_things(capsys, pool: Path, what: str):
    for name in ("base", "inputs"):
        Path(name).unlink()
        shutil.copytree(pool / name, name)
    change, message = CHANGES[what]
    change()
    said = refused(capsys, *COPY)
    assert re.search("trained from other things than are there now: " + message, said)
    assert said.count(", now ") == 1
    assert "Put back what was there, or start a new training with another --out" in said


@pytest.mark.usefixtures("finished")
def test_a_run_of_an_older_version_goes_on_and_says_what_it_cannot_notice(capsys, trained: Path):
    path = Path("runs/train/gold/run.json")
    run = json.loads(path.read_text(encoding="utf-8"))
    old = {key: run[key] for key in ("name", "id", "specialist", "config")}
    path.write_text(json.dumps(old), encoding="utf-8")
    shutil.rmtree(CHECKPOINTS / "step_0004")
    assert main(COPY) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "run.json does not say what it was trained from" in notes[0]
    assert_equals(trained)
    again = json.loads(path.read_text(encoding="utf-8"))
    assert again == run


@pytest.mark.usefixtures("finished")
def test_another_machine_is_said_once(capsys):
    path = Path("runs/train/gold/run.json")
    run = json.loads(path.read_text(encoding="utf-8"))
    run["machine"] |= {"threads": "64", "torch": "1.0"}
    path.write_text(json.dumps(run), encoding="utf-8")
    assert main(COPY) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "threads (64, now 1); torch (1.0, now " in notes[0]
    assert main(COPY) == 0
    assert "note: " not in capsys.readouterr().err


@pytest.mark.usefixtures("no_base", "finished")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "runs/train/gold/run.json is not valid JSON"),
        ("[" * 100_000, "runs/train/gold/run.json is not valid JSON"),
        ("[]", "runs/train/gold/run.json must hold a JSON object"),
        ("{}", "runs/train/gold/run.json: name: this key is required"),
        ('{"name": "../x", "id": "", "specialist": "s", "config": {}}', "must not begin with a dot"),
        ('{"name": 1, "id": [], "specialist": null, "config": 2}', "run.json: name: Input should be"),
        ('{"name": "gold", "id": "", "specialist": "s", "config": {"steps": "x"}}', "run.json: steps: Input"),
    ],
)
def test_a_damaged_run_file_is_named(capsys, content: str, message: str):
    Path("runs/train/gold/run.json").write_text(content, encoding="utf-8")
    assert message in refused(capsys, *RESUME)


@pytest.mark.usefixtures("no_base", "finished")
def test_a_folder_has_one_writer(capsys):
    with locked(Path("runs/train/gold"), "simedit-train"):
        said = refused(capsys, *COPY)
    assert f"another simedit-train (process {os.getpid()}) writes to runs/train/gold" in said


@pytest.mark.parametrize("other", ["writes", "has written"])
def test_of_two_fresh_trainings_in_one_folder_one_starts(capsys, monkeypatch, trained: Path, other: str):
    """The other begins while this one loads."""
    load = SpecialistPipeline.from_pretrained

    def slow(*args: Any, **options: Any) -> Any:
        if other == "has written":
            shutil.copytree(trained / "runs", "runs")
        else:
            stack.enter_context(locked(Path("runs/train/gold"), "simedit-train"))
        return load(*args, **options)

    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(SpecialistPipeline, "from_pretrained", slow)
        assert main([*NEW, "--set", *SIZES]) == 2
    said = capsys.readouterr().err
    assert ("holds a training" if other == "has written" else "another simedit-train (process") in said
    if other == "has written":
        assert metrics(Path()) == metrics(trained)
    else:
        assert [path.name for path in Path("runs/train/gold").iterdir()] == ["lock"]


def test_a_specialist_that_another_training_made_meanwhile_stays(capsys, monkeypatch, trained: Path):
    def step(trainer: Trainer, number: int) -> None:
        original(trainer, number)
        if not Path("specialists").exists():
            shutil.copytree(trained / "specialists", "specialists")

    original = Trainer._step
    monkeypatch.setattr(Trainer, "_step", step)
    assert main([*NEW, "--set", "steps=1"]) == 2
    said = capsys.readouterr().err
    assert (
        "specialists/gold exists already: choose another --name or --specialist, or add --overwrite" in said
    )
    assert "Go on with: simedit-train --resume runs/train/gold --cpu" in said
    card = Specialist.load("specialists/gold").card
    assert card == Specialist.load(trained / "specialists/gold").card


def test_commands_that_are_printed_can_be_pasted(capsys, monkeypatch):
    def step(trainer: Trainer, number: int) -> None:
        raise Interrupted

    out = "my runs/it's gold"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        assert main([*NEW, "--out", out, "--overwrite"]) == 130
    said = capsys.readouterr().err
    command = re.search("Go on with: (.*)\n", said)
    assert command is not None
    program, *args = shlex.split(command[1])
    assert program == "simedit-train"
    assert args == ["--resume", out, "--cpu", "--overwrite"]
    assert main([*args, "--set", "steps=1"]) == 0
    assert Path("specialists/gold/card.json").exists()


@pytest.mark.usefixtures("no_base", "finished")
def test_a_run_folder_without_checkpoints_says_so(capsys):
    shutil.rmtree(CHECKPOINTS)
    assert "runs/train/gold holds no checkpoint to go on from: start it anew" in refused(capsys, *RESUME)


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.safetensors"])
def test_a_broken_checkpoint_says_how_to_go_on_from_the_one_before(capsys, trained: Path, name: str):
    file = CHECKPOINTS / "step_0004" / name
    file.write_bytes(file.read_bytes()[:-100])
    shutil.rmtree("specialists")
    assert "step_0004 is broken" in (said := refused(capsys, *COPY))
    assert "remove its folder to go on from the one before it" in said
    shutil.rmtree(file.parent)
    assert main(COPY) == 0
    assert_equals(trained)


@pytest.mark.usefixtures("finished")
def test_more_steps_can_be_asked_for_and_replace_the_runs_own_specialist(trained: Path):
    assert main([*COPY, "--set", "steps=5", "keep=1"]) == 0
    assert [path.name for path in CHECKPOINTS.iterdir()] == ["step_0005"]
    assert metrics(Path())[:4] == metrics(trained)
    training = Specialist.load("specialists/gold").card.training
    assert training is not None
    assert training["steps"] == 5


def test_further_scores_count_also_in_a_training_that_goes_on():
    save_clip(Path("clip"))
    caption = "scores.caption={text: 'made of {style}', model: clip}"
    settings = ("--set", "scores.attention={weight: 2}", caption)
    assert main([*NEW, *settings, "steps=2"]) == 0
    weights = load_file("specialists/gold/adapter.safetensors")
    whole = metrics(Path())
    other = ("--out", "runs/other", "--specialist", "other")
    assert main([*NEW, *settings, "steps=1", *other]) == 0
    assert main(["--resume", "runs/other", "--cpu", "--set", "steps=2"]) == 0
    again = load_file("other/adapter.safetensors")
    assert all(torch.equal(again[key], weights[key]) for key in weights)
    assert all(0 < record["attention"] < 1 and 0 < record["caption"] < 2 for record in whole)
    lines = Path("runs/other/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for name in ("attention", "caption"):
        assert [json.loads(line)[name] for line in lines] == [record[name] for record in whole]
    assert json.loads(Path("runs/train/gold/run.json").read_text())["config"]["scores"]["caption"][
        "text"
    ] == ("made of gold")


def test_a_style_file_must_say_the_noun_of_the_attention(capsys):
    Path("rain.yaml").write_text("{instruction: add rain, noun: road, style_noun: null}", encoding="utf-8")
    said = refused(capsys, *NEW, "--style", "rain.yaml", "--set", "scores.attention={}")
    assert "no attention to the noun 'road': the instruction 'add rain' does not say it" in said


@pytest.mark.slow
def test_a_full_disk_names_the_last_whole_checkpoint_and_training_goes_on_from_it(capsys):
    """The system refuses files larger than a limit, and the optimizer's is the largest."""
    options = ("--set", "lora_rank=128")
    assert main([*NEW, "--out", "runs/whole", "--specialist", "whole", *options]) == 0
    first = Path("runs/whole/checkpoints/step_0001")
    sizes = {path: path.stat().st_size for path in (*first.iterdir(), *Path("runs/whole").glob("*.png"))}
    optimizer, largest = sizes.pop(first / "optimizer.safetensors"), max(sizes.values())
    assert optimizer > largest + 1000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 500, before[1]))
    try:
        capsys.readouterr()
        assert main([*NEW, *options]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = ("step ", "style images", "6 input images", "warning: too different from one another in colour")
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(told)]
    assert len(errors) == 1
    assert errors[0].startswith("error: cannot write the checkpoint runs/train/gold/checkpoints/step_0001")
    assert "step_0000, is whole. Go on with: simedit-train --resume runs/train/gold" in errors[0]
    assert [path.name for path in CHECKPOINTS.iterdir()] == ["step_0000"]
    assert main(RESUME) == 0
    ours, whole = (load_file(f"{path}/adapter.safetensors") for path in ("specialists/gold", "whole"))
    assert all(torch.equal(ours[key], whole[key]) for key in whole)


def test_a_full_disk_at_the_end_keeps_the_training(capsys, monkeypatch, finished: Path):
    monkeypatch.setattr("simedit.training.trainer.save_curves", lambda *_: None)
    shutil.rmtree("specialists")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        capsys.readouterr()
        assert main(COPY) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: cannot write the specialist")
    assert said.endswith("Go on with: simedit-train --resume runs/train/gold --cpu")
    assert list(Path().glob("specialists/*")) == []
    assert main(COPY) == 0


class Camera(gym.Env):
    """Shows a wall."""

    observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full((SIDE, SIDE, 3), 120, np.uint8), {}

    def step(self, action):
        return np.full((SIDE, SIDE, 3), 90, np.uint8), 0.0, False, False, {}


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(
    "path", ["specialists/gold", str(CHECKPOINTS / "step_0003"), str(CHECKPOINTS / "step_0004")]
)
def test_the_result_is_a_specialist_wherever_one_is_wanted(path: str):
    library = SpecialistLibrary.load(path, device="cpu")
    frames = np.full((1, SIDE, SIDE, 3), 120, np.uint8)
    edits = library.edit(frames, styles=["gold"], seeds=[0])
    assert edits.shape == frames.shape
    assert not np.array_equal(edits, frames)
    assert find_specialists(Path(path), ["gold"]) == {"gold": Path(path)}
    env = EditObservation(Camera(), library, style="gold", seed=0, composition="none")
    observation, _ = env.reset(seed=0)
    assert observation.shape == (SIDE, SIDE, 3)
    assert not np.array_equal(observation, frames[0])
    Image.fromarray(frames[0]).save("in.png")
    assert edit(["--specialist", path, "in.png", "out.png"]) == 0
    with Image.open("out.png") as image:
        assert image.size == (SIDE, SIDE)


@pytest.mark.usefixtures("no_base")
def test_a_dry_run_prints_and_leaves_nothing(capsys):
    before = everything(Path())
    assert main(["--config", "small.yaml", "--dry-run", "--cpu"]) == 0
    out = capsys.readouterr().out
    assert "2 training steps on 1 device, each of 4 inputs with 2 edits each" in out
    assert "in 4 denoising steps, and 2 updates" in out
    assert re.search(r"about \S+ \S+ on this machine \(\d+ threads?, \S+ TFLOP/s measured\)", out)
    assert everything(Path()) == before


def test_help_needs_no_torch_and_has_examples():
    script = """
import sys
from simedit.training.cli import main
try:
    main(["--help"])
finally:
    print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.rstrip().endswith("False")
    assert "simedit-train --resume" in result.stdout


def test_a_style_file_may_be_overridden():
    Path("rain.yaml").write_text("{instruction: add rain, noun: road, style_noun: null}", encoding="utf-8")
    assert main([*NEW, "--style", "rain.yaml", "--set", "steps=1", "style.scales.text=5"]) == 0
    card = Specialist.load("specialists/gold").card
    assert (card.instruction, card.scales.text, card.scales.style) == ("add rain", 5, 3)
