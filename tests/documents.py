"""The shell and Python blocks of README and docs, run as they stand, each page in a folder of its own.

What stands there is what users type. That it takes seconds is the doing of `small_commands.py`, on PATH under
the commands' names. A block that needs a download or hours is marked, where only the source's readers see it:

    <!--- skip: next "downloads" -->
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import yaml
from PIL import Image
from small_dataset import write_small
from small_training import write_photos
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from simedit.config import parse_config
from simedit.envs.gym import GymSuite
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.published import load_real

ROOT = Path(__file__).parents[1]
COMMANDS = ("simedit-edit", "simedit-train", "simedit-eval", "simedit-lab", "simedit-policy", "simedit-score")


def begin(namespace: dict[str, Any]) -> None:
    """A folder with what the pages' commands speak of."""
    folder = tempfile.TemporaryDirectory(prefix="simedit-docs-")
    namespace.update(_folder=folder, _before=os.getcwd())
    os.chdir(folder.name)
    for name in ("examples", "benchmarks"):
        Path(name).symlink_to(ROOT / name)
    for name in ("teak", "frames"):
        write_photos(Path("photos") / name, 2)
    frame = np.full((128, 160, 3), 230, np.uint8)
    frame[30:110, 40:120] = (170, 130, 100)
    mask = (frame[..., 0] < 200).astype(np.uint8) * 255
    for name, pixels in (("frame.png", frame), ("cabinet.png", mask), ("wall.png", 255 - mask)):
        Image.fromarray(pixels).save(name)
    iio.imwrite("in.mp4", np.stack([frame] * 2), fps=3, plugin="FFMPEG")
    shutil.copytree(_dataset(), "demonstrations")
    Path("bin").mkdir()
    for command in COMMANDS:
        script = Path("bin") / command
        script.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/small_commands.py" {command} "$@"\n'
        )
        script.chmod(0o755)


@functools.cache
def _dataset() -> Path:
    """Made once: it takes a second."""
    folder = tempfile.mkdtemp(prefix="simedit-docs-")
    atexit.register(shutil.rmtree, folder)
    return write_small(Path(folder) / "demonstrations", lengths=(2, 1))


def end(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_before"])
    namespace["_folder"].cleanup()


def run_shell(example: Example) -> None:
    path = os.pathsep.join([os.path.abspath("bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def check_yaml(example: Example) -> None:
    """A whole study must be one that would start."""
    found = yaml.safe_load(example.parsed)
    assert isinstance(found, dict)
    if "policies" in found and "domains" in found:
        study = parse_config(StudyConfig, found, where=str(example.path))
        if isinstance(study.suite, GymSuite) and not find_spec(study.suite.id.partition(":")[0]):
            return  # of a package that is not installed here
        study = resolved(study)
        load_real(study.real, study.suite, list(study.policies), list(study.tasks))


blocks = Sybil(
    parsers=[
        SkipParser(),
        PythonCodeBlockParser(),
        CodeBlockParser("bash", run_shell),
        CodeBlockParser("yaml", check_yaml),
    ],
    path=str(ROOT),
    patterns=["README.md", "docs/*.md"],
    setup=begin,
    teardown=end,
)
