from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_training import SIDE, write_config, write_inputs, write_photos

from simedit.cli import main as edit
from simedit.eval.library import find_specialists
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.cli import main
from simedit.training.trainer import Trainer
from simedit.wrapper import EditObservation

NEW = ("--config", "small.yaml", "--style-images", "photos", "--name", "gold", "--cpu")
RESUME = ("--resume", "runs/train/gold", "--cpu")
CHECKPOINTS = Path("runs/train/gold/checkpoints")
SIZES = ("steps=4", "samples=4", "sampling.batch_size=1", "update.accumulation=1")
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
    ours, theirs = (load_file(folder / "specialists/gold/adapter.safetensors") for folder in (Path(), trained))
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
@pytest.mark.parametrize("seed", [0, 1])
def test_kill_within_a_step_then_resume(trained: Path, seed: int):
    process = started(*NEW, "--set", *SIZES)
    wait_for(CHECKPOINTS / "step_0001", process)
    time.sleep(np.random.default_rng(seed).uniform(0, 1.5))
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
    assert process.returncode == 2
    assert err.splitlines()[-1].endswith("Go on with: simedit-train --resume runs/train/gold")
    assert "Traceback" not in err
    assert len(list(CHECKPOINTS.glob("*_interrupted"))) == 1
    assert main(RESUME) == 0
    assert_equals(trained)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("step", "phase"), [(0, "update"), (1, "sample"), (2, "update")])
def test_a_signal_saves_within_the_step(trained: Path, monkeypatch, step: int, phase: str, number: signal.Signals):
    terminal = Terminal(rf"step.*\b{step}/4.*{phase}", number)
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stderr", terminal)
        assert main([*NEW, "--set", *SIZES]) == 2
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    shown = terminal.getvalue()
    assert "stopping at the next safe point" in shown
    assert shown.rstrip().endswith("Go on with: simedit-train --resume runs/train/gold")
    interrupted = CHECKPOINTS / f"step_{step:04d}_interrupted"
    assert [path.name for path in CHECKPOINTS.glob("*_interrupted")] == [interrupted.name]
    assert [record["step"] for record in metrics(Path())] == list(range(1, step + 1))
    progress = json.loads((interrupted / "progress.json").read_text(encoding="utf-8"))
    assert (progress["updates"] > 0) == (phase == "update")
    assert not Path("specialists").exists()
    assert main(RESUME) == 0
    assert_equals(trained)
