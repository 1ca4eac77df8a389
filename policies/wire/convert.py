"""By a mapping: from what a policy sees to an observation that travels, and from an answer to actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow
from scipy.spatial.transform import Rotation

from simedit.errors import SimeditError, shortened, unknown
from simedit.policies.mappings import ActionSpec, Gripper, Image, Key, Mapping
from simedit.protocols import NEEDS, Action, Proprioception

_FILTERS = {
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
}
_OPTIONAL = NEEDS[1:]
"""What a mapping has a key of the same name for."""
_BEYOND = 0.5
"""A motion of the gripper beyond this is one that sticks, as in SimplerEnv."""


def needs(mapping: Mapping, optional: Sequence[str] = ()) -> tuple[str, ...]:
    """What a mapping needs to see; see `simedit.protocols.Policy`.

    Args:
        optional: what the server wants of those that have a key of their name.
    """
    found = {need for need in _OPTIONAL if getattr(mapping, need) and need in optional}
    found |= {"frame" if image.camera is None else "cameras" for image in mapping.images}
    if mapping.states:
        found.add("proprioception")
    return tuple(need for need in NEEDS if need in found) or ("frame",)


def observation(
    mapping: Mapping, seen: Any, instruction: str, *, seed: int, first: bool, needs: Sequence[str]
) -> dict[str, Any]:
    """What the server is sent.

    Args:
        seen: the frame, or a dict of all that it `needs`.
        first: whether it begins an episode.

    Raises:
        SimeditError: there is no camera of a name.
    """
    given = {"frame": seen} if tuple(needs) == ("frame",) else seen
    found: dict[str, Any] = {}
    for image in mapping.images:
        _put(found, image.key, resized(_pixels(given, image.camera), image))
    for state in mapping.states:
        parts = [_state(given["proprioception"], part) for part in state.parts]
        _put(found, state.key, np.concatenate(parts).astype(np.float32))
    _put(found, mapping.instruction, instruction)
    _put(found, mapping.seed, seed)
    _put(found, mapping.reset, first)
    for need in _OPTIONAL:
        if need in given:
            _put(found, getattr(mapping, need), given[need])
    return found


def resized(pixels: np.ndarray, image: Image) -> np.ndarray:
    """A frame, uint8 [H, W, 3], at the size that an image wants."""
    if image.width is None or image.height is None or pixels.shape[:2] == (image.height, image.width):
        return pixels
    size, picture = (image.width, image.height), Pillow.fromarray(pixels)
    if image.resize == "stretch":
        return np.asarray(picture.resize(size, _FILTERS[image.filter]))
    # openpi's roundings: down, and of two uneven margins the upper and left one is the smaller.
    ratio = max(picture.width / image.width, picture.height / image.height)
    inner = picture.resize((int(picture.width / ratio), int(picture.height / ratio)), _FILTERS[image.filter])
    whole = Pillow.new(inner.mode, size, 0)
    whole.paste(inner, ((image.width - inner.width) // 2, (image.height - inner.height) // 2))
    return np.asarray(whole)


class Actions:
    """Reads answers, one episode at a time.

    Args:
        spec: how.
        execute: how many steps of an answer are played; None plays all.
    """

    def __init__(self, spec: ActionSpec, execute: int | None) -> None:
        self._spec, self._execute = spec, execute
        self._gripper = _Gripper(spec.gripper)
        if spec.columns is None:
            return
        place = {name: at for at, name in enumerate(spec.columns)}
        self._position = [place[name] for name in ("x", "y", "z")]
        self._quaternion = "qx" in place
        turn = ("qx", "qy", "qz", "qw") if self._quaternion else ("rx", "ry", "rz")
        self._turn = [place[name] for name in turn]
        self._grip = place["gripper"]

    def reset(self) -> None:
        """An episode begins."""
        self._gripper = _Gripper(self._spec.gripper)

    @np.errstate(
        over="ignore", invalid="ignore"
    )  # what float32 does not hold becomes infinite, and is refused
    def read(self, answer: Any) -> list[Action | np.ndarray]:
        """The actions to be played of an answer.

        Raises:
            SimeditError: it holds none: another shape, no numbers, or what is not finite in float32.
        """
        steps = _steps(answer, self._spec)
        if self._execute is not None and len(steps) < self._execute:
            raise SimeditError(
                f"the server gives {len(steps)} steps at once, but execute is {self._execute}: set it to at "
                f"most {len(steps)}"
            )
        played = steps[: self._execute]
        if not np.isfinite(played.astype(np.float32)).all():
            raise SimeditError(
                f"the server's actions are not finite numbers: {shortened(played.tolist(), 200)}"
            )
        ends = np.zeros(len(steps), bool)
        if self._spec.terminate is not None:
            found = np.asarray(_get(answer, self._spec.terminate)).reshape(-1)
            if found.shape != ends.shape or found.dtype.kind not in "biuf":
                raise SimeditError(
                    f"{_named(self._spec.terminate)} must be a number for each of {len(ends)} steps"
                )
            ends = found > 0.5
        return [self._action(step, bool(end)) for step, end in zip(played, ends, strict=False)]

    def _action(self, step: np.ndarray, terminate: bool) -> Action | np.ndarray:
        if self._spec.columns is None:
            return _as_it_is(step.astype(np.float32), terminate)
        turn = step[self._turn]
        if self._quaternion:
            if not np.linalg.norm(turn) > 1e-6:
                raise SimeditError(f"the server's rotation is no quaternion: {turn.tolist()}")
            turn = Rotation.from_quat(turn).as_rotvec()
        elif self._spec.rotation == "euler_xyz":
            turn = Rotation.from_euler("xyz", turn).as_rotvec()
        return Action(
            world_vector=(step[self._position] * self._spec.position_scale).astype(np.float32),
            rot_axangle=(turn * self._spec.rotation_scale).astype(np.float32),
            gripper=self._gripper.move(float(step[self._grip])),
            terminate=terminate,
        )


def _as_it_is(step: np.ndarray, terminate: bool) -> Action | np.ndarray:
    if len(step) == 7:
        return Action(step[:3], step[3:6], float(step[6]), terminate)
    if terminate:
        raise SimeditError(f"the server ends the episode, which an action of {len(step)} numbers cannot")
    return step


class _Gripper:
    """Turns an episode's gripper values into motions, each setting as some policy of SimplerEnv does."""

    def __init__(self, settings: Gripper) -> None:
        self._settings = settings
        self._before: float | None = None
        self._motion, self._left = 0.0, 0

    def move(self, value: float) -> float:
        way = self._settings
        where = (2 * value - way.open - way.closed) / (way.closed - way.open)  # -1 open to 1 closed
        where = min(max(where, -1.0), 1.0)
        if way.binary:
            where = 1.0 if where > 0 else -1.0
        motion = where
        if way.read != "value":
            before = where if self._before is None else self._before
            motion = (where - before) / 2
            if way.read == "change" or self._before is None:
                self._before = where
        if way.sticky and not self._left and abs(motion) > _BEYOND:
            self._motion, self._left, self._before = motion, way.sticky, where
        if self._left:
            self._left -= 1
            motion = self._motion
        return motion


