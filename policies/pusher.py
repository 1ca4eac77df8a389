"""An expert of Push-T: it plans pushes in gym-pusht's own physics, from privileged state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import scipy.sparse
import shapely
from scipy.sparse.csgraph import dijkstra

from simedit.errors import SimeditError
from simedit.policies.pushes import AGENT, GOAL, OUTLINE, ROOM, Physics, all_pushes, off, place, turn

_AHEAD = 40.0  # how far ahead of the agent its target is, on the way
_ARRIVED = 5.0
_TOO_LONG = 80  # steps
_SPEEDS = (30.0, 15.0, 8.0, 4.0, 2.0)  # as _AHEAD, in a push
_FORESIGHT = 12  # steps
_GAIN = 0.1  # pixels that a push must bring, to go on
_LONGEST = 25  # steps


@dataclass
class _Doing:
    """A push, from the way to it on."""

    contact: int
    target: np.ndarray
    inwards: np.ndarray
    way: np.ndarray
    along: float = 0.0
    travelled: int = 0
    pushed: int = 0
    best: float = field(default=np.inf)


class Pusher:
    """Pushes the T onto its goal without looking at frames; a `simedit.protocols.Policy`.

    It searches for up to three pushes that end nearest to the goal, goes around the T to the first, pushes as
    long and as fast as its model says is best, and plans anew. It draws nothing: an action follows from the
    episode so far.

    Args:
        state: the environment's state now, float [7]: the agent's place and velocity, x and y each, and the
            T's pose, x, y and angle; pixels of 0..512, a second, radians.

    Source: our own; the task is that of arXiv 2303.04137.
    """

    uses_images = False

    def __init__(self, state: Callable[[], np.ndarray]) -> None:
        self._state = state
        self._physics = Physics()
        self.reset("")

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode. `instruction` and `seed` are not read: there is one task and no noise."""
        self._doing: _Doing | None = None
        self._failed: frozenset[int] = frozenset()

    def act(self, frame: np.ndarray) -> np.ndarray:
        """Where the agent is to go, float32 [2]; `frame` is ignored.

        Raises:
            SimeditError: a state that is none.
        """
        state = np.asarray(self._state(), np.float64)
        if state.shape != (7,) or not np.isfinite(state).all():
            raise SimeditError(f"the pusher needs seven finite numbers of state, not {state.tolist()}")
        agent, velocity, pose = state[:2], state[2:4], state[4:]
        target = agent
        for _ in range(2):  # a push that is over makes way for the next one
            self._doing = self._doing or self._planned(agent, pose)
            if self._doing is None:
                break
            on_way = self._travel(self._doing, agent)
            pushed = on_way if on_way is not None else self._push(self._doing, agent, velocity, pose)
            if pushed is not None:
                target = pushed
                break
        return np.clip(target, 0, ROOM).astype(np.float32)

    def _planned(self, agent: np.ndarray, pose: np.ndarray) -> _Doing | None:
        pushes = all_pushes()
        plan = pushes.plan(agent, pose, self._failed)
        if not plan:
            return None
        contact = plan[0].contact
        before = place(pose, pushes.before[contact][None])[0]
        return _Doing(
            contact=contact,
            target=GOAL if len(plan) == 1 else plan[0].end,
            inwards=turn(pose[2], pushes.inwards[contact][None])[0],
            way=_way(agent, before, pose),
        )

    def _travel(self, doing: _Doing, agent: np.ndarray) -> np.ndarray | None:
        """The target on the way to where the push begins; None once it is there."""
        if doing.pushed:
            return None
        lengths = np.concatenate([[0], np.hypot(*np.diff(doing.way, axis=0).T).cumsum()])
        near = np.linspace(doing.along, min(lengths[-1], doing.along + 60), 60)
        doing.along = near[np.argmin(((_on(doing.way, lengths, near) - agent) ** 2).sum(1))]
        doing.travelled += 1
        if lengths[-1] - doing.along < _ARRIVED or doing.travelled > _TOO_LONG:
            return None
        return _on(doing.way, lengths, np.array([min(lengths[-1], doing.along + _AHEAD)]))[0]

    def _push(
        self, doing: _Doing, agent: np.ndarray, velocity: np.ndarray, pose: np.ndarray
    ) -> np.ndarray | None:
        """The target that pushes on; None where that brings nothing more."""
        now = float(off(pose, doing.target))
        if doing.pushed == 0:
            doing.best = now
        haste = min(0.15, 0.01 * now)  # pixels that a step more must be worth
        least, ahead, nearest = np.inf, 0.0, now
        for speed in _SPEEDS:
            self._physics.set(agent, velocity, pose)
            for step in range(_FORESIGHT):
                self._physics.step(np.clip(self._physics.agent + doing.inwards * speed, 0, ROOM))
                then = float(off(self._physics.pose, doing.target))
                if then + haste * (step + 1) < least:
                    least, ahead, nearest = then + haste * (step + 1), speed, then
                if then > now + 6:
                    break
        doing.pushed += 1
        if (nearest > now - _GAIN and doing.pushed > 1) or doing.pushed > _LONGEST:
            # The same push again would bring as little: another has its turn.
            helped = now < doing.best - _GAIN
            self._failed = frozenset() if helped else self._failed | {doing.contact}
            self._doing = None
            return None
        return agent + doing.inwards * ahead


def _on(way: np.ndarray, lengths: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Points [N, 2] on a way [W, 2], so far [N] along it; its corners are `lengths` [W] along."""
    return np.stack([np.interp(along, lengths, way[:, i]) for i in range(2)], -1)


def _way(start: np.ndarray, end: np.ndarray, pose: np.ndarray, away: float = 7.0) -> np.ndarray:
    """The shortest way around the T, [W, 2], that leaves `away` pixels between them where there is room."""
    block = shapely.Polygon(place(pose, OUTLINE))
    wide = block.buffer(AGENT + away, join_style="mitre")
    core = block.buffer(AGENT + away - 1.5, join_style="mitre")
    first, last = (_outside(point, block, wide, away) for point in (start, end))
    corners = [np.array(corner) for corner in wide.exterior.coords[:-1]]
    nodes = [first, last, *(c for c in corners if c.min() > 5 and c.max() < ROOM - 5)]
    lengths = np.zeros((len(nodes), len(nodes)))
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes[:i]):
            if not core.intersects(shapely.LineString([a, b])):
                lengths[i, j] = max(np.hypot(*(a - b)), 1e-6)
    _, before = dijkstra(
        scipy.sparse.csr_matrix(lengths), directed=False, indices=0, return_predecessors=True
    )
    middle, at = [last], 1
    while at > 0:
        at = int(before[at])
        middle.append(nodes[max(at, 0)])
    way = [start, *middle[::-1], end]
    return np.array([a for a, b in pairwise(way) if np.hypot(*(a - b)) > 1e-6] + [end])


def _outside(point: np.ndarray, block: shapely.Polygon, wide: shapely.Polygon, away: float) -> np.ndarray:
    """The point, or where it leaves what is too near the T, straight away from it."""
    at = shapely.Point(point)
    if not wide.contains(at):
        return point
    near = np.array(block.exterior.interpolate(block.exterior.project(at)).coords[0])
    straight = near + (point - near) / max(np.hypot(*(point - near)), 1e-6) * (AGENT + away + 1)
    if not wide.contains(shapely.Point(straight)):
        return straight
    return np.array(wide.exterior.interpolate(wide.exterior.project(at)).coords[0])
