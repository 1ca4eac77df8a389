"""What the base learns from, on disk in shards: scenes of the twin, and pictures to paint them with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.envs.drawer.inputs import TwinInputs
from simedit.envs.drawer.surface import CABINET, GROUND
from simedit.errors import SimeditError
from simedit.images import say
from simedit.lab.materials import MATERIALS, draw, photograph
from simedit.lab.textures import cut, pictures_in, relit, texture
from simedit.progress import tracked
from simedit.training.config import TwinConfig
from simedit.training.painted import frame_shading, paint

WIDTH, HEIGHT = 320, 256
"""Of the frames that the base knows best, pixels; it learns from half as large ones too."""
FRONT = 0.565
"""How bright (0..1) the drawers' fronts are in a raw frame with the primitive skin, and in the mean all that
shows of the cabinet: there painted frames are as bright as the picture."""
_NAMED = 0.2
"""Share of the pictures that show a material with a name."""
_ELSEWHERE = 0.5
"""Share of the scenes that lie before something else than the white floor, for edits over photographs."""


@dataclass(frozen=True)
class Scenes:
    """N scenes of the twin.

    Attributes:
        frames: uint8 [N, HEIGHT, WIDTH, 3], as rendered.
        masks: bool [N, HEIGHT, WIDTH], True on the cabinet.
        things: bool [N, HEIGHT, WIDTH], True on cabinet and robot.
    """

    frames: np.ndarray
    masks: np.ndarray
    things: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """M pictures of materials.

    Attributes:
        images: uint8 [M, HEIGHT, WIDTH, 3].
        names: int64 [M], indices into `simedit.lab.materials.MATERIALS`, -1 where there is no name.
    """

    images: np.ndarray
    names: np.ndarray


def render_scenes(folder: Path, scenes: int, seed: int, *, shard: int = 250) -> None:
    """Render what `folder` lacks of so many scenes, on all cores, and keep `shard` of them in a file.

    A scene depends on the seed and its number alone.
    """
    _in_shards(folder, "scenes", scenes, shard, partial(_render, seed=seed))


def make_pictures(
    folder: Path, pictures: int, seed: int, found: Path | None = None, *, shard: int = 250
) -> None:
    """Make what `folder` lacks of so many pictures of materials, as `render_scenes`.

    Args:
        found: a folder of pictures to cut half of those without a name from; None paints them all.

    Raises:
        SimeditError: there are no such pictures in `found`.
    """
    paths = [] if found is None else pictures_in(found)
    if found is not None:
        if not paths:
            raise SimeditError(f"no pictures of materials in {found}: unpack some there, or leave it out")
        say(f"{len(paths)} pictures of materials in {found}; small, flat and other ones are left out")
    _in_shards(folder, "pictures", pictures, shard, partial(_photographed, seed=seed, found=paths))


def load_scenes(folder: Path) -> Scenes:
    """All scenes in `folder`."""
    return Scenes(**_load(folder, "scenes"))


def load_pictures(folder: Path) -> Pictures:
    """All pictures in `folder`."""
    return Pictures(**_load(folder, "pictures"))


def pair(
    scenes: Scenes, pictures: Pictures, random: np.random.Generator, *, half: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """A random scene, a picture, and the scene painted with it.

    Args:
        half: at half the size, as if rendered so.

    Returns:
        frame, picture, painting: uint8 [h, w, 3]; the cabinet's mask, bool [h, w]; the index of the picture's
        name.
    """
    scene, which = int(random.integers(len(scenes.frames))), int(random.integers(len(pictures.images)))
    stride = 2 if half else 1
    frame, mask, things = (
        getattr(scenes, part)[scene][::stride, ::stride] for part in ("frames", "masks", "things")
    )
    shading = frame_shading(frame, FRONT)
    picture = relit(
        _turned(pictures.images[which], random), random, 0.5 if pictures.names[which] < 0 else 0.2
    )
    if random.random() < _ELSEWHERE:
        place = pictures.images[random.integers(len(pictures.images))][::stride, ::stride]
        frame = np.where(things[..., None], frame, place)
    if half:
        picture = cv2.resize(picture, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
    return frame, picture, paint(frame, mask, picture, shading), mask, int(pictures.names[which])


def some_picture(
    scenes: Scenes, pictures: Pictures, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """What an autoencoder of frames and materials learns from: a picture or a painted or raw frame, uint8
    [h, w, 3], and where a frame's cabinet is, bool [h, w]."""
    kind, half = random.random(), random.random() < 0.4
    frame, picture, painting, mask, _ = pair(scenes, pictures, random, half=half)
    if kind < 0.4:
        return picture, None
    return (painting if kind < 0.9 else frame), mask


def _turned(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return picture[:: random.choice((-1, 1)), :: random.choice((-1, 1))]


def _in_shards(
    folder: Path, kind: str, count: int, shard: int, make: Callable[[range], dict[str, np.ndarray]]
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{kind}_{i:03d}.npz" for i in range(-(-count // shard))]
    jobs = [
        (file, range(i * shard, min((i + 1) * shard, count)), make)
        for i, file in enumerate(files)
        if not file.exists()
    ]
    if not jobs:
        return
    # Fresh processes: Vulkan does not survive a fork.
    with get_context("spawn").Pool(min(len(jobs), os.cpu_count() or 1)) as pool:
        for _ in tracked(pool.imap_unordered(_write, jobs), f"{kind}, in shards of {shard}", len(jobs)):
            pass


def _write(job: tuple[Path, range, Callable[[range], dict[str, np.ndarray]]]) -> None:
    file, numbers, make = job
    cv2.setNumThreads(1)
    arrays: dict[str, Any] = make(numbers)
    with whole(file) as draft:
        np.savez(draft, **arrays)


def _load(folder: Path, kind: str) -> dict[str, np.ndarray]:
    shards = [dict(np.load(path)) for path in sorted(folder.glob(f"{kind}_*.npz"))]
    return {name: np.concatenate([shard.pop(name) for shard in shards]) for name in list(shards[0])}


def _render(numbers: range, seed: int) -> dict[str, np.ndarray]:
    inputs = TwinInputs(TwinConfig(frames=numbers.stop, jitter=0.05), WIDTH, HEIGHT, seed)
    try:
        surfaces = [inputs.surface(number) for number in numbers]
    finally:
        inputs.close()
    return {
        "frames": np.stack([s.rgb for s in surfaces]),
        "masks": np.stack([s.kind == CABINET for s in surfaces]),
        "things": np.stack([s.kind > GROUND for s in surfaces]),
    }


def _photographed(numbers: range, seed: int, found: list[Path]) -> dict[str, np.ndarray]:
    images, names = [], []
    for number in numbers:
        random = np.random.default_rng((seed, 1, number))
        name = int(random.integers(len(MATERIALS))) if random.random() < _NAMED else -1
        if name >= 0:
            image = photograph(draw(MATERIALS[name], random), random, WIDTH)[:HEIGHT]
        elif found and random.random() < 0.5:
            with Image.open(found[random.integers(len(found))]) as opened:
                image = cut(np.array(opened.convert("RGB")), random, HEIGHT, WIDTH)
        else:
            image = texture(random, HEIGHT, WIDTH)
        images.append(image)
        names.append(name)
    return {"images": np.stack(images), "names": np.array(names)}
