"""gym-pusht in the words of a study, as it draws itself or photographed in proxy-real."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from simedit import extras
from simedit.arrays import whole_number
from simedit.envs.push_t.look import draw_look
from simedit.envs.push_t.proxy_real import Photographer
from simedit.envs.push_t.scene import SIDE
from simedit.errors import SimeditError

if TYPE_CHECKING:
    from gym_pusht.envs import PushTEnv

INSTRUCTION = "push the T-shaped block onto its goal"
COVERED = 0.95
"""The share of the goal that the block must cover."""


class PushT(gym.Env):
    """Push-T; see `simedit.envs.push_t.suite.PushTSuite` for what it shows and takes.

    `reset(options={"scene": (N,)})` is gym-pusht's reset with the seed N. `reset(seed=...)` draws the look of
    a photographed episode and, later, its frames' noise; the same seed gives the same pictures of the same
    actions. A reset without a seed goes on in that sequence.

    Args:
        size: of the frames, pixels a side.
        photographed: shows proxy-real instead of what gym-pusht draws.

    Raises:
        SimeditError: gym-pusht is not installed.
    """

    def __init__(self, size: int, *, photographed: bool = False) -> None:
        self._simulator, self._size, self._photographed = simulator(size), size, photographed
        self._random = np.random.default_rng(0)
        self.observation_space = gym.spaces.Dict(
            {
                "image": gym.spaces.Box(0, 255, (size, size, 3), np.uint8),
                "agent_pos": gym.spaces.Box(0.0, SIDE, (2,), np.float64),
            }
        )
        self.action_space = gym.spaces.Box(0.0, SIDE, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        assert options is not None
        if seed is not None:
            self._random = np.random.default_rng(whole_number("a seed", seed))
        (start,) = options["scene"]
        self._simulator.reset(seed=int(start))
        if self._photographed:
            self._photographer = Photographer(draw_look(self._random), self._size)
        return self._seen(), {"instruction": INSTRUCTION, "start": state(self._simulator)}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        _, reward, _, _, info = self._simulator.step(np.asarray(action, np.float64))
        coverage = float(info["coverage"])
        success = coverage > COVERED
        told = {
            "success": success,
            "progress": min(1.0, coverage / COVERED),
            "measures": {"coverage": coverage},
        }
        return self._seen(), float(reward), success, False, told

    def privileged_state(self) -> np.ndarray:
        """float64 [7]: the agent's x and y, its velocity, units a second, and the block's x, y and angle."""
        found = state(self._simulator)
        return np.concatenate([found[:2], self._simulator.agent.velocity, found[2:]])

    def close(self) -> None:
        self._simulator.close()

    def _seen(self) -> dict[str, np.ndarray]:
        if self._photographed:
            image, _ = self._photographer.photograph(state(self._simulator), self._random)
        else:
            image = drawn(self._simulator)
        return {"image": image, "agent_pos": np.array(self._simulator.agent.position, np.float64)}


def simulator(size: int) -> PushTEnv:
    """gym-pusht's environment, which draws frames of `size` pixels a side when `drawn` asks for one.

    Raises:
        SimeditError: gym-pusht is not installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        from gym_pusht.envs import PushTEnv
    except ImportError as error:
        raise SimeditError(f"Push-T needs gym-pusht ({error}): {extras.install('gym_pusht')}") from error
    return PushTEnv(obs_type="state", observation_width=size, observation_height=size)


def state(env: PushTEnv) -> np.ndarray:
    """float64 [5]: the agent's x and y, the block's x, y and angle (0 to 2 pi)."""
    block = env.block
    return np.array([*env.agent.position, *block.position, block.angle % (2 * np.pi)], np.float64)


def drawn(env: PushTEnv) -> np.ndarray:
    """The frame, uint8 [size, size, 3]."""
    return np.asarray(env._render())


def arrange(env: PushTEnv, state: np.ndarray) -> None:
    """Put agent and block into exactly this state [5], at rest. (gym-pusht's own `reset_to_state` ends in
    another: it turns the block after placing it, about its centre of gravity, and lets time pass.)"""
    env.reset(seed=0)
    env.agent.position = tuple(map(float, state[:2]))
    env.block.angle = float(state[4])
    env.block.position = tuple(map(float, state[2:4]))
    for body in (env.agent, env.block):
        env.space.reindex_shapes_for_body(body)
