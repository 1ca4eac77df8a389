"""The four folders install as one package and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_its_data(tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", ROOT, source], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
    ]
    subprocess.run([*command, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("simedit-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"simedit"}
    for folder in ("simedit", "policies", "envs", "eval", "lab"):
        tracked = subprocess.run(
            ["git", "ls-files", folder], cwd=source, check=True, capture_output=True, text=True
        ).stdout.split()
        inside = {name if folder == "simedit" else f"simedit/{name}" for name in tracked}
        assert inside <= set(names), f"not in the wheel: {inside - set(names)}"
