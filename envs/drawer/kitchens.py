"""Six kitchens that do not exist: what the lab's proxy-real scenes are made of, and under which light.

None of their finishes is one of the styles that an edit shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import cv2
import numpy as np

from simedit.envs.drawer.boards import DRAWER_HEIGHTS
from simedit.envs.noise import cells, fractal, noise

Finish = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""From a face's coordinates u, v [H, W] (metres), the distance to its edge [H, W] (metres), colours [K, 3]
and a seed to the share of light that comes back, [H, W, 3]."""


@dataclass(frozen=True)
class Surfacing:
    """A finish in colours, sRGB as "#rrggbb"."""

    finish: Finish
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Kitchen:
    """A kitchen: it looks the same at every visit.

    Attributes:
        body, fronts, floor, wall: what the cabinet's body and its drawers' fronts, the floor and the wall
            behind are finished with.
        inside: colour of the cabinet's inside.
        gloss: of the cabinet, 0 (dull) to 1.
        wall_x: where the wall stands, metres in the world, behind the cabinet.
        light: where the light comes from: azimuth (0 from the robot's side, positive from the robot's right)
            and height above the horizon, degrees.
        sun, sky: strength of that light and of the light from all around; 1 shows white as white.
        warmth: of the light, -1 (blue) to 1 (orange).
        blur: of the lens, standard deviation as a share of the frame's height.
        grain: of the sensor, standard deviation at mid grey, as a share of white.
        seed: of the textures.
    """

    body: Surfacing
    fronts: Surfacing
    floor: Surfacing
    wall: Surfacing
    inside: str
    gloss: float
    wall_x: float
    light: tuple[float, float]
    sun: float
    sky: float
    warmth: float
    blur: float
    grain: float
    seed: int


