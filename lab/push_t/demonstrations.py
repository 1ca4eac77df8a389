"""The expert's episodes of Push-T, raw and in proxy-real, written as LeRobot datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simedit.envs.push_t.env import INSTRUCTION as TASK
from simedit.envs.push_t.env import PushT
from simedit.envs.push_t.look import draw_look
from simedit.envs.push_t.proxy_real import Photographer
from simedit.errors import SimeditError
from simedit.lerobot.writing import write_dataset
from simedit.policies.pusher import Pusher
from simedit.policies.pushes import off
from simedit.progress import tracked

SIZE = 128
"""Of the pictures, pixels a side."""
RATE = 10
"""Steps a second."""
CAMERA, STATE, ACTION = "observation.image", "observation.state", "action"
FEATURES: dict[str, dict[str, Any]] = {
    CAMERA: {"dtype": "video", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]},
    STATE: {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    ACTION: {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
}
"""Named as in lerobot/pusht."""
_STEPS = 300
_CALM = 0.4
"""Share of the episodes in which nothing disturbs the expert."""
_STRONGEST = 20.0
"""Of the pushes in the other episodes, standard deviation, pixels of 0..512."""
_CHANGE = 0.2
"""How often a push changes, a step."""
_FINE, _FAR = 15.0, 50.0
"""Pixels from its goal within which nothing disturbs the expert, or the block would never get there; so much
farther off the disturbance is whole."""


@dataclass(frozen=True)
class Episode:
    """What happened in T steps.

    Attributes:
        frames: uint8 [T, SIZE, SIZE, 3], gym-pusht's, before each step.
        states: float64 [T, 5], before each step: the agent's x and y, the block's x, y and angle.
        actions: float32 [T, 2], what the expert would do, which is what a policy should learn; what was done
            is this and the disturbance.
        solved: whether the block reached its goal.
    """

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    solved: bool


class Demonstrator:
    """Plays the expert's episodes in gym-pusht, disturbed a little, so that they show the way back, too."""

    def __init__(self) -> None:
        self._env = PushT(SIZE)
        self._pusher = Pusher(self._env.privileged_state)

    def play(self, seed: int) -> Episode:
        """One episode from the start that gym-pusht draws of a seed."""
        seen, _ = self._env.reset(options={"scene": (seed,)})
        self._pusher.reset(TASK)
        random = np.random.default_rng((seed, 1))
        strength = 0.0 if random.random() < _CALM else random.uniform(0, _STRONGEST)
        push = np.zeros(2)
        frames, states, actions, solved = [], [], [], False
        while not solved and len(frames) < _STEPS:
            frames.append(seen["image"])
            states.append(self._env.privileged_state()[[0, 1, 4, 5, 6]])
            actions.append(self._pusher.act(seen["image"]))
            if random.random() < _CHANGE:
                push = strength * random.standard_normal(2)
            far = np.clip((off(states[-1][2:]) - _FINE) / _FAR, 0, 1)
            seen, _, solved, _, _ = self._env.step(np.clip(actions[-1] + far * push, 0, 512))
        return Episode(np.stack(frames), np.stack(states), np.stack(actions), solved)


def record(folder: Path, count: int, first: int, *, real: bool) -> None:
    """Write `count` solved episodes as the dataset `folder`, those of the seeds from `first` on.

    Args:
        real: with proxy-real's pictures, each episode a visit of its own, in place of gym-pusht's.

    Raises:
        SimeditError: the folder is there, or cannot be written.
    """
    title = f"episodes, {'proxy-real' if real else 'raw'}"
    found = tracked(_solved(count, first), title, count)
    write_dataset(
        folder, (_as_rows(episode, seed, real) for seed, episode in found), fps=RATE, features=FEATURES
    )


def _solved(count: int, first: int) -> Iterator[tuple[int, Episode]]:
    demonstrator, done = Demonstrator(), 0
    for seed in range(first, first + 2 * count):
        episode = demonstrator.play(seed)
        if episode.solved:
            yield seed, episode
            done += 1
        if done == count:
            return
    raise SimeditError(f"the expert solved {done} of {2 * count} episodes, where {count} are needed")


def _as_rows(episode: Episode, seed: int, real: bool) -> dict[str, Any]:
    frames = photographs(episode.states, seed) if real else episode.frames
    return {
        "task": TASK,
        CAMERA: frames,
        STATE: episode.states[:, :2].astype(np.float32),
        ACTION: episode.actions,
    }


def photographs(states: np.ndarray, seed: int) -> np.ndarray:
    """uint8 [T, SIZE, SIZE, 3]: proxy-real's pictures of states [T, 5], at the visit that a seed draws."""
    random = np.random.default_rng((seed, 2))
    photographer = Photographer(draw_look(random), SIZE)
    return np.stack([photographer.photograph(state, random)[0] for state in states])
