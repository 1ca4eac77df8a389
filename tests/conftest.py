"""Fixtures shared by tests."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from clock import Clock

# Before torch loads. Tiny models' operations are too small to share: with it they train twice as fast.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background job ignores Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402
from fake_gpu import Gpu, fake_gpu  # noqa: E402

from simedit.tiny import make_tiny_library  # noqa: E402

GPUS = [pytest.param("fake"), *[pytest.param("real", marks=pytest.mark.gpu)] * torch.cuda.is_available()]


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_library(tmp_path_factory.mktemp("library"), ("gold", "wood", "stone"))


@pytest.fixture
def gold(tiny_root: Path, tmp_path: Path) -> Path:
    """A specialist's folder to break, beside a link to its base."""
    (tmp_path / "base").symlink_to(tiny_root / "base")
    return Path(shutil.copytree(tiny_root / "gold", tmp_path / "gold"))


@pytest.fixture(params=GPUS)
def gpu(request: pytest.FixtureRequest) -> Iterator[Gpu]:
    """Device "cuda": one that is made up, and where there is one, a real one too."""
    with fake_gpu() if request.param == "fake" else nullcontext(Gpu(real=True)) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    watching = ("simedit.eval.tally", "simedit.eval.progress")
    for module in ("simedit.progress", "simedit.training.remaining", *watching):
        monkeypatch.setattr(f"{module}.monotonic", found)
    return found
