"""One trial: put the scene into place, let the policy act, read the result at the last step."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.errors import SimeditError, raised_at, shortened, told
from simedit.eval.recording import Recording
from simedit.eval.trials import Result, Trial
from simedit.observations import beside, find_image_key, get_path, keys_of
from simedit.policies.player import Player
from simedit.protocols import Action, Policy, PolicyAway, PolicyLost

RAW_KEY = "raw_rgb"


class EnvironmentDied(Exception):
    """The environment raised, or what plays in it died or fell silent; build it anew and try again."""


class EditorDied(EnvironmentDied):
    """It was the editor that several environments share."""


class _PolicyDied(Exception):
    """The policy raised, or gave what is no action."""


class Stage:
    """Keeps the one environment in use: built when first needed, and again after it died.

    Args:
        make: builds the environment of a domain and variant. One of the domain "edited" has a settable
            `style` (`simedit.wrapper.EditObservation`) and keeps the unedited frame under "raw_rgb".
        image_key: path of the frame in observations; None looks for it (`simedit.wrapper.find_image_key`).
        enter: called with each phase of a trial as it begins: "reset", "step", or "act" and whose.
    """

    def __init__(
        self,
        make: Callable[[str, str], gym.Env],
        image_key: str | None = None,
        enter: Callable[..., None] = lambda phase, what="": None,
    ) -> None:
        self._make, self.image_key, self.enter = make, image_key, enter
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
            env: Any = self._env.unwrapped
            if not hasattr(env, "privileged_state"):
                raise SimeditError(f"this environment, a {type(env).__name__}, has no privileged_state")
            return env.privileged_state()

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
        a result whose outcome is "error" when the policy raised or gave what is no action, or when the scene
        is not the one that was asked for.

    Raises:
        EnvironmentDied: the environment raised.
        PolicyLost: the policy's server went away, or did not answer in time.
        SimeditError: the environment refused what it was given, or has not what the policy needs; or the
            policy's server cannot be had.
    """
    step, seen, who = 0, {}, f"policy {trial.policy!r}"
    try:
        with _blaming(EnvironmentDied, "the environment"):
            env = stage.env(trial)
            stage.enter("reset")
            obs, info = _reset(env, trial)
            frame, raw = _frames(obs, stage.image_key)
            instruction, misplaced = str(_of(info, "instruction")), info.get("misplaced")
            if "start" in info:
                start = tuple(float(value) for value in _array(info["start"]).ravel())
                if np.isfinite(start).all():
                    seen["start"] = start
                elif not misplaced:
                    raise ValueError(f"its scene starts at {start}")
        seen["frame_hash"] = _digest(frame if raw is None else raw)
        if misplaced:
            return Result(trial, "error", message=str(misplaced), **seen)
        with _blaming(_PolicyDied, who):
            stage.enter("act", trial.policy)
            player = Player(policy, size=_size(env))
            player.reset(instruction, seed=trial.episode_seed)
        for step in range(1, max_steps + 1):
            if recording is not None:
                recording.add(frame, raw)
            given = _given(env, obs, frame, player.needs, stage.image_key, who)
            with _blaming(_PolicyDied, who):
                stage.enter("act", trial.policy)
                action = player.act(given)
                terminate = isinstance(action, Action) and bool(action.terminate)
                array = _fitting(action.to_array() if isinstance(action, Action) else action, env)
            with _blaming(EnvironmentDied, "the environment"):
                stage.enter("step")
                obs, _, terminated, truncated, info = env.step(array)
                frame, raw = _frames(obs, stage.image_key)
                over = terminate or bool(_array(terminated).item()) or bool(_array(truncated).item())
                if over or step == max_steps:
                    success, progress = _share(info, "success") == 1, _share(info, "progress")
                    measures = {
                        name: _number(name, value) for name, value in info.get("measures", {}).items()
                    }
                    break
    except _PolicyDied as died:
        return Result(trial, "error", step, message=f"{died} (step {step})", **seen)
    if recording is not None:
        recording.add(frame, raw)
    return Result(trial, "success" if success else "failure", step, progress, measures=measures, **seen)


