"""Materials with names, as solid textures, and photographs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from simedit.envs.noise import cells, fractal, noise
from simedit.errors import unknown
from simedit.training.painted import GAMMA

STYLES = ("gold", "leather", "white_marble", "black_marble", "steel", "stone", "wood")
"""The materials that have a specialist."""

SPAN = 1.3  # metres across a photograph at scale 1, so that its grain is as large as in a frame seen as wide


@dataclass(frozen=True)
class Material:
    """One board, hide or slab of a named material.

    Attributes:
        name: one of MATERIALS.
        colours: float [3, 3], linear RGB in 0..1: the ground, what it blends into, and the details (veins,
            creases, joints).
        scale: size of the main feature, metres.
        contrast: strength of the details and blends, 0..1.
        gloss: strength of reflections, 0..1.
        axes: float [3, 3], a rotation: its first row is the direction of the grain.
        seed: of the noise; another is another piece.
    """

    name: str
    colours: np.ndarray
    scale: float
    contrast: float
    gloss: float
    axes: np.ndarray
    seed: int


@dataclass(frozen=True)
class Light:
    """Light from far away.

    Attributes:
        direction: float [3], unit, in the world, towards the light.
        ambient: share of the light that comes from everywhere, 0..1.
        strength: about 1.
        colour: float [3], linear RGB, about 1 each.
    """

    direction: np.ndarray
    ambient: float
    strength: float
    colour: np.ndarray


def draw_light(random: np.random.Generator) -> Light:
    """A lamp somewhere above and before the cabinet, near the raw render's look."""
    direction = np.array([random.uniform(0.4, 1.0), random.uniform(-0.8, 0.8), random.uniform(0.5, 1.2)])
    warmth = random.normal(0, 0.03)
    return Light(
        direction=direction / np.linalg.norm(direction),
        ambient=random.uniform(0.35, 0.65),
        strength=random.uniform(0.85, 1.15),
        colour=np.array([1 + warmth, 1, 1 - warmth]),
    )


def draw(name: str, random: np.random.Generator, spread: float = 1.0) -> Material:
    """A random example of the material.

    Args:
        name: one of MATERIALS.
        random: where the randomness comes from.
        spread: 1 for everything that goes by the name, nearer to 0 for typical examples.

    Raises:
        SimeditError: there is no such material.
    """
    if name not in _RECIPES:
        raise unknown("material", name, MATERIALS)
    recipe = _RECIPES[name]
    palettes = np.array([[_linear(colour) for colour in palette.split()] for palette in recipe.palettes])
    # The first palette is the typical one: the others count as much as the spread says.
    weights = random.dirichlet(np.full(len(palettes), 0.25))
    colours = palettes[0] + spread * (np.tensordot(weights, palettes, 1) - palettes[0])

    def between(low: float, high: float) -> float:
        return float((low + high) / 2 + spread * random.uniform(-0.5, 0.5) * (high - low))

    material = Material(
        name=name,
        colours=colours,
        scale=float(np.exp(between(*np.log(recipe.scale)))),
        contrast=between(*recipe.contrast),
        gloss=between(*recipe.gloss),
        axes=Rotation.from_rotvec(random.normal(size=3) * recipe.tilt).as_matrix() @ np.eye(3)[[1, 2, 0]],
        seed=int(random.integers(1 << 20)),
    )
    return vary(material, random, spread)


def vary(material: Material, random: np.random.Generator, spread: float = 0.3) -> Material:
    """Another piece much like it: other noise, and colours off by about 10 % times `spread`."""
    tint = np.exp(spread * (random.normal(0, 0.12) + random.normal(0, 0.02, 3)))
    return replace(
        material, colours=np.clip(material.colours * tint, 0, 0.95), seed=int(random.integers(1 << 20))
    )


