"""One trial: put the scene into place, let the policy act, read the result at the last step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.errors import SimeditError, told
from simedit.eval.recording import Recording
from simedit.eval.trials import Result, Trial
from simedit.protocols import Policy
from simedit.wrapper import find_image_key, get_path

RAW_KEY = "raw_rgb"


class EnvironmentDied(Exception):
    """The environment raised; build it anew and try again."""


class _PolicyDied(Exception):
    """The policy raised, or asked for something that is no action."""


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

    def state(self) -> Any:
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
        a result whose outcome is "error" when the policy raised or asked for a non-finite action, or when
        the scene is not the one that was asked for. A policy is waited for without end.

    Raises:
        EnvironmentDied: the environment raised.
        SimeditError: the environment or the policy refused what it was given.
    """
    step, seen = 0, {}
    try:
        with _blaming(EnvironmentDied, "the environment"):
            env = stage.env(trial)
            options = {"task": trial.task, "scene": tuple(trial.scene.split("/"))}
            obs, info = env.reset(seed=trial.episode_seed, options=options)
            frame, raw = _frames(obs)
            if "start" in info:
                seen["start"] = tuple(float(value) for value in _array(info["start"]).ravel())
            instruction, misplaced = str(info["instruction"]), info.get("misplaced")
        seen["frame_hash"] = _digest(frame if raw is None else raw)
        if misplaced:
            return Result(trial, "error", message=str(misplaced), **seen)
        with _blaming(_PolicyDied, f"policy {trial.policy!r}"):
            policy.reset(instruction, seed=trial.episode_seed)
        for step in range(1, max_steps + 1):
            if recording is not None:
                recording.add(frame, raw)
            with _blaming(_PolicyDied, f"policy {trial.policy!r}"):
                action = policy.act(frame)
                array = action.to_array()
                if array.shape != (7,):
                    raise ValueError(f"its action is not 7 finite numbers, but of shape {array.shape}")
                if not np.isfinite(array).all():
                    raise ValueError(f"its action is not 7 finite numbers: {array.tolist()}")
                terminate = bool(action.terminate)
            with _blaming(EnvironmentDied, "the environment"):
                obs, _, terminated, truncated, info = env.step(array)
                frame, raw = _frames(obs)
                success = bool(_array(info["success"]).item())
                progress = float(_array(info["progress"]).item())
                measures = {
                    name: float(_array(value).item()) for name, value in info.get("measures", {}).items()
                }
                for name, value in {"progress": progress, **measures}.items():
                    if not np.isfinite(value):
                        raise ValueError(f"{name} is {value}")
                over = terminate or bool(_array(terminated).item()) or bool(_array(truncated).item())
            if over or step == max_steps:
                break
    except _PolicyDied as died:
        return Result(trial, "error", step, message=f"{died} (step {step})", **seen)
    if recording is not None:
        recording.add(frame, raw)
    return Result(trial, "success" if success else "failure", step, progress, measures=measures, **seen)


@contextmanager
def _blaming(kind: type[Exception], who: str) -> Iterator[None]:
    try:
        yield
    except (SimeditError, EnvironmentDied, KeyboardInterrupt):
        raise
    except BaseException as error:  # a policy may call sys.exit
        raise kind(f"{who}: {told(error)}") from error


def _frames(obs: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """What the policy sees and, where that is an edit, the unedited frame: uint8 [H, W, 3] each."""
    camera, _, key = find_image_key(obs).rpartition("/")
    images = get_path(obs, camera)
    raw = images.get(RAW_KEY)
    frame = _array(images[key])
    height, width = frame.shape[-3:-1]
    return frame.reshape(height, width, 3), None if raw is None else _array(raw).reshape(height, width, 3)


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _digest(frame: np.ndarray) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()[:32]
