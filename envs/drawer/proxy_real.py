"""Proxy-real, the lab's real world: the drawer twin as a poor photograph of one of six kitchens shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from simedit.arrays import whole_number
from simedit.envs.drawer.boards import DRAWER_HEIGHTS, FOOT, board_normals, find_boards, unblocked
from simedit.envs.drawer.kitchens import KITCHENS, Kitchen, linear, maps
from simedit.envs.drawer.surface import CABINET, GROUND, NOTHING, ROBOT, Surface
from simedit.envs.sensor import develop
from simedit.errors import SimeditError, unknown
from simedit.wrapper import EditObservation

_SKY = ((0.8, 0.0, 0.6), (0.1, 0.7, 0.7), (0.1, -0.7, 0.7), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Look:
    """How an episode looks: a kitchen, and what differs from one visit to the next.

    Attributes:
        kitchen: one of `KITCHENS`.
        light: unit [3], from the scene towards the light, in the world.
        gains: of red, green and blue, of the light as well as of the camera's white balance.
        exposure: factor on all light.
        blur: standard deviation of the lens' blur, share of the frame's height.
        grain: standard deviation of the sensor's noise at mid grey, share of white.
        vignette: share of light lost in the frame's corners.
        shift: the camera's error, right and down, share of the frame's height.
        roll: the camera's error about its axis, radians.
        scale: the error of its focal length, a factor.
    """

    kitchen: str
    light: tuple[float, float, float]
    gains: tuple[float, float, float]
    exposure: float
    blur: float
    grain: float
    vignette: float
    shift: tuple[float, float]
    roll: float
    scale: float


def check_kitchens(names: Sequence[str]) -> None:
    """Refuse an empty list and a kitchen that there is not.

    Raises:
        SimeditError: names the nearest match.
    """
    if not names:
        raise SimeditError(f"name one kitchen or more of: {', '.join(KITCHENS)}")
    for name in names:
        if name not in KITCHENS:
            raise unknown("kitchen", name, KITCHENS)


def draw_look(random: np.random.Generator, kitchens: Sequence[str] = tuple(KITCHENS)) -> Look:
    """A look of one of the kitchens.

    Raises:
        SimeditError: an unknown kitchen, or none.
    """
    check_kitchens(kitchens)
    name = kitchens[int(random.integers(len(kitchens)))]
    kitchen = KITCHENS[name]
    azimuth, height = np.radians(kitchen.light) + random.uniform(-0.2, 0.2, 2)
    warm = 0.12 * kitchen.warmth + random.normal(0, 0.03)
    green = random.normal(0, 0.02)
    shift = random.uniform(-0.015, 0.015, 2)
    return Look(
        kitchen=name,
        light=(
            math.cos(height) * math.cos(azimuth),
            math.cos(height) * math.sin(azimuth),
            math.sin(height),
        ),
        gains=(1 + warm, 1 + green, 1 - warm),
        exposure=random.uniform(0.85, 1.15),
        blur=kitchen.blur * random.uniform(0.8, 1.3),
        grain=kitchen.grain * random.uniform(0.7, 1.4),
        vignette=random.uniform(0.1, 0.35),
        shift=(float(shift[0]), float(shift[1])),
        roll=random.uniform(-0.015, 0.015),
        scale=random.uniform(0.985, 1.015),
    )


def photograph(surface: Surface, look: Look, random: np.random.Generator) -> np.ndarray:
    """A photograph of the scene, uint8 [H, W, 3].

    Cabinet, floor and wall are painted by where they are; the robot keeps its colours. Light falls from one
    side and from all around; the shadows are those of the cabinet's boards and of what is seen of the robot.

    Args:
        random: draws the sensor's noise, of this frame alone.
    """
    kitchen = KITCHENS[look.kitchen]
    points, normal, wall = _geometry(surface, kitchen)
    colour = _painted(surface, kitchen, look.kitchen, points, normal, wall)
    light = _light(surface, kitchen, look, points, normal, wall)
    return _develop(colour * light, look, random)


class ProxyReal(gym.ObservationWrapper, RecordConstructorArgs):
    """Shows the drawer twin as proxy-real; `sensor_data/overhead_camera/rgb` alone changes, in kind not.

    `reset(seed=...)` draws the episode's look and, later, its frames' noise; the same seed gives the same
    pictures of the same actions. A reset without a seed goes on in that sequence. With render mode
    "rgb_array", `render()` gives the last photograph, uint8 [H, W, 3].

    Args:
        env: `simedit/Drawer-v1` in its plain look (the domain "raw").
        kitchens: where episodes take place, each drawn from `KITCHENS` alike.

    Raises:
        SimeditError: an unknown kitchen, or none, or a wrapper below that changes the picture too.
    """

    def __init__(self, env: gym.Env, kitchens: Sequence[str] = tuple(KITCHENS)) -> None:
        RecordConstructorArgs.__init__(self, kitchens=kitchens)
        gym.ObservationWrapper.__init__(self, env)
        check_kitchens(kitchens)
        below = env
        while isinstance(below, gym.Wrapper):
            if isinstance(below, ProxyReal | EditObservation):
                raise SimeditError(
                    f"{type(self).__name__} photographs the scene, and what {type(below).__name__} below it "
                    f"paints would be lost: put {type(self).__name__} right around the drawer twin"
                )
            below = below.env
        self._kitchens = tuple(kitchens)
        self._random = np.random.default_rng(0)
        self.look = draw_look(self._random, self._kitchens)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Reset the environment and draw the episode's look."""
        if seed is not None:
            self._random = np.random.default_rng(whole_number("a seed", seed))
        self.look = draw_look(self._random, self._kitchens)
        return super().reset(seed=seed, options=options)

    def render(self) -> Any:
        """The last photograph; in other render modes than "rgb_array" the environment's own."""
        return self._shown.copy() if self.render_mode == "rgb_array" else self.env.render()

    def observation(self, observation: Any) -> Any:
        """The observation with its image photographed; the one given is not changed."""
        sensors = observation["sensor_data"]
        camera = sensors["overhead_camera"]
        self._shown = self._picture(self.unwrapped.surface())  # pyright: ignore
        raw = camera["rgb"]  # an array where a wrapper below makes arrays of tensors
        picture = self._shown.reshape(raw.shape)
        camera = {**camera, "rgb": raw.new_tensor(picture) if hasattr(raw, "new_tensor") else picture.copy()}
        return {**observation, "sensor_data": {**sensors, "overhead_camera": camera}}

    def _picture(self, surface: Surface) -> np.ndarray:
        return photograph(surface, self.look, self._random)


