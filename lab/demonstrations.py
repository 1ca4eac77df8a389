"""Expert episodes in proxy-real, to clone policies from: what was seen, done and right at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from simedit.envs.drawer.poses import DRAWERS, POSES, TASKS, instruction
from simedit.envs.drawer.proxy_real import draw_look, photograph
from simedit.envs.drawer.surface import Surface
from simedit.errors import SimeditError
from simedit.files import whole
from simedit.policies.scripted import ScriptedExpert
from simedit.protocols import DrawerState

WIDTH, HEIGHT = 160, 128
"""Of the frames that the policies see, pixels."""

_AWAY = (0.03, 0.03, 0.03)
"""How far a pose may lie from its namesake: x and y in metres, yaw in radians."""
_CALM = 0.25
"""Share of the episodes in which nothing disturbs the expert."""
_STRONGEST = 0.4
"""Of the pushes in the other episodes, as a share of the actions' ranges (0.1 m, 0.4 rad)."""
_CHANGE = 0.25
"""How often a push changes, a step."""
_MOST_STEPS = 60
_BENT = 0.03
"""How far the arm's joints are moved for a moved picture, standard deviation, radians."""
_REST = 3
"""Steps recorded once the expert has ended its episode, so that ending is seen often enough to be learned."""

_env: gym.Env
"""Of a recording process."""