def _steps(answer: Any, spec: ActionSpec) -> np.ndarray:
    """The answer's numbers, float64 [T, D]."""
    found = _get(answer, spec.key)
    numbers = np.asarray(found) if isinstance(found, np.ndarray | list | tuple) else None
    if numbers is None or numbers.dtype.kind not in "biuf":
        raise SimeditError(f"{_named(spec.key)} must be numbers, not {shortened(repr(found), 80)}")
    steps = numbers[None] if numbers.ndim == 1 else numbers
    columns = spec.columns or ()
    wide = (len(columns),) if columns else steps.shape[1:]
    if steps.ndim != 2 or not steps.size or steps.shape != (spec.chunk or len(steps), *wide):
        told = f"{len(columns)}]: {' '.join(columns)}" if columns else "D]"
        raise SimeditError(
            f"the server's {_named(spec.key)} are {list(numbers.shape)}, the mapping expects "
            f"[{spec.chunk or 'T'}, {told}"
        )
    return steps.astype(np.float64)


def _get(answer: Any, key: Key) -> Any:
    for part in (key,) if isinstance(key, str) else key:
        if not isinstance(answer, dict):
            raise SimeditError(f"the server's answer has no {_named(key)}")
        if part not in answer:
            raise SimeditError(f"the server's answer: {unknown('key', part, map(str, answer))}")
        answer = answer[part]
    return answer


def _put(found: dict[str, Any], key: Key | None, value: Any) -> None:
    if key is not None:
        *outer, last = (key,) if isinstance(key, str) else key
        for part in outer:
            found = found.setdefault(part, {})
        found[last] = value


def _named(key: Key) -> str:
    return repr(key if isinstance(key, str) else "/".join(key))


def _pixels(given: dict[str, Any], camera: str | None) -> np.ndarray:
    if camera is None:
        return given["frame"]
    if camera not in given["cameras"]:
        raise unknown("camera", camera, given["cameras"])
    return given["cameras"][camera]


def _state(robot: Proprioception, part: str) -> np.ndarray:
    pose = np.asarray(robot["tool_pose"], np.float64)
    if part == "joint_positions":
        return np.asarray(robot["joint_positions"])
    if part == "gripper_closed":
        return np.array([robot["gripper"]])
    if part == "gripper_open":
        return np.array([1 - robot["gripper"]])
    if part == "position":
        return pose[:3]
    if part == "quaternion_wxyz":
        return pose[3:]
    xyzw = np.roll(pose[3:], -1)
    if part == "quaternion_xyzw":
        return xyzw
    turn = Rotation.from_quat(xyzw)
    return turn.as_rotvec() if part == "axis_angle" else turn.as_euler("xyz")