class VisualMatching(ProxyReal):
    """Shows the drawer twin's robot and cabinet over a photograph of the place without them.

    It is that of the episode that `ProxyReal` shows for the same seed, with its light and the cabinet's
    shadow, by a camera without error of its own. Robot and cabinet are as rendered, but for what the renderer
    leaves out: the boards keep light from all around from one another, so that drawers are dark inside.

    Args:
        env, kitchens: as `ProxyReal`'s.

    Raises:
        SimeditError: an unknown kitchen, or none.

    Source: SIMPLER (arXiv 2405.05941), Visual Matching, with proxy-real in place of the real world.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """Reset the environment and take the episode's photograph."""
        self._place: np.ndarray | None = None
        return super().reset(seed=seed, options=options)

    def _picture(self, surface: Surface) -> np.ndarray:
        if self._place is None:
            look = replace(self.look, shift=(0.0, 0.0), roll=0.0, scale=1.0)
            self._place = photograph(_emptied(surface), look, self._random)
        picture = np.where((surface.kind == ROBOT)[..., None], surface.rgb, self._place)
        cabinet = surface.kind == CABINET
        points, normal = surface.world[cabinet], board_normals(surface.normal[cabinet])
        arriving = _open(points + 0.012 * normal, find_boards(surface))[:, None] ** np.float32(1 / 2.2)
        picture[cabinet] = surface.rgb[cabinet] * arriving + 0.5
        return picture


def _emptied(surface: Surface) -> Surface:
    """What the camera would see of the floor alone."""
    eye, rays = surface.camera[:3, 3].astype(np.float32), surface.rays()
    with np.errstate(divide="ignore"):
        far = np.where(rays[..., 2:] < 0, (FOOT[2] - eye[2]) / rays[..., 2:], np.nan)
    world = eye + rays * far
    kind = np.where(np.isnan(far[..., 0]), NOTHING, GROUND).astype(np.uint8)
    part, unknown_normal = np.full(kind.shape, -1, np.int16), np.full_like(world, np.nan)
    return replace(surface, kind=kind, part=part, local=world, world=world, normal=unknown_normal)


def _geometry(surface: Surface, kitchen: Kitchen) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel's place and normal, float32 [H, W, 3], and where the wall is seen, bool [H, W]."""
    eye, rays = surface.camera[:3, 3].astype(np.float32), surface.rays()
    with np.errstate(divide="ignore"):
        far = np.where(rays[..., 0] < 0, (kitchen.wall_x - eye[0]) / rays[..., 0], 10.0)
    behind = np.nan_to_num(surface.world[..., 0], nan=-np.inf) < kitchen.wall_x
    wall = behind & (surface.kind <= GROUND)
    points = np.where(wall[..., None], eye + rays * far[..., None], surface.world)
    normal = np.zeros_like(points)
    normal[surface.kind == ROBOT] = np.nan_to_num(surface.normal[surface.kind == ROBOT])
    normal[surface.kind == GROUND, 2] = 1.0
    normal[wall] = (1.0, 0.0, 0.0)
    normal[surface.kind == CABINET] = board_normals(surface.normal[surface.kind == CABINET])
    return points.astype(np.float32), normal, wall


