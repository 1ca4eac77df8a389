"""One trial: pose the scene, let the policy act, read the result at the last step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.envs.domains import poses
from simedit.envs.poses import POSES
from simedit.errors import SimeditError, raised_at, told
from simedit.eval.recording import Recording
from simedit.eval.trials import Result, Trial
from simedit.policies.player import Player
from simedit.protocols import DrawerState, Policy, PolicyAway, PolicyLost
from simedit.wrapper import find_image_key, get_path

RAW_KEY = "raw_rgb"
POSE_TOLERANCE = 1e-6


class EnvironmentDied(Exception):
    """The environment raised; build it anew and try again."""


class _PolicyDied(Exception):
    """The policy raised, or gave what is no action."""


class Stage:
    """Keeps the one environment in use: built when first needed, and again after it died.

    Args:
        make: builds the environment of a domain and variant. One of the domain "edited" has a settable
            `style` (`simedit.wrapper.EditObservation`) and keeps the unedited frame under "raw_rgb".
    """

    def __init__(self, make: Callable[[str, str], gym.Env]) -> None:
        self._make = make
        self._env: gym.Env | None = None
        self._place = ("", "")

    def env(self, trial: Trial) -> gym.Env:
        """The environment for a trial, set to its style."""
        place = (trial.domain, trial.variant)
        if self._env is None or self._place != place:
            self.close()
            self._env, self._place = self._make(*place), place
        if trial.style:
            self._env.style = trial.style  # pyright: ignore[reportAttributeAccessIssue]
        return self._env

    def state(self) -> DrawerState:
        """The privileged state of the environment in use."""
        with _blaming(EnvironmentDied, "the environment"):
            assert self._env is not None, "no trial has begun"
            return self._env.unwrapped.privileged_state()  # pyright: ignore[reportAttributeAccessIssue]

    def close(self) -> None:
        """Let the environment go; one that has died may fail at that too."""
        env, self._env = self._env, None
        try:
            if env is not None:
                env.close()
        except Exception:
            pass


def rollout(
    trial: Trial,
    stage: Stage,
    policy: Policy,
    *,
    max_steps: int,
    recording: Recording | None = None,
) -> Result:
    """Run one trial to the policy's terminate action, or to the step limit.

    The terminating action is still carried out, and success is the test at the last step, as in SIMPLER.

    Args:
        max_steps: the step limit.
        recording: gets every frame.

    Returns:
        a result whose outcome is "error" when the policy raised or gave what is no action, or when the
        realised pose is not the asked one. A policy is waited for without end.

    Raises:
        EnvironmentDied: the environment raised.
        PolicyLost: the policy's server went away, or did not answer in time.
        SimeditError: the environment refused what it was given, or has not what the policy needs; or the
            policy's server cannot be had.
    """
    pose = poses(trial.domain)[trial.pose]
    step, seen, who = 0, {}, f"policy {trial.policy!r}"
    try:
        with _blaming(EnvironmentDied, "the environment"):
            env = stage.env(trial)
            obs, info = _reset(env, trial)
            realised = tuple(float(value) for value in _array(info["pose"]).ravel())
            frame, raw = _frames(obs)
            instruction = env.unwrapped.instruction  # pyright: ignore[reportAttributeAccessIssue]
        seen = {"pose": realised, "frame_hash": _digest(frame if raw is None else raw)}
        if not np.abs(np.subtract(realised, pose)).max() <= POSE_TOLERANCE:  # nor is NaN
            message = f"asked for pose {tuple(pose)}, the scene is at {realised}"
            return Result(trial, "error", message=message, **seen)
        with _blaming(_PolicyDied, who):
            player = Player(policy)
            player.reset(instruction, seed=trial.episode_seed)
        for step in range(1, max_steps + 1):
            if recording is not None:
                recording.add(frame, raw)
            given = _given(env, obs, frame, player.needs, who)
            with _blaming(_PolicyDied, who):
                action = player.act(given)
                array, terminate = action.to_array(), bool(action.terminate)
            with _blaming(EnvironmentDied, "the environment"):
                obs, _, _, truncated, info = env.step(array)
                frame, raw = _frames(obs)
                success = bool(_array(info["success"]).item())
                extension = float(_array(info["drawer_extension"]).item())
                if not np.isfinite(extension):
                    raise ValueError(f"the drawer is {extension} m out")
                over = terminate or bool(_array(truncated).item())
            if over or step == max_steps:
                break
    except _PolicyDied as died:
        return Result(trial, "error", step, message=f"{died} (step {step})", **seen)
    if recording is not None:
        recording.add(frame, raw)
    return Result(trial, "success" if success else "failure", step, extension, **seen)


def rehearse(trial: Trial, stage: Stage, policy: Policy) -> None:
    """Have a policy begin a trial and choose its first action, which is not carried out.

    Raises:
        SimeditError: it needs what the environment has not, raised, or chose no action.
        EnvironmentDied: the environment raised.
    """
    with _blaming(EnvironmentDied, "the environment"):
        env = stage.env(trial)
        obs, _ = _reset(env, trial)
        frame, _ = _frames(obs)
        instruction = env.unwrapped.instruction  # pyright: ignore[reportAttributeAccessIssue]
    who = f"policy {trial.policy!r}"
    try:
        with _blaming(_PolicyDied, who):
            player = Player(policy)
        given = _given(env, obs, frame, player.needs, who)
        with _blaming(_PolicyDied, who):
            player.reset(instruction, seed=trial.episode_seed)
            player.act(given)
    except _PolicyDied as died:
        raise SimeditError(f"{died} (tried before the first trial)") from died


def _reset(env: gym.Env, trial: Trial) -> tuple[Any, dict[str, Any]]:
    pose = poses(trial.domain)[trial.pose]
    # By name where it has one, for a photograph goes by the name.
    asked = trial.pose if POSES[trial.pose] == pose else pose
    options = {"pose": asked, "task": trial.task, "drawer": trial.drawer}
    return env.reset(seed=trial.episode_seed, options=options)


def _given(env: gym.Env, obs: Any, frame: np.ndarray, needs: Sequence[str], who: str) -> Any:
    """What a policy with these needs sees."""
    if tuple(needs) == ("frame",):
        return frame
    seen: dict[str, Any] = {"frame": frame}
    if "proprioception" in needs:
        kind: Any = env.unwrapped
        if not hasattr(kind, "proprioception"):
            raise SimeditError(f"{who} needs proprioception, but a {type(kind).__name__} has none")
        with _blaming(EnvironmentDied, "the environment"):
            seen["proprioception"] = kind.proprioception()
    if "cameras" in needs:
        seen["cameras"] = _cameras(obs)
    return {need: seen[need] for need in needs}


@contextmanager
def _blaming(kind: type[Exception], who: str) -> Iterator[None]:
    try:
        yield
    except (EnvironmentDied, KeyboardInterrupt):
        raise
    except (PolicyLost, PolicyAway) as error:
        raise type(error)(f"the server of {who}: {error}") from error
    except SimeditError as error:
        if kind is EnvironmentDied:
            raise
        raise kind(f"{who}: {error}") from error
    except BaseException as error:  # a policy may call sys.exit
        raise kind(f"{who}: {told(error)}{raised_at(error)}") from error


def _frames(obs: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """What the policy sees and, where that is an edit, the unedited frame: uint8 [H, W, 3] each."""
    camera, _, key = find_image_key(obs).rpartition("/")
    images = get_path(obs, camera)
    return _frame(images[key]), _frame(images[RAW_KEY]) if RAW_KEY in images else None


def _cameras(obs: Any) -> dict[str, np.ndarray]:
    """The frame of every camera by its name, uint8 [H, W, 3]."""
    camera, _, key = find_image_key(obs).rpartition("/")
    return {
        name: _frame(images[key])
        for name, images in get_path(obs, camera.rpartition("/")[0]).items()
        if key in images
    }


def _frame(image: Any) -> np.ndarray:
    frame = _array(image)
    return frame.reshape(frame.shape[-3:])


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _digest(frame: np.ndarray) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()[:32]
