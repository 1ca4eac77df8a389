"""A point that moves along a line, as a stranger would register it with gymnasium; and suites of it."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np

ID = "small_gym:SmallPoint-v0"


class Point(gym.Env):
    """The first number moves it; it is done at 0.5. Its observation is a picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(self, render_mode=None, picture=True, discrete=False, tells=True, odd=None):
        self.render_mode, self._picture, self._tells, self._odd = render_mode, picture, tells, odd
        box = gym.spaces.Box
        self.observation_space = box(0, 255, (8, 10, 3), np.uint8) if picture else box(-1, 1, (1,))
        self.action_space = gym.spaces.Discrete(3, start=-1) if discrete else box(-1, 1, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options = options
        self.x = float(self.np_random.uniform(-0.5, 0)) if options is None else options["at"]
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.x += 0.25 * float(np.ravel(action)[0])
        info = {"is_done": self.x >= 0.5, "near": self.x + 0.5} if self._tells else {"close": 1}
        info |= {"odd": self._odd, "success": "who knows", "measures": 3}
        return self._seen(), self.x, self.x >= 0.5, False, info

    def render(self):
        return np.full((8, 10, 3), 100, np.uint8)

    def _seen(self):
        if not self._picture:
            return np.array([self.x], np.float32)
        return np.full((8, 10, 3), np.clip(128 + 100 * self.x, 0, 255), np.uint8)


def left(obs):
    return np.arange(10) < np.full((8, 1), 5)


def right(obs):
    return ~left(obs)


class Suite:
    """A suite of a user's own."""

    tasks, scenes, max_steps = ("right",), {"side": ("l", "r")}, 4
    domains, realities = {"plain": ("a", "b"), "lab": ("",)}, ("lab",)

    def __init__(self, **parts):
        vars(self).update(parts)

    def make(self, domain, variant):
        raise NotImplementedError

    def editing(self):
        return {"image_key": "frame"}


def raising():
    raise ValueError("no such table")


def without_tasks():
    return SimpleNamespace(scenes=Suite.scenes, domains=Suite.domains, max_steps=1, make=Suite.make)


class Right:
    needs = ("frame", "observation")

    def reset(self, instruction, *, seed):
        self.instruction = instruction

    def act(self, seen):
        assert seen["frame"].dtype == np.uint8
        assert "raw_rgb" not in seen["observation"]
        return [[1.0, 0.0], [1.0, 0.0]]


if ID.partition(":")[2] not in gym.registry:
    gym.register("SmallPoint-v0", entry_point=Point)
