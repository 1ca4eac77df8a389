"""Proxy-real, the stand-in for a real Push-T: a photograph of the same state on a dark wooden table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from simedit.envs.push_t.camera import Camera
from simedit.envs.push_t.look import Look, draw_look
from simedit.envs.push_t.scene import AGENT_RADIUS, GOAL, REGIONS, SIDE, TEE, placed
from simedit.envs.push_t.surfaces import ORANGE, block_top, table
from simedit.envs.sensor import develop

_SUPER = 2
"""Pixels painted for each of the picture's, along a side."""
_HIGH, _TALL = 25.0, 48.0
"""Of the block and of the agent, units of the scene."""
_STEEL = np.array([0.40, 0.41, 0.43], np.float32)
_FAR, _WIDE = 1000.0, 120.0
"""Of the lamp: from the table's middle, and its radius."""
_MIDDLE = np.array([SIDE / 2, SIDE / 2, 0.0])
_UP = np.array([0.0, 0.0, 1.0])
_BROAD = 40.0
"""How narrow the window's image in the table is."""
_DISC = np.array([np.sqrt((i + 0.5) / 8) * np.array([np.cos(2.4 * i), np.sin(2.4 * i)]) for i in range(8)])
"""Points of a disc of radius 1, spread evenly: a lamp that has a size throws shadows with soft edges."""
_BITS = 4
"""Of a pixel's parts, in the points that OpenCV takes."""
_ROUND = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], -1)
_BOXES = (TEE[[0, 1, 2, 7]], TEE[[3, 4, 5, 6]])
"""The block's two halves, which are convex."""
_BLOCK, _GOAL, _AGENT = (REGIONS.index(name) for name in ("block", "goal", "agent"))
Window = tuple[slice, slice]
"""Rows and columns."""