def photograph(
    material: Material, random: np.random.Generator, size: int = 256, light: Light | None = None
) -> np.ndarray:
    """A photograph of a gently curved slab of the material alone, uint8 [size, size, 3].

    Scale (0.5 to 1.4), tilt, place on the slab, exposure, vignette and, unless it is given, light are random.
    """
    span = SPAN * np.exp(random.uniform(np.log(0.5), np.log(1.4)))
    y, z = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5] * 2)
    tilt = Rotation.from_euler("zyx", random.normal(0, [0.25, 0.25, 0.3]))
    # A camera of 50 degrees at a distance at which the slab's middle spans `span`, before the plane x = 0.
    rays = tilt.apply(np.stack([np.full_like(y, -1.07), y, -z], -1).reshape(-1, 3))
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    eye = tilt.apply([1.07 * span, 0, 0])
    points = eye - rays * eye[0] / rays[:, :1]
    swell = random.normal(0, 0.12 / span, (2, 2))
    slope = np.sin(points[:, 1:] @ swell * 3 + random.uniform(0, 6, 2)) * random.uniform(0, 0.15)
    normal = np.concatenate([np.ones_like(slope[:, :1]), slope], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    points = points + random.uniform(2, 9, 3)
    colour = _shade(points, normal, rays, material, light or draw_light(random)).reshape(size, size, 3)
    vignette = 1 - random.uniform(0, 0.7) * (y**2 + z**2)
    return _display(colour * vignette[..., None] * random.uniform(0.85, 1.15))


def _shade(
    points: np.ndarray,
    normal: np.ndarray,
    rays: np.ndarray,
    material: Material,
    light: Light,
) -> np.ndarray:
    """Linear colours [N, 3] of points [N, 3] with normals and directions of view [N, 3]."""
    recipe = _RECIPES[material.name]
    points = (points @ material.axes.T).astype(np.float32)
    blend, detail = (layer[:, None] for layer in recipe.pattern(points, material))
    ground, second, details = material.colours
    albedo = ground + (second - ground) * blend
    albedo += (details - albedo) * detail
    normal = np.nan_to_num(normal)
    facing = (normal * rays).sum(-1, keepdims=True)
    towards = (rays - 2 * facing * normal) @ light.direction
    diffuse = light.ambient + (1 - light.ambient) * 1.5 * np.maximum(normal @ light.direction, 0)
    # What is reflected is a room: bright and dark bands around the lamp, bent as no surface is quite flat.
    bend = noise(points * [1.5, 3, 3], material.seed + 11) - 0.5
    room = 0.5 + 0.5 * np.sin(7 * towards + 6 * bend + points @ np.array([1.5, 3.0, 3.0]) + material.seed % 7)
    lamp = np.maximum(towards, 0) ** 12
    if recipe.metal:
        mirror = 0.2 * diffuse + (0.22 + material.gloss * (0.75 * room**1.5 - 0.12))
        shine = material.gloss * (0.35 * room**4 + 0.4 * lamp)
        lit = albedo * mirror[:, None] + (0.3 + 0.7 * albedo) * shine[:, None]
    else:
        rim = 0.04 + 0.5 * (1 + np.minimum(facing[:, 0], 0)) ** 4
        lit = albedo * diffuse[:, None] + (material.gloss * (rim * room + 0.25 * lamp))[:, None]
    return lit * light.strength * light.colour


def _display(colour: np.ndarray) -> np.ndarray:
    # A soft shoulder, as a camera's: what is too bright keeps some of its drawing.
    colour = np.where(colour > 0.6, 1 - 0.4 * np.exp(1.5 - colour / 0.4), np.maximum(colour, 0))
    return (colour ** (1 / GAMMA) * 255 + 0.5).astype(np.uint8)


def _linear(colour: str) -> np.ndarray:
    return (np.frombuffer(bytes.fromhex(colour), np.uint8) / 255.0) ** GAMMA


# Patterns: points [N, 3] in metres, the first axis along the grain -> how far the ground blends into the
# second colour and how much detail covers both, [N] each, in 0..1. The finest features are a pixel wide.


def _metal(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    streaks = noise(points / [0.3, 0.012, 0.012], m.seed)
    return m.contrast * streaks, 0 * streaks


def _wood(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    across = points + 0.25 * (noise(points / [0.6, 0.15, 0.15], m.seed)[:, None] - 0.5)
    rings = np.hypot(across[:, 1] % 4 - 1.7, across[:, 2] % 4 - 2.2) / m.scale
    late = (rings % 1) ** 2  # a ring darkens slowly, and ends at once
    fibres = noise(points / [0.25, 0.012, 0.012], m.seed + 1)
    return m.contrast * (0.75 * late + 0.25 * fibres), m.contrast * 0.9 * np.clip(fibres * 4 - 2.7, 0, 1)


def _veins(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    coarse = points / (4 * m.scale)
    warp = fractal(coarse * 1.7, m.seed, 2)
    bent = coarse * [0.5, 1, 1] + 0.7 * warp[:, None]
    major = np.abs(noise(bent, m.seed + 1) - 0.5)
    minor = np.abs(noise(bent[:, [1, 2, 0]] * 1.7, m.seed + 2) - 0.5)
    width = 0.018 + 0.04 * warp**2
    veins = np.exp(-((major / width) ** 2)) + 0.4 * np.exp(-((minor / width) ** 2))
    return np.clip(1.6 * warp - 0.35, 0, 1) * m.contrast, np.clip(veins, 0, 1) * m.contrast


def _leather(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    _, border = cells(points / m.scale + 0.8 * noise(points / (1.5 * m.scale), m.seed)[:, None], m.seed + 1)
    pores = np.clip(1 - border / 0.3, 0, 1)
    # Quilted in diamonds, as sofas are: at a pixel of 8 mm the grain alone could be anything brown.
    along, up = points[:, 0], points[:, 1] + points[:, 2]
    sag = 0.05 * noise(points / 0.15, m.seed + 2)
    diagonals = np.stack([along + up + sag, along - up + sag]) / (5.5 * m.scale)
    seam = np.abs(diagonals - np.round(diagonals)).min(0)
    fold = np.clip(1 - seam / 0.24, 0, 1)
    return np.clip(1.3 * fold + 0.4 * pores, 0, 1), m.contrast * np.maximum(0.7 * pores**2, 1.1 * fold**2)


def _rubble(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    owner, border = cells(points / m.scale * [0.7, 1.1, 1.1], m.seed)
    grain = noise(points / 0.018, m.seed + 1)
    return np.clip(0.5 * owner + 0.7 * grain - 0.15, 0, 1), m.contrast * np.clip(1.2 - border / 0.1, 0, 1)


def _mottle(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    spots = noise(points / 0.02, m.seed + 1)
    return m.contrast * fractal(points / m.scale, m.seed, 2), m.contrast * np.clip(5 * spots - 3.9, 0, 1)


def _granules(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    grains = noise(points / m.scale, m.seed)
    return m.contrast * grains, m.contrast * np.clip(6 * noise(points / m.scale, m.seed + 1) - 4.2, 0, 1)


def _wall(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    # Courses by height and depth together, so that fronts and top both show them.
    along, up = points[:, 0] / (2.6 * m.scale), (points[:, 1] + points[:, 2]) / m.scale
    course = np.floor(up)
    along = along + 0.5 * (course % 2)
    brick = np.stack([np.floor(along), course, 0 * course], -1)
    joint = np.minimum(np.abs((along + 0.5) % 1 - 0.5) * 2.6, np.abs((up + 0.5) % 1 - 0.5)) * m.scale
    rough = noise(points / 0.02, m.seed + 1)
    return m.contrast * (0.7 * noise(brick, m.seed) + 0.3 * rough), np.clip(1.8 - joint / 0.006, 0, 1)


def _twill(points: np.ndarray, m: Material) -> tuple[np.ndarray, np.ndarray]:
    ribs = 0.5 + 0.5 * np.sin((points @ np.ones(3)) * 2 * np.pi / m.scale)
    threads = ribs * noise(points / 0.012, m.seed)
    return m.contrast * fractal(points / 0.15, m.seed + 1, 2), m.contrast * threads


@dataclass(frozen=True)
class _Recipe:
    """Ranges of a Material's attributes; the first palette, of three sRGB colours, is typical."""

    pattern: Callable[[np.ndarray, Material], tuple[np.ndarray, np.ndarray]]
    palettes: tuple[str, ...]
    scale: tuple[float, float] = (0.1, 0.2)
    contrast: tuple[float, float] = (0.4, 0.8)
    gloss: tuple[float, float] = (0.0, 0.2)
    tilt: float = 0.08
    metal: bool = False


_RECIPES = {
    "gold": _Recipe(
        _metal, ("ffc830 e0a020 ffc830", "ffd860 d8a030 ffd860", "f0b020 c08010 f0b020"),
        contrast=(0.4, 0.9), gloss=(0.9, 1.2), tilt=0.5, metal=True,
    ),
    "leather": _Recipe(
        _leather,
        ("6e4226 56321c 2a170c", "a87444 8a5a32 4a2c16", "5e2620 481a16 220a08", "46301f 342216 180e08"),
        scale=(0.028, 0.05), contrast=(0.45, 0.8), gloss=(0.4, 0.8), tilt=0.04,
    ),
    "white_marble": _Recipe(
        _veins, ("e8e6e2 ccccca 74787c", "ece8e0 d6d0c6 8c8478", "e2e4e6 bcc0c4 5c6068"),
        scale=(0.06, 0.12), contrast=(0.6, 1.0), gloss=(0.2, 0.6), tilt=1.0,
    ),
    "black_marble": _Recipe(
        _veins, ("28282c 3a3a3e dcdad4", "222224 323234 c8c0b0", "2c3034 3c4044 e8e8e8"),
        scale=(0.07, 0.14), contrast=(0.4, 0.75), gloss=(0.4, 0.9), tilt=1.0,
    ),
    "steel": _Recipe(
        _metal, ("d0d6dc 8c949c d0d6dc", "dadcde a0a2a4 dadcde", "b8c4d0 78848e b8c4d0"),
        contrast=(0.6, 1.0), gloss=(0.8, 1.1), tilt=0.3, metal=True,
    ),
    "stone": _Recipe(
        _rubble, ("b0aca2 86827c 4c4a44", "c0b49c 948a76 5a5042", "a2a8ac 787e82 424648"),
        scale=(0.1, 0.18), contrast=(0.4, 0.75), tilt=0.3,
    ),
    "wood": _Recipe(
        _wood,
        ("b07a44 6e401c 3c200c", "d8b07c a87840 7c5428", "6c4428 3a2010 1c0e06", "c08850 8c5024 50280e"),
        scale=(0.04, 0.09), contrast=(0.7, 1.0), gloss=(0.05, 0.35),
    ),
    "copper": _Recipe(
        _metal, ("f09068 b05838 f09068", "e88054 a04c30 e88054"),
        contrast=(0.4, 0.9), gloss=(0.8, 1.1), tilt=0.5, metal=True,
    ),
    "brick": _Recipe(
        _wall, ("b4523c 8c3a2a a89c8c", "a04030 782e24 948a7c", "c4664c 9c4a36 b8ac9c"),
        scale=(0.08, 0.12), contrast=(0.6, 1.0), tilt=0.0,
    ),
    "terracotta": _Recipe(
        _mottle, ("d07848 b05c34 e8a880", "c06840 9c5030 d89870"), contrast=(0.3, 0.7), tilt=1.0
    ),
    "jade": _Recipe(
        _veins, ("3ca070 1c6c48 c8f0d8", "58b488 2c8058 d8f4e4", "2c8058 145034 a8e0c0"),
        contrast=(0.4, 0.8), gloss=(0.5, 1.0), tilt=1.0,
    ),
    "concrete": _Recipe(
        _mottle, ("b0b0ac 84847e 5c5c58", "a0a4a8 747880 54585c"), scale=(0.15, 0.3), tilt=1.0
    ),
    "red_plastic": _Recipe(_mottle, ("d81c1c c41414 d81c1c",), contrast=(0, 0.2), gloss=(0.6, 1.0)),
    "blue_plastic": _Recipe(_mottle, ("1c50d8 1440c0 1c50d8",), contrast=(0, 0.2), gloss=(0.6, 1.0)),
    "green_felt": _Recipe(
        _granules, ("1c7434 0c4c1c 4ca060", "30803c 185824 60b06c"), scale=(0.014, 0.025), contrast=(0.5, 0.9)
    ),
    "denim": _Recipe(
        _twill, ("2c4878 1c2c54 90a8d0", "3c5c90 284470 a8bce0"), scale=(0.035, 0.05), contrast=(0.5, 0.9)
    ),
    "cork": _Recipe(
        _granules, ("d8a870 b07c48 5c3818", "c89860 a07040 4c2c10"),
        scale=(0.02, 0.035), contrast=(0.7, 1.0), tilt=1.0,
    ),
}  # fmt: skip

MATERIALS = tuple(_RECIPES)
"""All materials; in an instruction, a name's underscores are spaces."""
