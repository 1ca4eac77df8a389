"""What pushes do to the T of Push-T, and which of them bring it to its goal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import shapely

AGENT = 15.0
"""Radius of the agent, pixels of 0..512, as are all lengths here."""
GOAL = np.array([256.0, 256.0, np.pi / 4])
"""gym-pusht's, as a pose: where the T's own origin lies, and its angle in radians."""
OUTLINE = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], np.float64
)
"""The T's corners about its own origin."""
ROOM = 512.0

_SPACING = 8  # between the places where it is pushed
_GAP = 1.5  # between T and agent, before a push
_AWAY = 7.0  # between them on the way
_SPEEDS = (
    (30.0, 12),
    (6.0, 10),
    (2.5, 10),
)  # how far ahead of the agent its target is; steps
_LEAST = 0.15  # pushes that move less are none
_TRAVEL = 18.0  # pixels a step, on the way
_DIRECT = 30.0  # no way around is needed below
_CHANGE = 2.0  # steps that a new push costs besides
_DEPTH, _BEAM, _EACH = 3, 40, 2
_CLOSE = 1.2  # pixels off, on average: surely within what the task asks
_FAILED = 60.0  # steps that not being close costs


def place(pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Where points [N, 2] of a body with that pose (x, y, angle) are, [N, 2]."""
    return turn(pose[2], points) + pose[:2]


def turn(angle: float, vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, 2], turned."""
    c, s = np.cos(angle), np.sin(angle)
    return vectors @ np.array([[c, s], [-s, c]])


def off(poses: np.ndarray, goal: np.ndarray = GOAL) -> np.ndarray:
    """How far the T's corners are from where they would be, root mean square, [...], for poses [..., 3]."""
    middle = OUTLINE.mean(0)
    spread = ((OUTLINE - middle) ** 2).sum(1).mean()
    c, s = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    x, y = place(goal, middle[None])[0]
    dx = poses[..., 0] + c * middle[0] - s * middle[1] - x
    dy = poses[..., 1] + s * middle[0] + c * middle[1] - y
    return np.sqrt(dx**2 + dy**2 + 2 * spread * (1 - np.cos(poses[..., 2] - goal[2])))


class Physics:
    """gym-pusht's physics, set to any state and stepped without its pictures and rewards."""

    def __init__(self) -> None:
        from gym_pusht.envs.pusht import PushTEnv

        env = PushTEnv(obs_type="state")
        env._setup()
        self._agent, self._block, self._space = env.agent, env.block, env.space

    def set(self, agent: np.ndarray, velocity: np.ndarray, pose: np.ndarray) -> None:
        """Begin there, with the T at rest."""
        self._block.angle = float(pose[2])  # first, for it turns the T about its centre of gravity
        self._block.position = tuple(map(float, pose[:2]))
        self._block.velocity, self._block.angular_velocity = (0, 0), 0
        self._agent.position, self._agent.velocity = tuple(map(float, agent)), tuple(map(float, velocity))
        for body in (self._agent, self._block):
            self._space.reindex_shapes_for_body(body)

    def step(self, target: np.ndarray) -> None:
        """One step of the environment towards a target, [2]."""
        agent, (x, y) = self._agent, map(float, target)
        for _ in range(10):
            at, speed = agent.position, agent.velocity
            agent.velocity = (
                speed.x + (100 * (x - at.x) - 20 * speed.x) * 0.01,
                speed.y + (100 * (y - at.y) - 20 * speed.y) * 0.01,
            )
            self._space.step(0.01)

    @property
    def agent(self) -> np.ndarray:
        return np.array(self._agent.position)

    @property
    def pose(self) -> np.ndarray:
        return np.array([*self._block.position, self._block.angle])


@dataclass(frozen=True)
class Push:
    """One push of a plan.

    Attributes:
        contact: the number of the place on the T that is pushed.
        end: the pose in which it leaves the T, [3].
    """

    contact: int
    end: np.ndarray


class Pushes:
    """All pushes, straight against an edge; what one does to the T is the same wherever that lies.

    Attributes:
        before: where the agent stands before each of C, about the T's origin, [C, 2].
        inwards: the directions pushed in, [C, 2].
    """

    def __init__(self, physics: Physics) -> None:
        solid = shapely.Polygon(OUTLINE)
        points, outwards = _contacts()
        free = [solid.distance(shapely.Point(p)) >= AGENT for p in points + outwards * (AGENT + 1)]
        self.before, self.inwards = points[free] + outwards[free] * (AGENT + _GAP), -outwards[free]
        self._around = solid.buffer(AGENT + _AWAY, join_style="mitre").convex_hull.exterior
        self._along, self._out = self._on_way(self.before)
        rows, ends = self._measure(physics)
        self._contact, self._steps, self._moves = rows[:, 0].astype(int), rows[:, 1], rows[:, 2:]
        self._next = np.stack([self.ways(end) for end in ends])

    def plan(self, agent: np.ndarray, pose: np.ndarray, without: frozenset[int]) -> list[Push]:
        """The pushes, at most three, that bring the T nearest to its goal soonest; none if none is possible.

        Args:
            agent: [2].
            pose: of the T, [3].
            without: contacts that the first push is none of.
        """
        here = turn(-pose[2], (agent - pose[:2])[None])[0]
        poses, spent, ways, plans = pose[None], np.zeros(1), self.ways(here)[None], [[]]
        found: list[Push] = []
        least = np.inf
        for _ in range(_DEPTH):
            ends = _after(poses, self._moves)
            steps = spent[:, None] + ways[:, self._contact] / _TRAVEL + self._steps + _CHANGE
            left = np.maximum(off(ends) - _CLOSE, 0)
            costs = steps + left + _FAILED * np.minimum(left / 2, 1)
            may = self._reachable(poses)[:, self._contact] & _inside(ends)
            if not plans[0]:
                may &= ~np.isin(self._contact, list(without))
            costs = np.where(may, costs, np.inf)
            kept = self._varied(costs, plans)
            if not kept:
                break
            plans = [[*plans[a], Push(int(self._contact[b]), ends[a, b])] for a, b in kept]
            if costs[kept[0]] < least:
                least, found = costs[kept[0]], plans[0]
            poses, spent = np.stack([ends[at] for at in kept]), np.array([steps[at] for at in kept])
            ways = np.stack([self._next[b] for _, b in kept])
        return found

    def ways(self, start: np.ndarray) -> np.ndarray:
        """About how far it is to each contact, [C], from a place about the T's origin, [2]."""
        (along,), (out,) = self._on_way(start[None])
        apart = np.abs(along - self._along)
        around = np.minimum(apart, self._around.length - apart) + self._out + out
        direct = np.hypot(*(self.before - start).T)
        return np.where(direct < _DIRECT, direct, around)

    def _on_way(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = shapely.points(points)
        return shapely.line_locate_point(self._around, places), shapely.distance(self._around, places)

    def _measure(self, physics: Physics) -> tuple[np.ndarray, np.ndarray]:
        """Every push once: contact, steps, move of the T, [M, 5]; and where it leaves the agent, [M, 2]."""
        rows, ends = [], []
        start = np.array([ROOM / 2, ROOM / 2, 0.0])
        for contact, (before, inwards) in enumerate(zip(self.before, self.inwards, strict=True)):
            for ahead, most in _SPEEDS:
                physics.set(before + start[:2], np.zeros(2), start)
                for step in range(most):
                    physics.step(physics.agent + inwards * ahead)
                    move = physics.pose - start
                    if np.abs(move).max() > _LEAST:
                        rows.append([contact, step + 1, *move])
                        ends.append(turn(-move[2], (physics.agent - physics.pose[:2])[None])[0])
        return np.array(rows), np.array(ends)

    def _reachable(self, poses: np.ndarray) -> np.ndarray:
        """bool [A, C]: whether the agent, which keeps to the room, can stand before each contact."""
        standing = np.stack([place(pose, self.before) for pose in poses])
        return ((standing > 2) & (standing < ROOM - 2)).all(-1)

    def _varied(self, costs: np.ndarray, plans: list[list[Push]]) -> list[tuple[int, int]]:
        """The best of [A, M], at most _EACH with the same first and last contact."""
        kept: list[tuple[int, int]] = []
        counts: dict[Any, int] = {}
        for flat in np.argsort(costs, axis=None)[: _BEAM * 6]:
            a, b = divmod(int(flat), costs.shape[1])
            if not np.isfinite(costs[a, b]) or len(kept) == _BEAM:
                break
            last = int(self._contact[b])
            key = (plans[a][0].contact if plans[a] else last, last)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= _EACH:
                kept.append((a, b))
        return kept


@cache
def all_pushes() -> Pushes:
    """The `Pushes`, which take half a second to measure."""
    return Pushes(Physics())


def _contacts() -> tuple[np.ndarray, np.ndarray]:
    """Points on the T's edges and the outward normals there, [C, 2] each."""
    points, normals = [], []
    for begin, end in zip(OUTLINE, np.roll(OUTLINE, -1, 0), strict=True):
        length = np.hypot(*(end - begin))
        along = (end - begin) / length
        count = round(length / _SPACING)
        points += [begin + along * length * (i + 0.5) / count for i in range(count)]
        normals += [(along[1], -along[0])] * count
    return np.array(points), np.array(normals)


def _after(poses: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """[A, M, 3]: poses [A, 3] after moves [M, 3] about the T's own axes."""
    x, y, angle = (poses[:, i, None] for i in range(3))
    c, s = np.cos(angle), np.sin(angle)
    dx, dy, turned = moves.T
    return np.stack([x + c * dx - s * dy, y + s * dx + c * dy, angle + turned], -1)


def _inside(poses: np.ndarray) -> np.ndarray:
    """bool [...]: whether a T of pose [..., 3] lies between the walls."""
    c, s = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    inside = np.ones(poses.shape[:-1], bool)
    for a, b in OUTLINE:
        x, y = poses[..., 0] + c * a - s * b, poses[..., 1] + s * a + c * b
        inside &= (np.minimum(x, y) > 7) & (np.maximum(x, y) < ROOM - 7)
    return inside