def photograph(
    state: Sequence[float] | np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A photograph of a state, taken at a visit of its own; see `Photographer.photograph`.

    Args:
        seed: 0 or more; draws the visit's look, and the noise.
    """
    random = np.random.default_rng(seed)
    return Photographer(draw_look(random), size).photograph(state, random)


class Photographer:
    """Takes the photographs of one visit.

    Args:
        look: of the visit.
        size: of the photographs, pixels a side.
    """

    def __init__(self, look: Look, size: int) -> None:
        self.look, self.size = look, size
        self._camera = Camera(size * _SUPER, look.shift, look.roll, look.scale)
        self._unit = self._camera.size / SIDE
        self._lamp = _MIDDLE + _FAR * np.array(look.lamp)
        across = np.cross(look.lamp, (0.0, 0.0, 1.0))
        across /= np.linalg.norm(across)
        disc = np.stack([across, np.cross(across, look.lamp)])
        self._lamps = self._lamp + _WIDE * _DISC @ disc
        where = self._camera.table()
        colour, gloss = table().at(where)
        points = np.concatenate([where, np.zeros_like(where[..., :1])], -1)
        view = self._camera.eye.astype(np.float32) - points
        view /= np.linalg.norm(view, axis=-1, keepdims=True)
        mirrored = (view * np.array([-1, -1, 1], np.float32)) @ np.array(look.window, np.float32)
        shine = (look.shine * gloss * np.exp(_BROAD * (mirrored - 1)))[..., None]
        self._lit = colour * self._lamplight(points, _UP)[..., None] + 0.5 * shine
        self._dim = colour * np.float32(look.sky)
        self._free = self._lit + self._dim + 0.5 * shine
        self._goal = np.zeros(where.shape[:2], np.uint8)
        cv2.fillPoly(self._goal, [self._pixels(_at(placed(GOAL), 0))], _GOAL, shift=_BITS)

    def photograph(
        self, state: Sequence[float] | np.ndarray, random: np.random.Generator
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The scene as the camera shows it.

        Args:
            state: [5], the agent's x and y, the block's x, y and angle, as gym-pusht's.
            random: draws the sensor's noise, of this frame alone.

        Returns:
            the frame, uint8 [size, size, 3], and what it shows where: bool [size, size] for each of
            `simedit.envs.push_t.scene.REGIONS`, of one of which each pixel is. Shadows are of what they fall
            on.
        """
        agent, pose = np.asarray(state[:2], np.float64), np.asarray(state[2:5], np.float64)
        boxes, ring = [placed(pose, box) for box in _BOXES], agent + AGENT_RADIUS * _CIRCLE
        light, label = self._free.copy(), self._goal.copy()
        self._paint_table(light, placed(pose), boxes, ring)
        parts = [
            lambda: self._paint_agent(light, label, agent),
            lambda: self._paint_block(light, label, pose, ring),
        ]
        # Of two solids that nearer to the point below the camera hides the other.
        nearest = min(boxes, key=lambda box: float(np.linalg.norm(box.mean(0) - agent))).mean(0)
        if (agent - nearest) @ (agent - self._camera.eye[:2]) < 0:
            parts.reverse()
        for paint in parts:
            paint()
        return self._developed(light, random), self._regions(label)

    # Light

    def _lamplight(self, points: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """The lamp's light on points [..., 3] with normals [3] or [..., 3], float32 [...]; 1 in the table's
        middle, facing the lamp."""
        way = self._lamp - points
        far = np.linalg.norm(way, axis=-1)
        facing = np.maximum((way * normal).sum(-1) / far, 0)
        return (facing * (_FAR / far) ** 2).astype(np.float32)

    def _thrown(self, outline: np.ndarray, high: float, height: float) -> np.ndarray:
        """The corners of the shadows that a solid on the table throws at a height, one for each point of the
        lamp: `_pixels` [L, 2 N, 2]; a shadow is their convex hull.

        Args:
            outline: of the solid, convex, [N, 2].
            high: how high it is.
        """
        lamps = self._lamps[:, None]
        far = outline + (outline - lamps[..., :2]) * (high - height) / (lamps[..., 2:] - high)
        return self._pixels(_at(np.concatenate([np.broadcast_to(outline, far.shape), far], 1), height))

    def _hidden(self, thrown: Sequence[np.ndarray], here: Window) -> np.ndarray:
        """The share of the lamp that is not seen from a part of the picture, float32 [h, w, 1].

        Args:
            thrown: of `_thrown`, for each solid.
        """
        dark = _empty(here)
        step = 255 // len(self._lamps)
        for i in range(len(self._lamps)):
            one = np.zeros_like(dark)
            for corners in thrown:
                cv2.fillConvexPoly(one, cv2.convexHull(_within(corners[i], here)), step, shift=_BITS)
            dark += one
        soft = cv2.GaussianBlur(dark, (0, 0), max(1.5 * self._unit, 0.5))
        return soft[..., None].astype(np.float32) / (step * len(self._lamps))

    def _paint_table(
        self, light: np.ndarray, block: np.ndarray, boxes: list[np.ndarray], ring: np.ndarray
    ) -> None:
        """Shadows, and the block's sides as the table mirrors them."""
        solids = [*((box, _HIGH) for box in boxes), (ring, _TALL)]
        thrown = [self._thrown(outline, high, 0) for outline, high in solids]
        here = self._around(np.concatenate(thrown, 1), 24 * self._unit)
        feet, mirrored = _empty(here), _empty(here)
        if not feet.size:
            return  # it was pushed out of the picture
        for outline, strength in ((block, 190), (ring, 150)):
            cv2.fillPoly(feet, [_within(self._pixels(_at(outline, 0)), here)], strength, shift=_BITS)
        near = cv2.GaussianBlur(feet, (0, 0), 10 * self._unit)[..., None].astype(np.float32) / 255
        for quad in self._pixels(_quads(self._facing(block)[0], 0, -_HIGH)):
            cv2.fillConvexPoly(mirrored, _within(quad, here), 255, shift=_BITS)
        soft = cv2.GaussianBlur(mirrored, (0, 0), 2 * self._unit)[..., None].astype(np.float32) / 255
        hidden = self._hidden(thrown, here)
        light[here] += soft * (0.035 * ORANGE) - self._lit[here] * hidden - self._dim[here] * near

    # Solids

    def _facing(self, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The faces of an outline [N, 2] (as `TEE` runs) that the camera sees: ends [K, 2, 2] and unit
        normals [K, 3]."""
        ends = np.stack([outline, np.roll(outline, -1, 0)], 1)
        way = ends[:, 1] - ends[:, 0]
        normal = np.stack([way[:, 1], -way[:, 0]], -1) / np.linalg.norm(way, axis=-1, keepdims=True)
        seen = ((self._camera.eye[:2] - ends[:, 0]) * normal).sum(-1) > 0
        return ends[seen], np.concatenate([normal, np.zeros((len(way), 1))], -1)[seen]

    def _paint(self, light: np.ndarray, corners: np.ndarray, colours: np.ndarray) -> None:
        """Convex polygons, corners [K, N, 3] of the scene, in colours [K, 3]."""
        for polygon, colour in zip(self._pixels(corners), colours.tolist(), strict=True):
            cv2.fillConvexPoly(light, polygon, colour, shift=_BITS)

    def _paint_block(self, light: np.ndarray, label: np.ndarray, pose: np.ndarray, ring: np.ndarray) -> None:
        block, look = placed(pose), self.look
        ends, normals = self._facing(block)
        lamp = self._lamplight(_at(ends.mean(1), _HIGH / 2), normals)[:, None]
        for low, high, dark in ((0.0, 0.2, 0.4), (0.2, 0.55, 0.6), (0.55, 1.0, 0.75)):
            quads = _quads(ends, low * _HIGH, high * _HIGH)
            self._paint(light, quads, ORANGE * (lamp + dark * look.sky) * (0.75 + 0.25 * high))
        for quad in self._pixels(_quads(ends, 0, _HIGH)):
            cv2.fillConvexPoly(label, quad, _BLOCK, shift=_BITS)
        top = self._pixels(_at(block, _HIGH))
        here = self._around(top, 1)
        shown = _empty(here)
        if not shown.size:
            return
        cv2.fillPoly(shown, [_within(top, here)], 1, shift=_BITS)
        face = block_top(max(1, math.ceil(2 * self._unit)))
        corners = _within(self._pixels(_at(placed(pose, face.corners), _HIGH)), here) / (1 << _BITS)
        to = cv2.getPerspectiveTransform(face.texels, corners.astype(np.float32))
        turn = np.eye(3)
        turn[:2, :2] = placed((0, 0, pose[2]), np.eye(2))
        lamp = self._lamplight(np.append(block.mean(0), _HIGH), face.normal @ turn)
        lit, dim = (
            cv2.warpPerspective(part, to, shown.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
            for part in (face.colour * lamp[..., None], face.colour * look.sky + 0.5 * look.shine)
        )
        hidden = self._hidden([self._thrown(ring, _TALL, _HIGH)], here)
        light[here][shown > 0] = (lit * (1 - hidden) + dim)[shown > 0]
        label[here][shown > 0] = _BLOCK

    def _paint_agent(self, light: np.ndarray, label: np.ndarray, agent: np.ndarray) -> None:
        sky, body = self.look.sky, _TALL - 4
        towards = (self._lamp[:2] - agent) / np.linalg.norm(self._lamp[:2] - agent)
        ring, inner = (agent + radius * _CIRCLE for radius in (AGENT_RADIUS, AGENT_RADIUS - 2.5))
        ends, normals = self._facing(ring)
        lamp = self._lamplight(_at(ends.mean(1), body / 2), normals)
        gleam = 0.5 * np.exp(-12 * (1 - normals[:, :2] @ towards)) + 0.25 * np.exp(-9 * (1 + normals[:, 0]))
        for low, high, dark in ((0.0, 0.12, 0.15), (0.12, 0.3, 0.5), (0.3, 1.0, 0.7)):
            shade = 0.5 * lamp + dark * sky + gleam * min(1.0, 3 * high)
            self._paint(light, _quads(ends, low * body, high * body), _STEEL * shade[:, None])
        outer, within = (np.stack([one, np.roll(one, -1, 0)], 1) for one in (ring, inner))
        corners = np.concatenate([_at(outer, body), _at(within[:, ::-1], _TALL)], 1)
        slope = np.concatenate([_CIRCLE, np.ones((len(_CIRCLE), 1))], -1) / math.sqrt(2)
        lamp = self._lamplight(_at(ring, body), slope)[:, None]
        self._paint(light, corners, _STEEL * (0.9 * lamp + 0.6 * sky))
        flat = float(self._lamplight(np.append(agent, _TALL), _UP))
        radii, shades = np.array([AGENT_RADIUS - 2.5, 8.0, 6.5, 2.5]), np.array([0.75, 0.3, 0.55, 0.08])
        discs = agent + radii[:, None, None] * _CIRCLE
        self._paint(light, _at(discs, _TALL), _STEEL * (shades * (flat + sky))[:, None])
        hull = self._pixels(np.concatenate([_at(ring, 0), _at(ring, body), _at(inner, _TALL)]))
        cv2.fillConvexPoly(label, cv2.convexHull(hull), _AGENT, shift=_BITS)

    # Pictures

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        """Where points [..., 3] of the scene are seen, as OpenCV takes it: int32, in parts of a pixel."""
        return np.rint((self._camera.project(points) - 0.5) * (1 << _BITS)).astype(np.int32)

    def _around(self, pixels: np.ndarray, margin: float) -> Window:
        """What of the picture holds points of `_pixels` [..., 2], and so many pixels around them."""
        inner = pixels.reshape(-1, 2) >> _BITS
        left, top = np.clip(inner.min(0) - math.ceil(margin), 0, self._camera.size).tolist()
        right, bottom = np.clip(inner.max(0) + math.ceil(margin) + 2, 0, self._camera.size).tolist()
        return slice(top, bottom), slice(left, right)

    def _regions(self, label: np.ndarray) -> dict[str, np.ndarray]:
        size = (self.size, self.size)
        shares = [
            cv2.resize((label == number).astype(np.uint8) * 252, size, interpolation=cv2.INTER_AREA)
            for number in range(len(REGIONS))
        ]
        largest = np.argmax(shares, 0)
        return {name: largest == number for number, name in enumerate(REGIONS)}

    def _developed(self, light: np.ndarray, random: np.random.Generator) -> np.ndarray:
        look = self.look
        picture = develop(
            cv2.resize(light, (self.size, self.size), interpolation=cv2.INTER_AREA),
            exposure=look.exposure,
            gains=look.gains,
            vignette=look.vignette,
            blur=look.blur,
            grain=look.grain,
            random=random,
        )
        _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, look.quality])
        return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1])


def _at(outline: np.ndarray, height: float) -> np.ndarray:
    """Points [..., 2] of the table so high above it, [..., 3]."""
    return np.concatenate([outline, np.full((*outline.shape[:-1], 1), height)], -1)


def _empty(here: Window) -> np.ndarray:
    return np.zeros([part.stop - part.start for part in here], np.uint8)


def _within(pixels: np.ndarray, here: Window) -> np.ndarray:
    """Points of `Photographer._pixels`, from the corner of a part of the picture."""
    return pixels - (np.array([here[1].start, here[0].start], np.int32) << _BITS)


def _quads(ends: np.ndarray, low: float, high: float) -> np.ndarray:
    """Upright rectangles over ends [K, 2, 2] from one height to another, [K, 4, 3]."""
    return np.concatenate([_at(ends, low), _at(ends[:, ::-1], high)], 1)
