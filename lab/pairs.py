"""What the base learns from: frames of the twin before and after an instruction, on disk in shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from simedit.envs.inputs import TwinInputs
from simedit.envs.surface import CABINET, GROUND
from simedit.files import whole
from simedit.lab.materials import MATERIALS, arriving, draw, draw_light, paint, photograph
from simedit.training.config import TwinConfig

WIDTH, HEIGHT = 160, 128
TARGETS = 3
"""Materials that each scene is painted in."""
NAMES = ("inputs", "targets", "materials", "masks")
_RAW_SHARE = 0.75
"""Of the inputs that are as rendered; the others are painted themselves."""
_ELSEWHERE = 0.5
"""Share of the scenes that lie before something else than the white floor, for edits over photographs."""


@dataclass(frozen=True)
class PairSet:
    """N scenes and their paintings.

    Attributes:
        inputs: uint8 [N, H, W, 3].
        targets: uint8 [N, TARGETS, H, W, 3].
        materials: int64 [N, TARGETS], indices into `simedit.lab.materials.MATERIALS`.
        masks: bool [N, H, W], True on the cabinet.
    """

    inputs: np.ndarray
    targets: np.ndarray
    materials: np.ndarray
    masks: np.ndarray


def render_pairs(folder: Path, scenes: int, seed: int, *, shard: int = 250) -> None:
    """Render what `folder` lacks of so many scenes, on all cores, and keep `shard` of them in a file.

    A scene depends on the seed and its number alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in range(-(-scenes // shard)) if not _shard(folder, i).exists()]
    if not missing:
        return
    jobs = [(folder, range(i * shard, min((i + 1) * shard, scenes)), i, seed) for i in missing]
    # Fresh processes: Vulkan does not survive a fork.
    with get_context("spawn").Pool(min(len(jobs), os.cpu_count() or 1)) as pool:
        for _ in track(pool.imap_unordered(_render, jobs), "scenes to learn from, in shards", len(jobs)):
            pass


def _render(job: tuple[Path, range, int, int]) -> None:
    folder, numbers, shard, seed = job
    inputs = TwinInputs(TwinConfig(frames=numbers.stop, jitter=0.05), WIDTH, HEIGHT, seed)
    try:
        parts = zip(*(_scene(inputs, number, seed) for number in numbers), strict=True)
        arrays = [np.stack(part) for part in parts]
    finally:
        inputs.close()
    with whole(_shard(folder, shard)) as draft:
        np.savez(draft, **dict(zip(NAMES, arrays, strict=True)))


def load_pairs(folder: Path) -> PairSet:
    """All scenes in `folder`."""
    shards = [np.load(path) for path in sorted(folder.glob("pairs_*.npz"))]
    return PairSet(*(np.concatenate([shard[name] for shard in shards]) for name in NAMES))


def _scene(inputs: TwinInputs, index: int, seed: int) -> tuple[np.ndarray, ...]:
    surface = inputs.surface(index)
    random = np.random.default_rng((seed, 1, index))
    light, chosen = draw_light(random), random.choice(len(MATERIALS), TARGETS + 1, replace=False)
    shares = arriving(surface, light)
    paintings = [paint(surface, draw(MATERIALS[i], random), light, shares) for i in chosen]
    pictures = np.stack([surface.rgb if random.random() < _RAW_SHARE else paintings[-1], *paintings[:-1]])
    if random.random() < _ELSEWHERE:
        place = photograph(draw(MATERIALS[random.integers(len(MATERIALS))], random), random, WIDTH)[:HEIGHT]
        pictures = np.where((surface.kind > GROUND)[..., None], pictures, place)
    return pictures[0], pictures[1:], chosen[:-1], surface.kind == CABINET


def _shard(folder: Path, number: int) -> Path:
    return folder / f"pairs_{number:03d}.npz"
