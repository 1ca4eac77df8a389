"""Other people's packages, each in a virtual environment of its own beside the checkout."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INSTALL = {"openpi-client": "openpi-client typing_extensions", "vla-eval": "vla-eval '.[sim]'"}
"""What to install in each; openpi-client needs more than it says."""
ROOT = Path(__file__).parents[1]


def interpreter(package: str, *modules: str) -> str:
    """The Python of `.venv-PACKAGE`; the test skips where there is none, or it lacks one of `modules`."""
    found = ROOT / f".venv-{package}" / "bin" / "python"
    known = f"import importlib.util as i, sys; sys.exit(not all(map(i.find_spec, {modules!r})))"
    if not found.exists() or subprocess.run([found, "-c", known]).returncode:
        pytest.skip(
            f"needs python3 -m venv .venv-{package} && .venv-{package}/bin/pip install {INSTALL[package]}"
        )
    return str(found)


def run(python: str, script: str, *args: str) -> str:
    """What a script prints there."""
    done = subprocess.run([python, "-c", script, *args], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
