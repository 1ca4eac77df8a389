"""Pictures of materials without a name: random patterns in random colours, or cut from a folder of some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Field = np.ndarray
"""float32 [S, S]."""

_SIZE = 512  # pixels a side, before a pattern is turned and cut
_NORMALS = (128, 128, 245)  # what maps of normals look like in the mean
_LEAST = 96  # pixels: a shorter side shows too little to learn from


def texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture of one random material, uint8 [height, width, 3]; each side at most 320 pixels.

    A pattern in 0..1 blends three colours; most have relief, grain and uneven light.
    """
    pattern = PATTERNS[random.integers(len(PATTERNS))]
    scale = float(np.exp(random.uniform(np.log(0.6), np.log(2.5))))
    blend, detail = pattern(random, scale)
    if random.random() < 0.5:
        blend, detail = (_bent(layer, random, scale) for layer in (blend, detail))
    ground, second, third = _palette(random)
    depth = random.uniform(0.3, 1)
    colour = ground + depth * blend[..., None] * (second - ground)
    colour += random.uniform(0.4, 1) * detail[..., None] * (third - colour)
    if random.random() < 0.5:  # relief, lit from one side
        height_map = cv2.GaussianBlur(blend - detail, (0, 0), random.uniform(0.6, 2.5))
        angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0.5, 5)
        slope = np.cos(angle) * np.gradient(height_map, axis=1) + np.sin(angle) * np.gradient(
            height_map, axis=0
        )
        colour *= np.clip(1 + strength * slope, 0.2, 2.2)[..., None]
    if random.random() < 0.7:  # grain
        grain = _noise(random, random.uniform(1.5, 4)) - 0.5
        colour *= (1 + random.uniform(0.05, 0.6) * grain)[..., None]
    if random.random() < 0.3:  # what is mirrored: soft bands
        band = _noise(random, random.uniform(60, 200), random.uniform(20, 200))
        colour += (random.uniform(0, 0.5) * (band - 0.4) ** 3 * 8)[..., None]
    turn = random.choice([0, 90, random.uniform(0, 360)])
    matrix = cv2.getRotationMatrix2D((_SIZE / 2, _SIZE / 2), float(turn), 1.0)
    matrix[:, 2] += np.array([width, height]) / 2 - _SIZE / 2
    colour = cv2.warpAffine(colour, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return _display(colour * _uneven_light(random, height, width))


def cut(picture: np.ndarray, random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A random part of a picture, uint8 [height, width, 3], mirrored, turned and lit at random.

    Args:
        picture: uint8 [h, w, 3]. A small one is laid like tiles, every other one mirrored, if it must be.
    """
    if random.random() < 0.5:
        picture = picture.swapaxes(0, 1)
    scale = max(height / picture.shape[0], width / picture.shape[1])
    zoom = np.exp(random.uniform(np.log(max(0.5, min(scale, 1))), np.log(max(1, min(scale, 1.6)))))
    size = [max(8, round(side * zoom)) for side in picture.shape[:2]]
    picture = cv2.resize(
        picture, (size[1], size[0]), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    )
    missing = [max(0, side - have) for side, have in zip((height, width), size, strict=True)]
    picture = np.pad(picture, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    top, left = (
        int(random.integers(0, have - side + 1))
        for have, side in zip(picture.shape, (height, width), strict=False)
    )
    part = picture[top : top + height, left : left + width]
    part = part[:: random.choice((-1, 1)), :: random.choice((-1, 1))]
    # Many folders are of dark pictures alone.
    wanted = np.clip(random.normal(0.42, 0.15), 0.1, 0.8) * 255 / max(part.mean(), 4)
    bright = np.clip(part * max(1.0, min(wanted, 4.0)), 0, 255).astype(np.uint8)
    return relit(bright, random, 0.5)


def relit(picture: np.ndarray, random: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """The picture, uint8 [h, w, 3], in another light: brighter or darker, warmer or cooler, unevenly."""
    gain = np.exp(strength * (random.normal(0, 0.25) + random.normal(0, 0.08, 3)))
    gamma = np.exp(strength * random.normal(0, 0.15))
    light = 1 + strength * (_uneven_light(random, *picture.shape[:2]) - 1)
    return _display((picture / np.float32(255)) ** gamma * gain.astype(np.float32) * light)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of materials in a folder, at any depth, sorted: those that are large enough and look like
    a photograph rather than a sign, a mask or a map of normals."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".tga"):
            continue
        try:
            with Image.open(path) as image:
                if min(image.size) < _LEAST or image.mode not in ("RGB", "RGBA"):
                    continue
                small = np.array(image.convert("RGB").resize((32, 32)), np.float32)
                if image.mode == "RGBA" and np.array(image.getchannel("A").resize((32, 32))).min() < 250:
                    continue
        except (OSError, ValueError, SyntaxError):
            continue
        mean, flat = small.mean((0, 1)), small.std((0, 1)).max() < 4
        normals = np.abs(mean - _NORMALS).max() < 35
        if not (flat or normals or mean.max() < 12 or mean.min() > 245):
            found.append(path)
    return found


def _palette(random: np.random.Generator) -> np.ndarray:
    """Three linear colours, float32 [3, 3]: shades of one hue, or of any."""
    hue, saturation = random.uniform(0, 180), random.choice([random.uniform(0, 60), random.uniform(40, 230)])
    hues = hue + random.normal(0, random.choice([6, 25, 90]), 3)
    saturations = np.clip(saturation + random.normal(0, 40, 3), 0, 255)
    values = np.clip(random.uniform(50, 235) + random.normal(0, 60, 3), 8, 250)
    hsv = np.stack([hues % 180, saturations, values], -1).astype(np.uint8)[None]
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0] / np.float32(255)).astype(np.float32)


def _display(colour: np.ndarray) -> np.ndarray:
    return (np.clip(colour, 0, 1) * 255 + 0.5).astype(np.uint8)


def _uneven_light(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A slope of brightness, and a darker rim; float32 [height, width, 1], about 1."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = random.normal(0, 0.1, 2)
    rim = 1 - max(0, random.normal(0, 0.12)) * (x**2 + y**2)
    return ((1 + slope[0] * x + slope[1] * y) * rim)[..., None].astype(np.float32)


def _noise(random: np.random.Generator, y: float, x: float | None = None) -> Field:
    """Smooth noise in 0..1 with features of y (and x) pixels."""
    cells = [max(2, round(_SIZE / side)) + 1 for side in (y, y if x is None else x)]
    grid = random.random(cells, np.float32)
    return np.clip(cv2.resize(grid, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC), 0, 1)


def _fractal(random: np.random.Generator, size: float) -> Field:
    layers = [0.5**i * _noise(random, size / 2**i) for i in range(4)]
    return sum(layers[1:], layers[0]) / np.float32(1.875)


def _bent(layer: Field, random: np.random.Generator, scale: float) -> Field:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    reach, size = random.uniform(2, 14) * scale, random.uniform(25, 90) * scale
    dy, dx = (reach * (_noise(random, size) - 0.5) for _ in range(2))
    return cv2.remap(layer, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _points(random: np.random.Generator, spacing: float, jitter: float) -> tuple[Field, np.ndarray]:
    """The distance to the nearest of scattered points, and which is nearest."""
    seeds = np.full((_SIZE, _SIZE), 255, np.uint8)
    steps = np.arange(spacing / 2, _SIZE, spacing)
    at = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    at = at + random.uniform(-0.5, 0.5, at.shape) * spacing * jitter
    rows, columns = np.clip(at.T.astype(int), 0, _SIZE - 1)
    seeds[rows, columns] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance, label


def _of_each(label: np.ndarray, random: np.random.Generator) -> Field:
    """A random number in 0..1 for each label."""
    return random.random(int(label.max()) + 1, np.float32)[label]


def _to_border(label: np.ndarray) -> Field:
    """The distance to where the label changes."""
    changes = np.zeros(label.shape, bool)
    changes[:, 1:] |= label[:, 1:] != label[:, :-1]
    changes[1:] |= label[1:] != label[:-1]
    return cv2.distanceTransform((~changes).astype(np.uint8), cv2.DIST_L2, 5)


# Patterns: random numbers and a scale -> how far the ground blends into the second colour, and where the
# third covers both, both in 0..1.


def _veins(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    field = _fractal(random, 90 * scale)
    width = random.uniform(0.006, 0.04)
    veins = np.exp(-((np.abs(_fractal(random, 120 * scale) - 0.5) / width) ** 2))
    return np.clip(2 * field - 0.5, 0, 1), veins * np.clip(_noise(random, 60 * scale) * 1.6, 0, 1)


def _grain(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    along = random.uniform(8, 40)
    rings = np.mgrid[:_SIZE, :_SIZE][0] / (14 * scale) + 4 * _noise(random, 90 * scale, 300 * scale)
    fibres = _noise(random, 2.5, 2.5 * along)
    return ((rings % 1) ** 2).astype(np.float32) * 0.7 + 0.3 * fibres, np.clip(fibres * 4 - 2.8, 0, 1)


def _cells(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    _, label = _points(random, random.uniform(10, 50) * scale, 0.9)
    border = _to_border(label)
    width = random.uniform(1, 4) * min(scale, 1.5)
    return _of_each(label, random), np.clip(1.3 - border / width, 0, 1)


def _bricks(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32)
    high = random.uniform(14, 40) * scale
    wide = high * random.choice([1, 1, 2, 2.6, 4])
    row = np.floor(y / high)
    x = x + row * wide * random.choice([0, 0.5, 0.5, 0.33])
    column = np.floor(x / wide)
    label = (row * 401 + column).astype(int) % 9973
    inside = np.minimum(np.minimum(y % high, high - y % high), np.minimum(x % wide, wide - x % wide))
    joint = np.clip(1.4 - inside / random.uniform(1, 3.5), 0, 1)
    return 0.7 * random.random(9973, np.float32)[label] + 0.3 * _noise(random, 4), joint.astype(np.float32)


def _spots(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    distance, label = _points(random, random.uniform(16, 44) * scale, random.uniform(0, 0.9))
    size = random.uniform(4, 13) * scale * (0.6 + 0.8 * _of_each(label, random))
    distance = distance + random.uniform(0, 6) * scale * (_noise(random, 9 * scale) - 0.5)
    edge = random.uniform(0.7, 3)
    full = np.clip((size - distance) / edge, 0, 1)
    if random.random() < 0.5:  # rings
        hole = np.clip((size * random.uniform(0.3, 0.7) - distance) / edge, 0, 1)
        broken = _noise(random, 12 * scale) > random.uniform(0, 0.5)
        return hole * 0.8 + 0.2 * _fractal(random, 60), (full - hole) * broken
    return _fractal(random, 60 * scale), full


def _weave(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    y, x = np.mgrid[:_SIZE, :_SIZE] * (np.pi / (random.uniform(3.5, 12) * scale))
    over = (np.floor(y / np.pi) + np.floor(x / np.pi)) % 2 < 1
    threads = np.where(over, np.abs(np.sin(y)), np.abs(np.sin(x)))
    blend = np.where(over, random.uniform(0, 0.4), random.uniform(0.6, 1)) * (0.6 + 0.4 * _noise(random, 3))
    return blend.astype(np.float32), np.clip(1 - 2.2 * threads, 0, 1).astype(np.float32)


def _cracks(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    _, label = _points(random, random.uniform(30, 110) * scale, 1.0)
    border = _bent(_to_border(label), random, 1.5 * scale)
    width = random.uniform(0.8, 3) * (0.3 + 1.4 * _noise(random, 40 * scale))
    return _fractal(random, 50 * scale), np.clip(1.5 - border / width, 0, 1)


def _brushed(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    streaks = 0.6 * _noise(random, 1.6, 300) + 0.4 * _noise(random, 5, 500)
    shine = _noise(random, 400, 60 * scale)
    return streaks, np.clip(2.5 * shine - 1.2, 0, 1) ** 2


def _mottled(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    specks = _noise(random, random.uniform(2, 7) * scale)
    return _fractal(random, random.uniform(8, 100) * scale), np.clip(
        random.uniform(3, 12) * (specks - random.uniform(0.55, 0.9)), 0, 1
    )


def _stripes(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    y, x = np.mgrid[:_SIZE, :_SIZE].astype(np.float32) / (random.uniform(5, 30) * scale)
    edge = random.uniform(0.8, 4)
    one = np.clip(0.5 + edge * np.sin(2 * np.pi * y), 0, 1)
    other = np.clip(0.5 + edge * np.sin(2 * np.pi * x), 0, 1) * random.choice([0, 0, 1])
    return np.abs(one - other), np.clip(_noise(random, 3) * 3 - 2.2, 0, 1)


def _plain(random: np.random.Generator, scale: float) -> tuple[Field, Field]:
    return 0.3 * _fractal(random, 150 * scale), 0.15 * _noise(random, 3)


PATTERNS: tuple[Callable[[np.random.Generator, float], tuple[Field, Field]], ...] = (
    _veins, _grain, _cells, _bricks, _spots, _weave, _cracks, _brushed, _mottled, _stripes, _plain,
)  # fmt: skip