def rehearse(trial: Trial, stage: Stage, policy: Policy) -> None:
    """Have a policy begin a trial and choose its first action, which is not carried out.

    Raises:
        SimeditError: it needs what the environment has not, raised, or chose no action.
        EnvironmentDied: the environment raised.
    """
    with _blaming(EnvironmentDied, "the environment"):
        env = stage.env(trial)
        stage.enter("reset")
        obs, info = _reset(env, trial)
        frame, _ = _frames(obs, stage.image_key)
        instruction = str(_of(info, "instruction"))
    who = f"policy {trial.policy!r}"
    try:
        with _blaming(_PolicyDied, who):
            stage.enter("act", trial.policy)
            player = Player(policy, size=_size(env))
        given = _given(env, obs, frame, player.needs, stage.image_key, who)
        with _blaming(_PolicyDied, who):
            player.reset(instruction, seed=trial.episode_seed)
            action = player.act(given)
            _fitting(action.to_array() if isinstance(action, Action) else action, env)
    except _PolicyDied as died:
        raise SimeditError(f"{died} (tried before the first trial)") from died


def _reset(env: gym.Env, trial: Trial) -> tuple[Any, dict[str, Any]]:
    options = {"task": trial.task, "scene": tuple(trial.scene.split("/"))}
    return env.reset(seed=trial.episode_seed, options=options)


def _size(env: gym.Env) -> int:
    """How many numbers an environment takes at each step."""
    space = env.action_space
    if not isinstance(space, gym.spaces.Box):
        raise SimeditError(f"this environment takes actions of {space}: a study plays Box ones")
    return math.prod(space.shape)


def _fitting(action: np.ndarray, env: gym.Env) -> np.ndarray:
    """The action as the environment takes it: whole numbers within their bounds, where it takes those."""
    space = env.action_space
    assert isinstance(space, gym.spaces.Box)
    if not np.issubdtype(space.dtype, np.integer):
        return action
    whole = np.rint(action)
    if not ((whole >= space.low.ravel()) & (whole <= space.high.ravel())).all():
        raise SimeditError(f"its action {action.tolist()} is outside {space.low} to {space.high}")
    return whole.astype(space.dtype)


def _of(info: Mapping[str, Any], key: str) -> Any:
    if key not in info:
        raise KeyError(f"its info holds no {key!r}, only {', '.join(map(repr, info)) or 'nothing'}")
    return info[key]


def _number(name: str, value: Any) -> float:
    found = _array(value)
    if found.size != 1 or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise ValueError(f"{name} is {shortened(repr(value))}, and no finite number")
    return float(found.item())


def _share(info: Mapping[str, Any], key: str) -> float:
    found = _number(key, _of(info, key))
    if not (0 <= found <= 1 and (key != "success" or found in (0, 1))):
        raise ValueError(
            f"{key} is {found:g}, and not {'true or false' if key == 'success' else 'in [0, 1]'}"
        )
    return found


def _given(
    env: gym.Env, obs: Any, frame: np.ndarray, needs: Sequence[str], image_key: str | None, who: str
) -> Any:
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
        seen["cameras"] = _cameras(obs, image_key)
    if "observation" in needs:
        seen["observation"] = _arrays(obs)
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


def _frames(obs: Any, image_key: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """What the policy sees and, where that is an edit, the unedited frame: uint8 [H, W, 3] each."""
    path = find_image_key(obs) if image_key is None else image_key
    frame = _frame(get_path(obs, path))
    others = beside(obs, path)
    return frame, _frame(others[RAW_KEY]) if RAW_KEY in others else None


def _cameras(obs: Any, image_key: str | None) -> dict[str, np.ndarray]:
    """The frame of every camera by its name, uint8 [H, W, 3]."""
    path = find_image_key(obs) if image_key is None else image_key
    *outer, key = keys_of(obs, path) or ("",)
    if not outer:  # one picture beside what is no camera's
        return {key or "frame": _frame(get_path(obs, path))}
    for name in outer[:-1]:
        obs = obs[name]
    return {
        name: _frame(images[key])
        for name, images in obs.items()
        if isinstance(images, Mapping) and key in images
    }


def _arrays(obs: Any) -> Any:
    """An observation as NumPy arrays, as a policy may see it: without the frame under its edit."""
    if isinstance(obs, Mapping):
        return {key: _arrays(value) for key, value in obs.items() if key != RAW_KEY}
    if isinstance(obs, tuple):
        return tuple(map(_arrays, obs))
    return _array(obs)


def _frame(image: Any) -> np.ndarray:
    frame = _array(image)
    if frame.dtype != np.uint8 or frame.ndim < 3 or frame.shape[-1] != 3 or math.prod(frame.shape[:-3]) != 1:
        raise SimeditError(f"its picture must be uint8 [H, W, 3], not {frame.dtype} {list(frame.shape)}")
    return frame.reshape(frame.shape[-3:])


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _digest(frame: np.ndarray) -> str:
    return hashlib.sha256(frame.tobytes()).hexdigest()[:32]
