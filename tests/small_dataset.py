"""Small LeRobot datasets to read, edit and break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from simedit.lerobot import write_dataset

FPS = 10
LENGTHS = (5, 7, 6)
SIZE = (48, 64)
TOP, WRIST = "observation.images.top", "observation.images.wrist"
VECTOR = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
CAMERA = {"dtype": "video", "shape": (*SIZE, 3), "names": ["height", "width", "channels"]}
FEATURES: dict[str, dict[str, Any]] = {
    **{TOP: CAMERA, WRIST: CAMERA, "observation.state": VECTOR, "action": VECTOR},
    "next.done": {"dtype": "bool", "shape": (1,), "names": None},
}


def episodes(lengths: tuple[int, ...] = LENGTHS) -> Iterator[dict[str, Any]]:
    """Each of a colour of its own, with a white square that moves."""
    random = np.random.default_rng(0)
    for number, length in enumerate(lengths):
        frames = np.full((length, *SIZE, 3), (60 + 40 * number, 200 - 30 * number, 90), np.uint8)
        for step in range(length):
            frames[step, 10:26, 8 + 4 * step : 24 + 4 * step] = 240
        yield {
            "task": "push the T" if number % 2 == 0 else "wait",
            TOP: frames,
            WRIST: 255 - frames,
            "observation.state": random.random((length, 2), np.float32),
            "action": random.random((length, 2), np.float32),
            "next.done": np.arange(length) == length - 1,
        }


def write_small(
    folder: Path, cameras: tuple[str, ...] = (TOP, WRIST), lengths: tuple[int, ...] = LENGTHS
) -> Path:
    """A dataset of three episodes."""
    features = {
        name: feature for name, feature in FEATURES.items() if feature is not CAMERA or name in cameras
    }
    some = ({name: each[name] for name in ("task", *features)} for each in episodes(lengths))
    write_dataset(folder, some, fps=FPS, features=features, robot_type="pusher")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
