"""The folders install as one package and nothing else, which works without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("simedit", "policies", "envs", "eval", "lab", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "-q", ROOT, folder / "source"], check=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", folder]
    subprocess.run([*pip, folder / "source"], check=True, capture_output=True)
    (found,) = folder.glob("simedit-*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"simedit"}
    assert "simedit/py.typed" in names
    for folder in FOLDERS:
        tracked = subprocess.run(
            ["git", "ls-files", folder],
            cwd=wheel.parent / "source",
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        inside = {name if folder == "simedit" else f"simedit/{name}" for name in tracked}
        assert inside <= set(names), f"not in the wheel: {inside - set(names)}"


@pytest.mark.slow
def test_the_first_commands_work_from_the_wheel_alone(wheel, tmp_path):
    pytest.importorskip("mani_skill")
    venv.create(tmp_path / "venv", with_pip=False)
    home = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    # The dependencies are those of the tests; of a folder named so, editable installs are not seen.
    (home / "site-packages" / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]))
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(
            [python.with_name(command[0]), *command[1:]],
            cwd=empty,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("python", "-c", "import simedit.eval, simedit.configs as c; print(c.__file__)")
    assert where.startswith(str(home))
    assert {"demo", "material", "rain"} <= set(run("simedit-eval", "configs").split())
    run("simedit-eval", "configs", "demo", "--out", "mine.yaml")
    assert (empty / "mine.yaml").read_bytes() == (ROOT / "configs" / "eval" / "demo.yaml").read_bytes()
    small = ("--set", "scenes.drawer=[top]", "tasks=[open]", "max_steps=2")
    run("simedit-eval", "run", "--config", "demo", "--out", "runs/demo", *small)
    assert "<html" in (empty / "runs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert "U-Net evaluations" in run("simedit-train", "--config", "material", "--dry-run")
