"""A training of seconds: a tiny base, small pictures, few samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from simedit.config import with_override

SIDE = 32


def small_settings(base: str | Path, inputs: str | Path) -> dict[str, Any]:
    """The config of a training on the images in `inputs`, as plain data."""
    return {
        "base": str(base),
        "steps": 2,
        "samples": 4,
        "width": SIDE,
        "height": SIDE,
        "inputs": {"kind": "images", "path": str(inputs)},
        "regions": {"inputs": "full-frame", "styles": "full-frame"},
        "scores": {"structural": {"kind": "canny"}, "semantic": {"encoder": "texture"}},
        "sampling": {"steps": 4, "batch_size": 2},
        "update": {"batch_size": 1, "accumulation": 2, "learning_rate": 1e-3},
        "lora_rank": 4,
        "lora_alpha": 4,
        "precision": "fp32",
    }


def write_config(path: Path, base: str | Path, inputs: str | Path, *overrides: str) -> Path:
    """The same as a YAML file, with KEY=VALUE overrides."""
    data = small_settings(base, inputs)
    for override in overrides:
        data = with_override(data, override)
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def write_photos(folder: Path, n: int, size: int = 64) -> Path:
    """n photographs of a style, JPEG: grain of one colour each."""
    random = np.random.default_rng(1)
    colours = random.uniform(60, 200, (n, 1, 1, 3))
    return _write(folder, colours + random.normal(0, 25, (n, size, size, 1)), "photo_{}.jpg")


def write_inputs(folder: Path, n: int, size: int = 2 * SIDE) -> Path:
    """n inputs, PNG: a box before a wall."""
    random = np.random.default_rng(2)
    frames = np.broadcast_to(random.uniform(120, 220, (n, 1, 1, 3)), (n, size, size, 3)).copy()
    for frame in frames:
        x, y = random.integers(4, size // 3, 2)
        frame[y : y + size // 2, x : x + size // 2] = random.uniform(0, 120, 3)
    return _write(folder, frames, "input_{}.png")


def _write(folder: Path, images: np.ndarray, name: str) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images.clip(0, 255).astype(np.uint8)):
        Image.fromarray(image).save(folder / name.format(i))
    return folder
