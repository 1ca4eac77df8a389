"""What travels to a policy's server and how its answer is read: typed mappings, the named ones as data."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from simedit.config import Config, load_config
from simedit.errors import unknown

Protocol = Literal["openpi", "vla_eval"]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Key = Annotated[str | tuple[str, ...], Field(min_length=1)]
"""A key of an observation; of several, each lies in the dict under the one before."""

STATES = {
    "joint_positions": None,
    "gripper_closed": 1,
    "gripper_open": 1,
    "position": 3,
    "quaternion_wxyz": 4,
    "quaternion_xyzw": 4,
    "axis_angle": 3,
    "euler_xyz": 3,
}
"""What a state may be made of, and how many numbers that is; joints are as many as the robot has."""

_POSITION, _ANGLES, _QUATERNION = ("x", "y", "z"), ("rx", "ry", "rz"), ("qx", "qy", "qz", "qw")
_COLUMNS = (*_POSITION, *_ANGLES, *_QUATERNION, "gripper", "-")
_OF_COLUMNS = {"rotation", "position_scale", "rotation_scale", "gripper"}


class Image(Config):
    """Where a frame goes, and at what size.

    Attributes:
        key: of the observation.
        camera: by its name; None is the frame that the study is about.
        width, height: pixels; None leaves a frame as it is.
        resize: "pad" keeps its shape and fills up with black, as openpi's `resize_with_pad`; "stretch" fills
            the size with it.
        filter: of Pillow.
    """

    key: Key
    camera: str | None = None
    width: int | None = Field(default=None, gt=0, le=8192)
    height: int | None = Field(default=None, gt=0, le=8192)
    resize: Literal["stretch", "pad"] = "stretch"
    filter: Literal["bilinear", "bicubic", "lanczos"] = "bilinear"

    @model_validator(mode="after")
    def _whole_size(self) -> Image:
        if (self.width is None) != (self.height is None):
            raise ValueError("give both width and height, or neither")
        return self


def _known_states(parts: tuple[str, ...]) -> tuple[str, ...]:
    for part in parts:
        if part not in STATES:
            raise ValueError(str(unknown("part of a state", part, STATES)))
    return parts


class State(Config):
    """Where a vector of what the robot knows of itself goes, float32.

    Attributes:
        key: of the observation.
        parts: laid end to end; see `STATES`. The tool's pose is in robot base axes, metres and radians.
    """

    key: Key
    parts: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_states)]


class Gripper(Config):
    """How the gripper's column becomes an action in [-1, 1], +1 closing.

    Attributes:
        open, closed: the column's values for either; what lies beyond is clipped.
        read: "value" is where it stands between them. Of a policy that says where the gripper should be, the
            Google Robot wants the motion: "change" is by how much it closes since the last action, "switch"
            since the last motion that was `sticky`; an episode's first action is then 0.
        binary: only the nearer of the two values counts.
        sticky: a motion beyond 0.5 is repeated until it was made in so many steps; 0 repeats none.
    """

    open: Finite = -1.0
    closed: Finite = 1.0
    read: Literal["value", "change", "switch"] = "value"
    binary: bool = False
    sticky: int = Field(default=0, ge=0, le=1000)

    @model_validator(mode="after")
    def _consistent(self) -> Gripper:
        if self.open == self.closed:
            raise ValueError("open and closed must differ")
        if self.read == "switch" and not self.sticky:
            raise ValueError("read: switch needs sticky, the steps of a motion")
        return self


class ActionSpec(Config):
    """How the server's answer is read: numbers [T, D], or [D] for one step.

    Attributes:
        key: of the answer.
        columns: what each of the D numbers is: x y z, then rx ry rz or qx qy qz qw, gripper; "-" is not read.
            None plays the numbers as they are, as many as the environment takes.
        rotation: what rx ry rz are: an axis times its angle, or the Euler angles roll, pitch, yaw about fixed
            axes x, y, z.
        position_scale: metres of 1.
        rotation_scale: of the rotation's angle; 1 is radians. As in SimplerEnv, Euler angles become an axis
            and an angle first.
        gripper: see `Gripper`.
        terminate: key of the answer that says for each step whether it ends the episode; None: none does.
        chunk: the T that is expected; None takes any.
        execute: how many steps are played before the server is asked again; None plays all.
    """

    key: Key = "actions"
    columns: Annotated[tuple[str, ...], Field(max_length=256)] | None = (*_POSITION, *_ANGLES, "gripper")
    rotation: Literal["axis_angle", "euler_xyz"] = "axis_angle"
    position_scale: Finite = 1.0
    rotation_scale: Finite = 1.0
    gripper: Gripper = Gripper()
    terminate: Key | None = None
    chunk: int | None = Field(default=None, gt=0)
    execute: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> ActionSpec:
        if self.chunk and self.execute and self.execute > self.chunk:
            raise ValueError("execute must be at most chunk")
        if self.columns is None:
            if read := self.model_fields_set & _OF_COLUMNS:
                raise ValueError(
                    f"columns: null plays numbers as they are: leave out {', '.join(sorted(read))}"
                )
            return self
        for column in self.columns:
            if column not in _COLUMNS:
                raise ValueError(str(unknown("column", column, _COLUMNS)))
        named = sorted(column for column in self.columns if column != "-")
        ways = (sorted((*_POSITION, *turn, "gripper")) for turn in (_ANGLES, _QUATERNION))
        if named not in list(ways):
            raise ValueError(
                "columns must be x, y, z, gripper and either rx, ry, rz or qx, qy, qz, qw, each once"
            )
        return self


class Mapping(Config):
    """What a policy's server is sent, and how its answer is read.

    Attributes:
        protocol: the one it was made for; None fits either.
        source: where its conventions are written down.
        note: what is to be known of it.
        images, states, action: see there.
        instruction: the key of the instruction.
        proprioception, cameras, observation: the keys of `simedit.protocols.Proprioception`, of all frames by
            their cameras, and of all that the environment gives, as it gives it; all are for servers of
            simedit, and sent where such a server needs them.
        seed, reset: keys of the episode's seed and of whether it begins.
    """

    protocol: Protocol | None = None
    source: tuple[str, ...] = ()
    note: str = ""
    images: tuple[Image, ...] = ()
    states: tuple[State, ...] = ()
    instruction: Key | None = None
    proprioception: Key | None = None
    cameras: Key | None = None
    observation: Key | None = None
    seed: Key | None = None
    reset: Key | None = None
    action: ActionSpec = ActionSpec()

    @model_validator(mode="after")
    def _keys_apart(self) -> Mapping:
        wants = (self.proprioception, self.cameras, self.observation)
        single = (self.instruction, *wants, self.seed, self.reset)
        taken: list[tuple[str, ...]] = []
        for key in (*(part.key for part in (*self.images, *self.states)), *single):
            if key is None:
                continue
            path = (key,) if isinstance(key, str) else key
            if any(path[: len(other)] == other or other[: len(path)] == path for other in taken):
                raise ValueError(f"the key {'/'.join(path)} is used twice")
            taken.append(path)
        return self

    def meaning(self) -> dict[str, Any]:
        """All that an action depends on, as JSON values."""
        return self.model_dump(mode="json", exclude={"protocol", "source", "note"})


def named_mappings() -> dict[str, Path]:
    """The files of the mappings that ship, by name, sorted."""
    folder = Path(str(resources.files("simedit.policies.wire"))) / "mappings"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def named_mapping(name: str) -> Mapping:
    """A mapping that ships.

    Raises:
        SimeditError: no such name.
    """
    known = named_mappings()
    if name not in known:
        raise unknown("mapping", name, known)
    return load_config(Mapping, known[name])
