"""A scripted expert that opens and closes the drawers from privileged state, with graded handicaps."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from simedit.errors import SimeditError
from simedit.protocols import Action, DrawerState

_MAX_MOVE = 0.1
"""Clip of each component of a step's motion, metres."""
_MAX_TURN = 0.4
"""Clip of each component of a step's rotation, radians."""
_MAX_STEPS = 60
_MAX_NOISE = 100
"""Far beyond what leaves anything of the expert, and not beyond float32."""
_FINGER_RANGE = 1.31
"""How far a gripper action of 1 moves the fingers, radians."""

# The tool points down towards the cabinet, the fingers above one another. Steep is good: the upper finger
# hooks deeper, and the forearm stays clear of the robot's own mast. But the low and far drawers are out of
# reach that way, so beyond _NEAR metres from the mast at shoulder height the tool flattens with distance.
_STEEPEST, _FLATTEST = math.radians(50), math.radians(35)
_SHOULDER = 0.7
_NEAR, _FLATTEN = 0.98, math.radians(240)
_ASIDE = 0.1


@dataclass(frozen=True)
class _Stage:
    """Move the tool centre point to `goal`, relative to the handle in world axes (metres).

    The stage is over after at least `steps` steps, within `near` metres and `turned` radians of its goal.
    """

    goal: tuple[float, float, float]
    fingers: float
    near: float = 0.03
    turned: float = math.inf
    steps: int = 0


_STAGES = {
    # The handles cannot be touched: the upper finger enters over the front's edge, closes behind it, pulls.
    "open": (
        _Stage((0.1, 0.0, 0.05), fingers=0.3, turned=0.2),
        _Stage((-0.053, 0.0, 0.02), fingers=0.3, near=0.02),
        _Stage((-0.053, 0.0, -0.005), fingers=0.65, near=0.02, steps=3),
        _Stage((0.3, 0.0, -0.01), fingers=0.65, near=0.0),
    ),
    # Nearly closed fingers push the front without pressing on each other.
    "close": (
        _Stage((0.06, 0.0, 0.0), fingers=0.8),
        _Stage((-0.3, 0.0, 0.0), fingers=0.8, near=0.0),
    ),
}


class ScriptedExpert:
    """Opens and closes all three drawers without looking at frames; a `simedit.protocols.Policy`.

    It ends the episode once the drawer is where it should be, or after 60 steps.

    Args:
        state: the environment's privileged state now, e.g. `env.unwrapped.privileged_state`.
        noise: standard deviation of the Gaussian noise on every action's motion and rotation, a fraction of
            their ranges (0.1 m, 0.4 rad). The gripper is spared: its actions add up, so noise would be drift.
        delay: acts on the state of this many control steps ago (at first, on the episode's first).

    Raises:
        SimeditError: `noise` not in 0..100, or a negative `delay`.

    Source: our own; the tasks are SIMPLER's (arXiv 2405.05941).
    """

    uses_images = False

    def __init__(self, state: Callable[[], DrawerState], *, noise: float = 0.0, delay: int = 0) -> None:
        if not 0 <= noise <= _MAX_NOISE:
            raise SimeditError(f"noise must be 0 to {_MAX_NOISE}, not {noise}")
        if not isinstance(delay, int) or delay < 0:
            raise SimeditError(f"delay must be a whole number of steps, 0 or more, not {delay}")
        self._state = state
        self._noise = noise
        self._seen: deque[DrawerState] = deque(maxlen=min(delay, _MAX_STEPS) + 1)
        self.reset("")

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode. The task is the state's: `instruction` is not read.

        Raises:
            SimeditError: a negative `seed`.
        """
        if seed < 0:
            raise SimeditError(f"a seed must be 0 or more, not {seed}")
        self._rng = np.random.default_rng(seed)
        self._seen.clear()
        self._steps = self._stage = self._stage_steps = 0
        self._fingers = 0.0
        self._was_done = False

    def act(self, frame: np.ndarray) -> Action:
        """The next action; `frame` is ignored."""
        self._seen.append(self._state())
        state = self._seen[0]
        self._steps += 1
        done = _done(state)
        move, turn, gripper = (np.zeros(3), np.zeros(3), 0.0) if done else self._chase(state)
        terminate = (done and self._was_done) or self._steps >= _MAX_STEPS
        self._was_done = done
        world_to_base = state.base[:3, :3].T
        noise = self._noise * self._rng.standard_normal(6)
        return Action(
            world_vector=(world_to_base @ move + _MAX_MOVE * noise[:3]).astype(np.float32),
            rot_axangle=(world_to_base @ turn + _MAX_TURN * noise[3:]).astype(np.float32),
            gripper=gripper,
            terminate=terminate,
        )

    def _chase(self, state: DrawerState) -> tuple[np.ndarray, np.ndarray, float]:
        """Motion (m) and rotation (rad) in world axes and gripper action of the present stage."""
        tool = state.base @ state.tcp
        point, axes = _aim(state)
        turn = Rotation.from_matrix(axes @ tool[:3, :3].T).as_rotvec()
        stages = _STAGES[state.task]
        stage = stages[self._stage]
        away = point + stage.goal - tool[:3, 3]
        self._stage_steps += 1
        if (
            self._stage_steps > stage.steps
            and np.linalg.norm(away) < stage.near
            and np.linalg.norm(turn) < stage.turned
        ):
            self._stage, self._stage_steps = self._stage + 1, 0
            stage = stages[self._stage]
            away = point + stage.goal - tool[:3, 3]
        gripper = (stage.fingers - self._fingers) / _FINGER_RANGE
        self._fingers = stage.fingers
        return np.clip(2.5 * away, -_MAX_MOVE, _MAX_MOVE), np.clip(2 * turn, -_MAX_TURN, _MAX_TURN), gripper


def _done(state: DrawerState) -> bool:
    """Whether the drawer is well inside what the task asks (0.15 m open, 0.05 m closed)."""
    return state.extension >= 0.18 if state.task == "open" else state.extension <= 0.01


def _aim(state: DrawerState) -> tuple[np.ndarray, np.ndarray]:
    """Where to take the drawer, [3], and the tool's axes there, [3, 3], in the world.

    The point lies beside the handle, on the robot's side. The tool's z points at the front and down, its y is
    in the plane of the fingers.
    """
    base, handle = state.base[:3, 3], (state.base @ state.handle)[:3, 3]
    point = handle + np.array([0.0, np.clip(base[1] - handle[1], -_ASIDE, _ASIDE), 0.0])
    closed = point - np.array([state.extension, 0.0, 0.0])
    far = np.linalg.norm(closed - base - np.array([0.0, 0.0, _SHOULDER])) - _NEAR
    pitch = np.clip(_STEEPEST - _FLATTEN * far, _FLATTEST, _STEEPEST)
    z = np.array([-math.cos(pitch), 0.0, -math.sin(pitch)])
    y = np.array([math.sin(pitch), 0.0, -math.cos(pitch)])
    return point, np.stack([np.cross(y, z), y, z], axis=1)