@dataclass(frozen=True)
class Demonstration:
    """An episode of T steps, seen in K looks, and S pictures of what it passed through, each moved a little.

    Attributes:
        frames: uint8 [K, T, H, W, 3], before each step.
        kitchens: str [K], that of each look.
        done: float32 [T, 7], the action carried out: the expert's, pushed.
        right: float32 [T, 7], the expert's action itself, what a policy should learn.
        over: bool [T], whether the expert has ended the episode.
        tcp: float32 [T, 4, 4], the tool centre point in the robot base frame, before each step.
        handle: float32 [T, 4, 4], the target drawer's link in the robot base frame, moved to its handle.
        extension: float32 [T], of the target drawer, metres.
        instruction: str [], e.g. "open top drawer".
        moved_frames: uint8 [S, H, W, 3], each with the robot's base and arm moved a little, in its own look.
        moved_kitchens: str [S], those looks' kitchens.
        moved_tcp, moved_handle, moved_extension: as above, one for each of these frames.
    """

    frames: np.ndarray
    kitchens: np.ndarray
    done: np.ndarray
    right: np.ndarray
    over: np.ndarray
    tcp: np.ndarray
    handle: np.ndarray
    extension: np.ndarray
    instruction: np.ndarray
    moved_frames: np.ndarray
    moved_kitchens: np.ndarray
    moved_tcp: np.ndarray
    moved_handle: np.ndarray
    moved_extension: np.ndarray

    def save(self, path: Path) -> None:
        """Write a .npz, whole or not at all."""
        with whole(path) as partial:
            np.savez(partial, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Demonstration:
        """Read what `save` wrote.

        Raises:
            SimeditError: the file is missing or broken.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(**{field.name: data[field.name] for field in fields(cls)})
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds
            raise SimeditError(f"cannot read the demonstration {path}: delete it and record again") from error


class _Step(NamedTuple):
    state: DrawerState
    surface: Surface
    qpos: np.ndarray
    done: np.ndarray
    right: np.ndarray
    over: bool


def record(
    folder: Path, episodes: int, *, cores: int, looks: int = 1, moved: int = 3, seed: int = 0
) -> Iterator[Path]:
    """Record successful episodes, tasks, drawers and poses in turn; none that is there again.

    An episode depends on its number and the seed alone.

    Args:
        cores: how many are recorded at once.
        looks: in how many looks each is photographed.
        moved: how many moved pictures are taken of each step: it takes many poses and looks to learn to see,
            and physics is dearer than pictures.

    Yields:
        each episode's file, as soon as it is there; those that were there before come first.
    """
    paths = [_path(folder, number) for number in range(episodes)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    yield from (path for path in paths if path.exists())
    if not missing:
        return
    # Fresh processes: Vulkan does not survive a fork.
    with get_context("spawn").Pool(min(len(missing), cores), _begin) as pool:
        jobs = [(folder, number, looks, moved, seed) for number in missing]
        yield from pool.imap_unordered(_record, jobs)


def _begin() -> None:
    global _env
    torch.set_num_threads(1)  # there is a process for each core
    _env = gym.make("simedit/Drawer-v1", width=WIDTH, height=HEIGHT)


def _record(job: tuple[Path, int, int, int, int]) -> Path:
    folder, number, looks, moved, seed = job
    _demonstrate(_env, number, looks, moved, np.random.default_rng((seed, number))).save(
        _path(folder, number)
    )
    return _path(folder, number)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def _demonstrate(
    env: gym.Env, number: int, looks: int, moved: int, random: np.random.Generator
) -> Demonstration:
    task, drawer = TASKS[number % 2], DRAWERS[number // 2 % 3]
    around = list(POSES.values())[number // 6 % len(POSES)]
    twin: Any = env.unwrapped
    while True:
        pose = np.add(around, random.uniform(-1, 1, 3) * _AWAY).tolist()
        env.reset(options={"task": task, "drawer": drawer, "pose": pose})
        steps = _episode(env, random)
        if bool(twin.evaluate()["success"].item()):
            break
    surfaces, done, right, over = zip(*((s.surface, s.done, s.right, s.over) for s in steps), strict=True)
    chosen = [draw_look(random) for _ in range(looks)]
    pictures = [_moved(twin, pose, step, random) for step in steps for _ in range(moved)]
    return Demonstration(
        frames=np.stack([[photograph(surface, look, random) for surface in surfaces] for look in chosen]),
        kitchens=np.array([look.kitchen for look in chosen]),
        done=np.stack(done),
        right=np.stack(right),
        over=np.array(over),
        instruction=np.array(instruction(task, drawer)),
        **_geometry([step.state for step in steps]),
        moved_frames=np.stack([frame for frame, _, _ in pictures]),
        moved_kitchens=np.array([kitchen for _, kitchen, _ in pictures]),
        **{f"moved_{name}": value for name, value in _geometry([state for _, _, state in pictures]).items()},
    )


def _geometry(states: list[DrawerState]) -> dict[str, np.ndarray]:
    return {
        "tcp": np.stack([state.tcp for state in states]).astype(np.float32),
        "handle": np.stack([state.handle for state in states]).astype(np.float32),
        "extension": np.array([state.extension for state in states], np.float32),
    }


def _episode(env: gym.Env, random: np.random.Generator) -> list[_Step]:
    twin: Any = env.unwrapped
    expert = ScriptedExpert(twin.privileged_state)
    push = _pushes(random)
    steps: list[_Step] = []
    while len(steps) < _MOST_STEPS and sum(step.over for step in steps) < _REST:
        surface, action = twin.surface(), expert.act(np.empty(0))
        right = action.to_array()
        done = right if action.terminate else (right + push()).astype(np.float32)
        qpos = twin.agent.robot.qpos[0].numpy().copy()
        steps.append(_Step(twin.privileged_state(), surface, qpos, done, right, action.terminate))
        env.step(done)
    return steps


def _moved(
    twin: Any, pose: list[float], step: _Step, random: np.random.Generator
) -> tuple[np.ndarray, str, DrawerState]:
    """A frame of a step with base and arm a little elsewhere, in its own look; its kitchen; the state."""
    extensions = {drawer: step.state.extension * (drawer == step.state.drawer) for drawer in DRAWERS}
    twin.arrange(np.add(pose, random.uniform(-1, 1, 3) * _AWAY).tolist(), extensions)
    robot = twin.agent.robot
    arm = np.array(
        [not joint.name.startswith(("joint_head", "joint_finger")) for joint in robot.active_joints]
    )
    robot.set_qpos((step.qpos + arm * random.normal(0, _BENT, len(arm))).astype(np.float32))
    twin.get_obs()
    look = draw_look(random)
    return photograph(twin.surface(), look, random), look.kitchen, twin.privileged_state()


def _pushes(random: np.random.Generator) -> Callable[[], np.ndarray]:
    """What disturbs the expert, float64 [7] a step: now nothing, now the same push for some steps.

    So it shows how to recover from mistakes like a policy's (DART, arXiv 1703.09327).
    """
    strength = 0.0 if random.random() < _CALM else random.uniform(0, _STRONGEST)
    ranges = np.array([0.1] * 3 + [0.4] * 3 + [0.0])
    push = np.zeros(7)

    def next_push() -> np.ndarray:
        nonlocal push
        if random.random() < _CHANGE:
            push = (random.random() < 0.5) * strength * ranges * random.standard_normal(7)
        return push

    return next_push
