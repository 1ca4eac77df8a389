"""A suite and a policy that start in no time, and have trouble when they are told to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

from simedit.eval.config import StudyConfig, resolved


def trouble(how: str, marks: str) -> None:
    """Get into trouble, once for all processes together."""
    if not how:
        return
    try:
        (Path(marks) / how).touch(exist_ok=False)
    except FileExistsError:
        return
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    while how == "loop":
        pass


class Rail(gym.Env):
    """The action's first number moves a block; at 0.5 it is done."""

    def __init__(self, seconds=0.0, how="", marks="") -> None:
        self._seconds, self._how, self._marks = seconds, how, marks
        self.observation_space = gym.spaces.Dict(frame=gym.spaces.Box(0, 255, (48, 64, 3), np.uint8))
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.scene = float(self.np_random.uniform(-0.5, 0)), options["scene"]
        return self._seen(), {"instruction": "push", **self._info()}

    def step(self, action):
        time.sleep(self._seconds)
        if self.scene == ("2",):
            trouble(self._how, self._marks)
        self.x += 0.25 * float(action[0])
        return self._seen(), 0.0, False, False, self._info()

    def _info(self):
        return {"success": self.x >= 0.5, "progress": float(np.clip(self.x + 0.5, 0, 1))}

    def _seen(self):
        frame = np.full((48, 64, 3), 220, np.uint8)
        at = round(30 + 25 * float(np.clip(self.x, -1, 1)))
        frame[20:30, at : at + 8] = (150, 90, 40)
        return {"frame": frame}


class Rails:
    """The suite."""

    tasks, scenes, max_steps = ("push",), {"start": ("0", "1", "2", "3")}, 4
    domains = {"raw": ("",), "again": ("",)}

    def __init__(self, **env):
        self._env = env

    def make(self, domain, variant):
        return Rail(**self._env)

    def editing(self):
        return {"image_key": "frame"}


class Pusher:
    """Pushes the right way with probability `skill`."""

    def __init__(self, skill=1.0, how="", marks="") -> None:
        self._skill, self._how, self._marks = skill, how, marks

    def reset(self, instruction, *, seed):
        self._random = np.random.default_rng(seed)

    def act(self, frame):
        trouble(self._how, self._marks)
        return np.array([1 if self._random.random() < self._skill else -1, 0], np.float32)


def study(*, env=None, policy=None, **settings) -> StudyConfig:
    """A study of two policies, of which one may have trouble."""
    pusher = {"kind": "python", "factory": "small_fleet:Pusher"}
    policies = {"sure": {**pusher, "args": policy or {}}, "rough": {**pusher, "args": {"skill": 0.6}}}
    suite = {"kind": "python", "factory": "small_fleet:Rails", "args": env or {}}
    common = {"domains": ["raw"], "real": {"source": "none"}, "report": {"videos": 0, "strips": 1}}
    settings = {"policies": policies, "suite": suite, **common, **settings}
    return resolved(StudyConfig.model_validate(settings))