@dataclass(frozen=True)
class Map:
    """A plane in a kitchen: float32 [H, W, 3], from u0, v0 (metres) on, `scale` texels a metre."""

    texels: np.ndarray
    u0: float
    v0: float
    scale: float

    def at(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The colours at coordinates float32 [H, W], metres; beyond its border a map is mirrored."""
        across, down = (u - self.u0) * self.scale, (v - self.v0) * self.scale
        return cv2.remap(self.texels, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def linear(colour: str) -> np.ndarray:
    """Linear light [3] of an sRGB colour "#rrggbb", about."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32) ** 2.2


@cache
def maps(name: str) -> dict[str, Map]:
    """A kitchen's textures: "floor" (x, y) and "wall" (y, z) in the world; of the cabinet, with its drawers
    closed and in its own frame, "front" (y, z), "side" (x, z) and "top" (x, y)."""
    kitchen = KITCHENS[name]

    def bake(number: int, surfacing: Surfacing, low: tuple, high: tuple, scale: float, edge: Callable) -> Map:
        u, v = (np.arange(a, b, 1 / scale, dtype=np.float32) for a, b in zip(low, high, strict=True))
        u, v = np.meshgrid(u, v)
        colours = np.stack([linear(colour) for colour in surfacing.colours])
        texels = surfacing.finish(u, v, edge(u, v), colours, kitchen.seed + 100 * number)
        texels = cv2.GaussianBlur(np.clip(texels, 0, 1).astype(np.float32), (0, 0), 0.7)
        return Map(texels, low[0], low[1], scale)

    def endless(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.full_like(u, np.inf)

    def rectangle(half: tuple[float, float], *centres: tuple[float, float]) -> Callable:
        return lambda u, v: np.max(
            [np.minimum(half[0] - abs(u - a), half[1] - abs(v - b)) for a, b in centres], axis=0
        )

    drawers = rectangle((0.3075, 0.07), *((0.0, height) for height in DRAWER_HEIGHTS))
    side, top = rectangle((0.295, 0.4225), (0.0, 0.4225)), rectangle((0.315, 0.3075), (0.0, 0.0))
    return {
        "floor": bake(1, kitchen.floor, (-1.4, -2.2), (0.8, 2.2), 100, endless),
        "wall": bake(2, kitchen.wall, (-2.2, 0.0), (2.2, 1.4), 100, endless),
        "front": bake(3, kitchen.fronts, (-0.32, -0.01), (0.32, 0.88), 220, drawers),
        "side": bake(4, kitchen.body, (-0.33, -0.01), (0.33, 0.88), 220, side),
        "top": bake(5, kitchen.body, (-0.33, -0.32), (0.33, 0.32), 220, top),
    }


# Finishes


def _at(u: np.ndarray, v: np.ndarray, du: float, dv: float) -> np.ndarray:
    """Points for solid noise whose grains are du x dv metres."""
    return np.stack([u / du, v / dv, np.zeros_like(u)], -1)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * np.clip(share, 0, 1)[..., None]


def _shade(colours: np.ndarray, tone: np.ndarray) -> np.ndarray:
    return colours * tone[..., None]


def _painted(u, v, edge, colours, seed, scratches=4):
    """Brushed paint with scuffs, and scratches down to the ground."""
    colour = _shade(colours[0], 0.8 + 0.25 * fractal(_at(u, v, 0.15, 0.05), seed, 3))
    scuffs = (fractal(_at(u, v, 0.06, 0.03), seed + 1, 3) - 0.62) * 6
    colour = _mix(colour, colours[1], np.clip(scuffs, 0, 0.45))
    for i in range(scratches):
        angle = 0.4 + 2.3 * i
        a, b = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        line = 1 - abs(noise(_at(a, b, 0.5, 0.08), seed + 10 + i) - 0.5) * 60
        torn = (noise(_at(a, b, 0.08, 0.3), seed + 20 + i) - 0.6) * 8
        colour = _mix(colour, colours[1], np.minimum(line, torn))
    return colour


def _speckled(u, v, edge, colours, seed, size=0.013, share=0.45):
    """Chips of the later colours in the first: laminate when small, terrazzo when large."""
    owner, border = cells(_at(u, v, size, size), seed)
    colour = _shade(colours[0], 0.92 + 0.12 * noise(_at(u, v, 0.3, 0.3), seed + 9))
    chip = np.minimum((owner / share * (len(colours) - 1)).astype(int) + 1, len(colours) - 1)
    return _mix(colour, colours[chip], (owner < share) * border * 8)


def _lacquered(u, v, edge, colours, seed):
    """Even lacquer with a pale rim and finger marks."""
    colour = _shade(colours[0], 0.94 + 0.08 * fractal(_at(u, v, 0.25, 0.25), seed, 2))
    marks = (fractal(_at(u, v, 0.05, 0.05), seed + 1, 2) - 0.66) * 4
    return _mix(_mix(colour, colours[1], np.clip(marks, 0, 0.35)), colours[1], 1 - edge / 0.008)


def _woven(u, v, edge, colours, seed, strand=0.028):
    """Strands that cross over and under, dark between, in a frame."""
    a, b = u / strand, v / strand
    over = (np.floor(a) + np.floor(b)) % 2 == 0
    along, across = np.where(over, a, b) % 1, np.where(over, b, a) % 1
    round_ = np.sin(np.pi * across) ** 0.6 * (0.55 + 0.45 * np.sin(np.pi * along))
    tone = 0.75 + 0.4 * noise(_at(np.floor(a), np.floor(b), 1, 1), seed)
    woven = _mix(np.broadcast_to(colours[1], (*u.shape, 3)), _shade(colours[0], tone), round_)
    frame = _shade(colours[2], 0.85 + 0.25 * fractal(_at(u, v, 0.2, 0.02), seed + 1, 2))
    return np.where((edge < 0.022)[..., None], frame, woven)


def _chalky(u, v, edge, colours, seed):
    """Blotchy chalk paint, worn through at the edges."""
    colour = _mix(colours[0], colours[1], (fractal(_at(u, v, 0.11, 0.11), seed, 4) - 0.35) * 2)
    wear = 0.03 * fractal(_at(u, v, 0.05, 0.03), seed + 1, 4) ** 1.5 + 0.002
    return _mix(colour, colours[2], (wear - edge) / 0.004)


def _striped(u, v, edge, colours, seed, width=0.024, nodes=0.3):
    """Strips side by side along u, each of a tone between the first two colours, with dark nodes."""
    strip = np.floor(v / width)
    tone = noise(_at(strip * 7.3, 0 * v, 1, 1), seed)
    colour = _mix(np.broadcast_to(colours[0], (*u.shape, 3)), colours[1], tone)
    groove = 1 - np.minimum(v / width % 1, 1 - v / width % 1) / 0.12
    place = (u / nodes + noise(_at(strip * 3.1, 0 * v, 1, 1), seed + 1) * 5) % 1
    return _mix(colour, colours[2], np.maximum(0.6 * groove, 1 - abs(place - 0.5) * nodes / 0.006))


def _tiled(u, v, edge, colours, seed, size=(0.2, 0.2), shift=0.0, joint=0.008, checker=False):
    """Tiles, bricks or boards; the last colour is the joint's, the others lie at random or as a checker."""
    row = np.floor(v / size[1])
    a, b = u / size[0] + row * shift, v / size[1]
    column, kinds = np.floor(a), len(colours) - 1
    random = noise(_at(column * 5.7 + 0.3, row * 3.9 + 0.3, 1, 1), seed)
    kind = (column + row) % 2 if checker else np.clip((random * 1.6 - 0.3) * kinds, 0, kinds - 1)
    tone = 0.82 + 0.3 * random + 0.12 * (fractal(_at(u, v, 0.09, 0.03), seed + 1, 3) - 0.5)
    near = np.minimum(np.minimum(a % 1, 1 - a % 1) * size[0], np.minimum(b % 1, 1 - b % 1) * size[1])
    return _mix(_shade(colours[kind.astype(int)], tone), colours[-1], 1.5 - near / joint * 2)


_plaster = partial(_painted, scratches=0)

KITCHENS: dict[str, Kitchen] = {
    "harbour": Kitchen(
        body=Surfacing(_painted, ("#6f8ea8", "#d9d6c8")),
        fronts=Surfacing(_painted, ("#7d9cb5", "#e2ded0")),
        floor=Surfacing(
            partial(_tiled, size=(0.9, 0.11), shift=0.37, joint=0.004),
            ("#b7a58c", "#a8937a", "#c2b199", "#5d5146"),
        ),
        wall=Surfacing(_plaster, ("#d8dad6", "#c3c6c4")),
        inside="#3d4a55",
        gloss=0.1,
        wall_x=-0.66,
        light=(55.0, 42.0),
        sun=0.75,
        sky=0.5,
        warmth=-0.25,
        blur=0.0038,
        grain=0.016,
        seed=11,
    ),
    "canteen": Kitchen(
        body=Surfacing(_speckled, ("#b9c4b4", "#7f8c80", "#e9eee4", "#5f6d66")),
        fronts=Surfacing(_speckled, ("#c4cdbb", "#7f8c80", "#eef2ea", "#5f6d66")),
        floor=Surfacing(
            partial(_tiled, size=(0.3, 0.3), joint=0.003, checker=True), ("#d6d3c6", "#6b7a80", "#8b8b85")
        ),
        wall=Surfacing(partial(_tiled, size=(0.15, 0.15), joint=0.006), ("#dfe6e2", "#d3dedb", "#9aa3a0")),
        inside="#4c514b",
        gloss=0.2,
        wall_x=-0.63,
        light=(-20.0, 68.0),
        sun=0.55,
        sky=0.62,
        warmth=-0.5,
        blur=0.003,
        grain=0.022,
        seed=23,
    ),
    "loft": Kitchen(
        body=Surfacing(_lacquered, ("#d8cdb8", "#efe9dc")),
        fronts=Surfacing(_lacquered, ("#b5473c", "#d9897d")),
        floor=Surfacing(partial(_painted, scratches=3), ("#8d8b88", "#6f6e6c")),
        wall=Surfacing(
            partial(_tiled, size=(0.23, 0.075), shift=0.5, joint=0.01),
            ("#9a5a45", "#84493a", "#a96f57", "#b9afa4"),
        ),
        inside="#4a3330",
        gloss=0.55,
        wall_x=-0.72,
        light=(-50.0, 38.0),
        sun=0.85,
        sky=0.38,
        warmth=0.15,
        blur=0.0036,
        grain=0.02,
        seed=37,
    ),
    "veranda": Kitchen(
        body=Surfacing(_woven, ("#d9b679", "#6b4c2c", "#a57d4a")),
        fronts=Surfacing(_woven, ("#e0c08a", "#75552f", "#b08a55")),
        floor=Surfacing(
            partial(_tiled, size=(0.25, 0.25), joint=0.012), ("#b5704f", "#a4613f", "#c07f5c", "#cbbfae")
        ),
        wall=Surfacing(_plaster, ("#d9b56a", "#c79d55")),
        inside="#4b3822",
        gloss=0.05,
        wall_x=-0.7,
        light=(35.0, 30.0),
        sun=1.0,
        sky=0.36,
        warmth=0.6,
        blur=0.004,
        grain=0.014,
        seed=41,
    ),
    "cottage": Kitchen(
        body=Surfacing(_chalky, ("#8fa58a", "#a3b59b", "#e6dcc4")),
        fronts=Surfacing(_chalky, ("#93aa8e", "#abbca3", "#e6dcc4")),
        floor=Surfacing(
            partial(_tiled, size=(1.3, 0.16), shift=0.29, joint=0.005), ("#6b4f3a", "#5a4130", "#2c2018")
        ),
        wall=Surfacing(partial(_striped, width=0.09, nodes=1e3), ("#e8dfd0", "#c9aeb0", "#d9cbbd")),
        inside="#3b4238",
        gloss=0.0,
        wall_x=-0.68,
        light=(10.0, 52.0),
        sun=0.6,
        sky=0.5,
        warmth=0.35,
        blur=0.0042,
        grain=0.024,
        seed=59,
    ),
    "studio": Kitchen(
        body=Surfacing(_striped, ("#c9b98a", "#b5a06c", "#7a6840")),
        fronts=Surfacing(partial(_striped, nodes=0.42), ("#d6c796", "#c0ab78", "#85714a")),
        floor=Surfacing(
            partial(_speckled, size=0.07, share=0.6), ("#c9c4bd", "#8d8680", "#e9e4da", "#6d5f5a", "#a98f7c")
        ),
        wall=Surfacing(partial(_tiled, size=(0.2, 0.06), joint=0.005), ("#3f6a5c", "#4a7768", "#c9cfc8")),
        inside="#403726",
        gloss=0.3,
        wall_x=-0.65,
        light=(-65.0, 48.0),
        sun=0.7,
        sky=0.46,
        warmth=0.0,
        blur=0.0032,
        grain=0.018,
        seed=71,
    ),
}
