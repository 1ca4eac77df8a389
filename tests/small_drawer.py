"""A drawer on a rail: a small real environment with the observation format of the drawer twin.

A policy moves the tool along one axis; within reach of the handle the drawer follows. It renders in NumPy.
Run as a script, it carries out a study in the folder given: `small_drawer.py OUT [SECONDS_PER_STEP]`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from simedit.envs.drawer.poses import CLOSE_START, find_pose, succeeded
from simedit.envs.drawer.suite import StudyEnv
from simedit.errors import SimeditError, unknown
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.published import Rates
from simedit.eval.rollout import Stage
from simedit.eval.run_folder import keep, write_report
from simedit.eval.shards import Shard
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.summary import Facts
from simedit.eval.trials import trials
from simedit.eval.worker import Worker
from simedit.protocols import Action, DrawerState
from simedit.wrapper import EditObservation

HEIGHT, WIDTH = 24, 32
STEPS = 6


class SmallDrawer(gym.Env):
    """The action's first number moves the drawer, at most 0.1 m a step, in 0 to 0.3 m."""

    edit_segmentation_ids = (2,)

    def __init__(self, seconds_per_step: float = 0.0) -> None:
        self._seconds = seconds_per_step
        box = gym.spaces.Box
        camera = {
            "rgb": box(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8),
            "segmentation": box(-32768, 32767, (1, HEIGHT, WIDTH, 1), np.int16),
        }
        self.observation_space = gym.spaces.Dict(
            {"sensor_data": gym.spaces.Dict({"overhead_camera": gym.spaces.Dict(camera)})}
        )
        self.action_space = box(-1, 1, (7,), np.float32)

    @property
    def instruction(self) -> str:
        return f"{self.task} {self.drawer} drawer"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.pose, self.task, self.drawer = options["pose"], options["task"], options["drawer"]
        self.extension = CLOSE_START if self.task == "close" else 0.0
        return self._observation(), self._info()

    def step(self, action):
        time.sleep(self._seconds)
        self.extension = float(np.clip(self.extension + np.clip(action[0], -0.1, 0.1), 0, 0.3))
        return self._observation(), 0.0, False, torch.tensor([False]), self._info()

    def privileged_state(self) -> DrawerState:
        eye = np.eye(4)
        return DrawerState(eye, eye, eye, self.extension, self.task, self.drawer)

    def _info(self):
        return {
            "success": torch.tensor([succeeded(self.task, self.extension)]),
            "drawer_extension": torch.tensor([self.extension]),
            "pose": torch.tensor([find_pose(self.pose)], dtype=torch.float64),
        }

    def _observation(self):
        frame = np.full((HEIGHT, WIDTH, 3), 230, np.uint8)
        labels = np.zeros((HEIGHT, WIDTH, 1), np.int16)
        left = 4 + round(20 * (find_pose(self.pose).x - 0.6))
        for row, drawer in enumerate(("top", "middle", "bottom")):
            out = round(30 * self.extension) if drawer == self.drawer else 0
            where = np.s_[3 + 6 * row : 8 + 6 * row, left : left + 12 + out]
            frame[where], labels[where] = (140, 90, 40 + 10 * row), 2
        camera = {"rgb": torch.from_numpy(frame)[None], "segmentation": torch.from_numpy(labels)[None]}
        return {"sensor_data": {"overhead_camera": camera}}


class Doomed(SmallDrawer):
    """Its process dies once the drawer is 0.15 m out, each time; with a folder of marks, only twice."""

    def __init__(self, marks: Path | None = None) -> None:
        super().__init__()
        self._marks = marks

    def step(self, action):
        result = super().step(action)
        if self.extension > 0.15 and (self._marks is None or len(list(self._marks.iterdir())) < 2):
            if self._marks is not None:
                (self._marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class Refusing(SmallDrawer):
    """Cannot be had."""

    def __init__(self) -> None:
        raise SimeditError("no such skin")


class Painter:
    """A real editor without a model: it shifts every pixel towards the colour of a style."""

    styles = ("gold", "wood")

    def edit(self, frames, *, styles, masks=None, seeds):
        edited = frames.copy()
        for index, style in enumerate(styles):
            if style not in self.styles:
                raise unknown("style", style, self.styles)
            colour = np.array((220, 180, 40) if style == "gold" else (120, 70, 30))
            mask = slice(None) if masks is None else masks[index]
            edited[index][mask] = (frames[index][mask] // 2 + colour // 2).astype(np.uint8)
        return edited


def painted() -> gym.Env:
    """The drawer behind a painter."""
    return EditObservation(SmallDrawer(), Painter(), "gold", keep_raw="raw_rgb")


class Mover:
    """Moves the drawer the right way with probability `skill` each step, from privileged state."""

    uses_images = False

    def __init__(self, state, skill: float) -> None:
        self._state, self._skill = state, skill

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        self._way = 0.1 if instruction.startswith("open") else -0.1
        self._random = np.random.default_rng(seed)

    def act(self, frame: np.ndarray) -> Action:
        assert frame.shape == (HEIGHT, WIDTH, 3)
        assert frame.dtype == np.uint8
        self._state()
        way = self._way if self._random.random() < self._skill else -self._way
        return Action(np.array([way, 0, 0], np.float32), np.zeros(3, np.float32), 0.0)


SKILLS = {"able": 0.95, "fair": 0.6, "poor": 0.3}
CONFIG = resolved(
    StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "scripted", "noise": 1 - skill} for name, skill in SKILLS.items()},
            "domains": ["raw", "edited"],
            "styles": ["gold", "wood"],
            "scenes": {"drawer": ["top", "bottom"], "pose": ["a0", "b1", "c2"]},
            "max_steps": STEPS,
            "report": {"videos": 1, "strips": 2},
        }
    )
)
FACTS = Facts(untrained=[], blind=list(SKILLS))
REAL = Rates.model_validate(
    {
        "source": "made up for the tests",
        "stand_in": True,
        "policies": {
            "able": {"open": 0.9, "close": 0.95},
            "fair": {"open": 0.6, "close": {"successes": 7, "n": 10}},
            "poor": {"open": 0.1, "close": 0.2},
        },
    }
)


def changed(config: StudyConfig, *, scenes: dict[str, list[str]] | None = None, **update) -> StudyConfig:
    """A study with other settings, of whose axes of scenes the given ones alone are others."""
    return resolved(config.model_copy(update={**update, "scenes": config.scenes | (scenes or {})}))


def make_env(domain: str, env: gym.Env) -> gym.Env:
    env = StudyEnv(env, domain)
    return EditObservation(env, Painter(), "gold", keep_raw="raw_rgb") if domain == "edited" else env


def movers(stage: Stage, config: StudyConfig = CONFIG, **others) -> Worker:
    """A worker whose policies are movers, or others by name."""
    policies = {name: Mover(stage.state, SKILLS[name]) for name in config.policies if name in SKILLS}
    return Worker(stage, policies | others, config.max_steps)


def run(folder, *, seconds_per_step: float = 0.0, config: StudyConfig = CONFIG, shard: str = "") -> None:
    stage = Stage(lambda domain, _: make_env(domain, SmallDrawer(seconds_per_step)))
    with Store(folder, write=True) as store:
        keep(store, config, REAL, replace(FACTS, shard=shard))
        wanted = list(trials(config))
        run_study(
            wanted,
            part=Shard.parse(shard).of(wanted) if shard else None,
            store=store,
            workers=[movers(stage, config)],
            report=config.report,
        )
        write_report(store)


if __name__ == "__main__":
    run(sys.argv[1], seconds_per_step=float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
