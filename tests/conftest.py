"""Fixtures shared by tests."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from clock import Clock

# Before torch loads. Tiny models' operations are too small to share: with it they train twice as fast.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background job ignores Ctrl-C, and so would the commands that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

from simedit.tiny import make_tiny_library  # noqa: E402


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_library(tmp_path_factory.mktemp("library"), ("gold", "wood", "stone"))


@pytest.fixture
def gold(tiny_root: Path, tmp_path: Path) -> Path:
    """A specialist's folder to break, beside a link to its base."""
    (tmp_path / "base").symlink_to(tiny_root / "base")
    return Path(shutil.copytree(tiny_root / "gold", tmp_path / "gold"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    watching = ("simedit.eval.tally", "simedit.eval.progress")
    for module in ("simedit.progress", "simedit.training.remaining", *watching):
        monkeypatch.setattr(f"{module}.monotonic", found)
    return found