def _painted(
    surface: Surface, kitchen: Kitchen, name: str, points: np.ndarray, normal: np.ndarray, wall: np.ndarray
) -> np.ndarray:
    """The share of light that every pixel gives back, float32 [H, W, 3]."""
    textures = maps(name)
    x, y, z = (np.ascontiguousarray(points[..., i]) for i in range(3))
    # The robot was rendered in full light from above, which leaves its colours nearly as they are.
    colour = 0.9 * (surface.rgb.astype(np.float32) / 255) ** 2.2
    floor = (surface.kind <= GROUND) & ~wall
    colour[floor] = textures["floor"].at(x, y)[floor]
    skirting = np.where(z < 0.07, np.float32(0.55), np.float32(1.0))[..., None]
    colour[wall] = (textures["wall"].at(y, z) * skirting)[wall]
    # As if every drawer were closed, so that each has its own piece of the pattern.
    heights = np.array([0.0, *DRAWER_HEIGHTS], np.float32)[np.maximum(surface.part, 0)]
    a, b, c = (np.ascontiguousarray(surface.local[..., i]) for i in range(3))
    drawer = surface.part > 0
    inner = np.where(drawer, a < 0.296, (abs(b) < 0.295) & (c < 0.846) & (a < 0.31))
    facing = abs(normal).argmax(-1)
    for axis, (key, u, v) in enumerate((("front", b, c + heights), ("side", a, c + heights), ("top", a, b))):
        here = (surface.kind == CABINET) & ~inner & (facing == axis)
        colour[here] = textures[key].at(u, v)[here]
    colour[(surface.kind == CABINET) & inner] = linear(kitchen.inside)
    colour[drawer & (a > 0.3135)] = 0.012  # the handles
    return colour


def _light(
    surface: Surface,
    kitchen: Kitchen,
    look: Look,
    points: np.ndarray,
    normal: np.ndarray,
    wall: np.ndarray,
) -> np.ndarray:
    """The light that falls on every pixel, float32 [H, W, 3]."""
    boards = find_boards(surface)
    start = points + 0.012 * normal
    main = np.array(look.light, np.float32)
    side = np.cross(main, (0.0, 0.0, 1.0))
    seen = np.zeros(surface.kind.shape, np.float32)
    for spread in (-0.06, 0.0, 0.06):  # a light has a size
        ray = main + np.float32(spread) * side.astype(np.float32)
        seen += (unblocked(start, ray, boards) & _unshaded(surface, points, ray)) / np.float32(3)
    sun = kitchen.sun * np.maximum(normal @ main, 0) * seen
    sky = kitchen.sky * _open(start, boards) * (0.8 + 0.2 * normal[..., 2])
    half = main - surface.rays()
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    shine = np.maximum((normal * half).sum(-1), 0) ** 30 * seen * (surface.kind == CABINET) * kitchen.gloss
    warm = np.array([1 + 0.15 * kitchen.warmth, 1.0, 1 - 0.15 * kitchen.warmth], np.float32)
    return (sun + shine)[..., None] * warm + (sky * np.where(wall, 0.9, 1.0))[..., None].astype(np.float32)


def _open(start: np.ndarray, boards: np.ndarray) -> np.ndarray:
    """The share of the light from all around that boards [N, 2, 3] let through to points [..., 3], float32
    [...] in 0.15..1, for some always comes back from them."""
    skies = (unblocked(start, np.array(ray, np.float32), boards) for ray in _SKY)
    return 0.15 + 0.85 * (sum(sky.astype(np.float32) for sky in skies) / np.float32(len(_SKY)))


def _unshaded(surface: Surface, points: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """Where what is seen of the robot stands not between a point [H, W, 3] and the light, bool [H, W]."""
    size, count = 0.025, 256
    ray = ray / np.linalg.norm(ray)
    across = np.cross(ray, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    down = np.cross(ray, across)
    cell = np.stack([points @ across, points @ down], -1) / size + count / 2
    cell = np.clip(cell, 0, count - 1).astype(np.int32)
    height = points @ ray
    robot = surface.kind == ROBOT
    highest = np.full((count, count), -np.inf, np.float32)
    np.maximum.at(highest, (cell[robot][:, 0], cell[robot][:, 1]), height[robot])
    highest = cv2.dilate(highest, np.ones((3, 3), np.uint8))
    return robot | (highest[cell[..., 0], cell[..., 1]] < height + 0.04)


def _develop(scene: np.ndarray, look: Look, random: np.random.Generator) -> np.ndarray:
    """The picture that lens, sensor and camera make of light, float32 [H, W, 3] -> uint8 [H, W, 3]."""
    height, width = scene.shape[:2]
    centre = (width / 2, height / 2)
    warp = cv2.getRotationMatrix2D(centre, math.degrees(look.roll), look.scale)
    warp[:, 2] += np.array(look.shift) * height
    picture = cv2.warpAffine(scene, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return develop(
        picture,
        exposure=look.exposure,
        gains=look.gains,
        vignette=look.vignette,
        blur=look.blur,
        grain=look.grain,
        random=random,
    )
