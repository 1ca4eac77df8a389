"""Which pixels of gym-pusht's flat frames show what: masks from the colours alone.

What gym-pusht 0.1.8 draws, on 512 x 512 pixels without antialiasing, and then resizes bilinearly: on white
the goal; the agent, a disc with a lighter middle; the block, with a darker outline that reaches some two
pixels beyond its polygon; the walls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from itertools import combinations, product
from typing import Any

import cv2
import numpy as np

from simedit.envs.push_t.scene import REGIONS, SIDE
from simedit.errors import SimeditError
from simedit.observations import find_image_key, get_path, what

_COLOURS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "background": ((255, 255, 255),),
    "block": ((143, 163, 184), (119, 136, 153)),
    "goal": ((144, 238, 144),),
    "agent": ((78, 126, 255), (65, 105, 225)),
    "walls": ((211, 211, 211), (243, 243, 243)),  # to where white begins
}
"""A pixel that shows one thing alone has its colour, or lies between its two."""
_KINDS = tuple(_COLOURS)
_BACKGROUND, _BLOCK, *_, _WALLS = range(len(_KINDS))
_MIXED = len(_KINDS)
_BORDER = 9 / SIDE
"""Share of the frame from its border on that walls may take; elsewhere their grey is a mixture."""
_PURE = 12.0
"""Levels that a pixel may be from its kind's colours: a video's codec moves it so far."""
_NEIGHBOURS = 5
"""Pixels a side of the square in which whatever shares in a pixel shows unmixed."""
_ABSENT = 100.0
"""Levels that a mixture is farther for each of its two kinds that does not show nearby."""
_WEIGHED = np.array([[0.51, -0.1, 0.3], [1.0, -0.2, -0.25], [0.19, 0.3, -0.05]], np.float32)
"""From red, green, blue to brightness and JPEG's two differences of colour, which count for less: a video's
codec keeps every fourth pixel of them."""
_UNLIKE, _FEW = 25.0, 0.01
"""Levels from any mixture that no render is, not after a codec either, but for so few of its pixels."""


def regions(frame: np.ndarray) -> dict[str, np.ndarray]:
    """Where a frame shows what, bool [H, W] for each of `simedit.envs.push_t.scene.REGIONS`.

    Every pixel is of one region: of that whose colour has the larger share in it. A mixture of two colours
    may look like a third (the agent's edge on white like the block); it is one of what shows unmixed nearby,
    where that can be. The walls are of the background.

    Args:
        frame: uint8 [H, W, 3], a whole observation of gym-pusht, of any size, also after a video's codec.

    Raises:
        SimeditError: another shape or dtype, or no such flat render.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.shape[2:] != (3,):
        raise SimeditError(f"the masks of Push-T are of one frame, uint8 [H, W, 3], got {what(frame)}")
    red, green, blue = (frame[..., i].astype(np.int32) >> 2 for i in range(3))
    kind = _table()[red << 12 | green << 6 | blue]
    border = _border(*kind.shape)
    kind[(kind == _WALLS) & ~border] = _MIXED
    grey = (kind == _BLOCK).astype(np.uint8)
    body = cv2.dilate(cv2.erode(grey, np.ones((3, 3), np.uint8)), np.ones((5, 5), np.uint8))
    kind[grey > body] = _MIXED  # the edge of something else, which is as grey
    mixed = kind == _MIXED
    kind[mixed], distance = _larger(frame[mixed], _absent(kind)[:, mixed], border[mixed])
    unlike = (distance > _UNLIKE**2).sum() / kind.size
    if unlike > _FEW:
        raise SimeditError(
            f"this frame is no flat render of gym-pusht: {max(unlike, 0.01):.0%} of its pixels have other "
            "colours than its table, walls, block, goal and agent. Masks of photographs and of edited frames "
            "must come from elsewhere"
        )
    kind[kind == _WALLS] = _BACKGROUND
    return {name: kind == number for number, name in enumerate(REGIONS)}


def region(name: str, given: Any) -> np.ndarray:
    """The mask of one region, bool [H, W], of a frame or of an observation that holds one; as `regions`.

    `background`, `block`, `goal` and `agent` of this module are this function for that region.
    """
    frame = get_path(given, find_image_key(given)) if isinstance(given, Mapping) else given
    return regions(frame)[name]


_Mask = Callable[[Any], np.ndarray]
background: _Mask = partial(region, "background")
block: _Mask = partial(region, "block")
goal: _Mask = partial(region, "goal")
agent: _Mask = partial(region, "agent")


@cache
def _table() -> np.ndarray:
    """What a pixel shows, by the upper six bits of its red, green and blue: the number of one of `_KINDS`, or
    _MIXED; uint8 [2^18]."""
    steps = np.arange(2, 256, 4, dtype=np.float32)
    colours = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    own = np.stack([_mixture(colours, _point(ends[0]), _point(ends[-1]))[0] for ends in _COLOURS.values()])
    return np.where(own.min(0) <= _PURE**2, own.argmin(0), _MIXED).astype(np.uint8)


@lru_cache(4)
def _border(height: int, width: int) -> np.ndarray:
    """Where walls may be, bool [H, W]."""
    down, across = ((np.arange(n) + 0.5) / n for n in (height, width))
    return (np.minimum(down, 1 - down) < _BORDER)[:, None] | (np.minimum(across, 1 - across) < _BORDER)


def _point(colour: tuple[int, int, int]) -> np.ndarray:
    return np.array(colour, np.float32)


def _mixture(colours: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far colours [N, 3] are from mixtures of two, squared, and the share of the second in the nearest,
    float32 [N] both."""
    way = end - start
    share = np.clip((colours - start) @ way / max(float(way @ way), 1.0), 0, 1)
    return ((colours - start - share[:, None] * way) ** 2).sum(-1), share


def _absent(kind: np.ndarray) -> np.ndarray:
    """Whether each kind shows nowhere near a pixel, bool [5, H, W]."""
    square = np.ones((_NEIGHBOURS, _NEIGHBOURS), np.uint8)
    return np.stack([cv2.dilate((kind == k).astype(np.uint8), square) == 0 for k in range(len(_KINDS))])


def _larger(colours: np.ndarray, absent: np.ndarray, border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kind with the larger share in each of the mixed colours, uint8 [N], and how far the colour is from
    any mixture, squared, float32 [N].

    Args:
        colours: uint8 [N, 3].
        absent: bool [5, N], of `_absent`.
        border: bool [N], where walls may be.
    """
    colours = colours @ _WEIGHED
    least, nearest = (np.full(len(colours), np.inf, np.float32) for _ in range(2))
    kind = np.zeros(len(colours), np.uint8)
    for a, b in combinations(range(len(_KINDS)), 2):
        unlikely = _ABSENT**2 * (absent[a].astype(np.float32) + absent[b])
        if b == _WALLS:
            unlikely[~border] = np.inf
        for start, end in product(_COLOURS[_KINDS[a]], _COLOURS[_KINDS[b]]):
            distance, share = _mixture(colours, _point(start) @ _WEIGHED, _point(end) @ _WEIGHED)
            nearest = np.minimum(nearest, distance)
            better = distance + unlikely < least
            least = np.where(better, distance + unlikely, least)
            kind = np.where(better, np.where(share > 0.5, b, a), kind).astype(np.uint8)
    return kind, nearest
