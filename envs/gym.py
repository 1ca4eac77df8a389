"""`suite: {kind: gym, id: ...}`: any environment that gymnasium can make, as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from simedit import factories
from simedit.arrays import as_numpy
from simedit.config import Config
from simedit.envs.suite import Places, SuiteKind
from simedit.errors import SimeditError, shortened, told, unknown
from simedit.names import Name
from simedit.observations import get_path

_FRAME = "frame"
"""The key of the picture, where the observation is that picture and nothing else."""
_ENDLESS = 10**9
"""Steps: whoever plays an episode counts them."""
_UNLIMITED = 200
"""Steps of an episode, where the environment is registered without a limit and the study sets none."""


def _path_or_factory(mask: str) -> str:
    return factories.check_name(mask) if ":" in mask else mask


def _one_or_several(value: Any) -> str:
    return "by region" if isinstance(value, dict) else "one"


_Mask = Annotated[str, AfterValidator(_path_or_factory)]
_Masks = Annotated[
    Annotated[_Mask, Tag("one")] | Annotated[dict[Name, _Mask], Tag("by region")],
    Discriminator(_one_or_several),
]
_Ids = Annotated[
    Annotated[list[int | str], Tag("one")] | Annotated[dict[Name, list[int | str]], Tag("by region")],
    Discriminator(_one_or_several),
]


class GymTask(Config):
    """What is asked of a policy, and how the environment is told.

    Attributes:
        instruction: what the policy is told.
        options: of the environment's reset.
        args: of `gymnasium.make`, in place of the suite's or beside them.
    """

    instruction: str = ""
    options: dict[str, JsonValue] = {}
    args: dict[str, JsonValue] = {}


class GymSuite(SuiteKind):
    """A registered environment whose pictures are uint8 [..., H, W, 3].

    Its scenes are resets with the seeds 0, 1 and so on; its one domain is "raw". An episode has as many steps
    as it is registered with, or 200; the study's `max_steps` says otherwise.

    Attributes:
        id: for example "gym_pusht:gym_pusht/PushT-v0": a module that registers it, a colon, its id.
        args: of `gymnasium.make`.
        image_key: path of the picture in the observation, such as "sensor_data/base_camera/rgb"; "" where the
            observation is the picture, and "render" for what `render()` gives, where none is observed.
        mask: where edits may show. None: nowhere said, so edits need `editor.composition: none`;
            "segmentation": the pixels with one of `mask_ids` in the segmentation beside the picture; the path
            of a segmentation elsewhere in the observation, or of a bool mask; or
            "package.module:callable", which gets the observation (`{"frame": picture, ...}` for the keys ""
            and "render") and gives bool [H, W]. For recipes, a mapping from each region's name to one of
            these.
        mask_ids: of the segmentation, numbers or, in ManiSkill's environments, names of actors and links, of
            masks by region a mapping to such; None asks the environment for its `edit_segmentation_ids`.
        tasks: by name.
        starts: how many scenes.
        success, progress: keys of the environment's `info`, or "reward", for the step's. Success is what is
            true, or above 0; without `progress` it is success, 0 or 1.
    """

    kind: Literal["gym"]
    id: str
    args: dict[str, JsonValue] = {}
    image_key: str = ""
    mask: _Masks | None = None
    mask_ids: _Ids | None = None
    tasks: dict[Name, GymTask] = Field(default={"task": GymTask()}, min_length=1)
    starts: int = Field(default=9, gt=0)
    success: str = "success"
    progress: str | None = None

    @property
    def max_steps(self) -> int:
        """What the environment is registered with; else _UNLIMITED."""
        return _registered(self.id).max_episode_steps or _UNLIMITED

    @property
    def scenes(self) -> Mapping[str, Sequence[str]]:
        return {"start": tuple(map(str, range(self.starts)))}

    @property
    def domains(self) -> Mapping[str, Sequence[str]]:
        return {"raw": ("",)}

    def suite(self) -> GymSuite:
        return self

    def problems(self, places: Places) -> list[str]:
        found = []
        try:
            _registered(self.id)
        except SimeditError as error:
            found.append(str(error))
        for mask in self._masks.values():
            if ":" in mask:
                found += factories.problems(mask, None)
        if self.mask_ids is not None and all(":" in mask for mask in self._masks.values()):
            found.append(
                "suite.mask_ids are of a segmentation: they need suite.mask: segmentation, or its path"
            )
        if any("max_episode_steps" in args for args in (self.args, *(t.args for t in self.tasks.values()))):
            found.append("max_episode_steps is none of suite.args: set the study's max_steps")
        return found

    def meaning(self, places: Places) -> dict[str, Any]:
        """The settings, and fingerprints of the modules that make and register it, of the mask's, and of the
        files that arguments name. Starts and tasks may be added to a study."""
        found = self.model_dump(mode="json", exclude={"starts", "tasks"})
        found["files"] = factories.files([self.args, *(t.model_dump() for t in self.tasks.values())])
        found |= {f"tasks.{name}": task.model_dump(mode="json") for name, task in self.tasks.items()}
        modules = dict.fromkeys((self.id.rpartition(":")[0], _maker(_registered(self.id))))
        found["environment"] = {name: factories.sources(name) for name in modules if name}
        for region, mask in self._masks.items():
            if ":" in mask:
                found[f"masks.{region}".rstrip(".")] = factories.fingerprints(mask, {})["factories"]
        return found

    def editing(self) -> dict[str, Any]:
        masks = {
            region: factories.find(mask) if ":" in mask else mask for region, mask in self._masks.items()
        }
        mask = masks if isinstance(self.mask, dict) else masks.get("")
        return {"image_key": self._key, "mask": mask, "mask_ids": self.mask_ids}

    @property
    def _masks(self) -> dict[str, str]:
        """By region; "" is one for all."""
        if isinstance(self.mask, dict):
            return self.mask
        return {} if self.mask is None else {"": self.mask}

    @property
    def _key(self) -> str:
        return _FRAME if self.image_key in ("", "render") else self.image_key

    def make(self, domain: str, variant: str) -> gymnasium.Env:
        """See `simedit.envs.suite.Suite.make`. A task with `args` has an environment of its own."""
        return _StudyEnv(self)


class _StudyEnv(gymnasium.Env):
    """The environment of the task in play, in the words of a study."""

    def __init__(self, suite: GymSuite) -> None:
        self._suite = suite
        self._built: dict[str, JsonValue] | None = None
        self._task = next(iter(suite.tasks))
        self._build()

    def _build(self) -> None:
        suite, args = self._suite, self._suite.args | self._suite.tasks[self._task].args
        if args == self._built:
            return
        if self._built is not None:
            self._env.close()
        self._env, self._built = _made(suite, args), args
        observed, asked = self._env.observation_space, self._env.action_space
        self._bare = isinstance(observed, gymnasium.spaces.Box)
        self.observation_space = gymnasium.spaces.Dict({_FRAME: observed}) if self._bare else observed
        if isinstance(asked, gymnasium.spaces.Discrete):
            low, high = np.array([asked.start]), np.array([asked.start + asked.n - 1])
            asked = gymnasium.spaces.Box(low, high, dtype=np.int64)
        if not isinstance(asked, gymnasium.spaces.Box):
            raise SimeditError(f"{suite.id} takes actions of {asked}: a study plays Box and Discrete ones")
        self.action_space = asked
        _check_picture(self.observation_space, suite)

    @property
    def edit_segmentation_ids(self) -> Any:
        return self._env.get_wrapper_attr("edit_segmentation_ids")

    @property
    def segmentation_id_map(self) -> Any:
        return self._env.get_wrapper_attr("segmentation_id_map")

    @property
    def unwrapped(self) -> gymnasium.Env:
        return self._env.unwrapped

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        assert options is not None
        self._task, (start,) = options["task"], options["scene"]
        self._build()
        task = self._suite.tasks[self._task]
        obs, info = self._env.reset(seed=int(start), options=deepcopy(task.options) or None)
        return self._seen(obs), {**_rest(info), "instruction": task.instruction}

    def step(self, action: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        space = self._env.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            given: Any = int(action.item())
        else:
            given = np.asarray(action, space.dtype).reshape(space.shape or ())
        obs, reward, terminated, truncated, info = self._env.step(given)
        known = {"reward": reward, **info}
        # One that tells it at an episode's end alone is asked for it there alone.
        over = bool(as_numpy(terminated).item() or as_numpy(truncated).item())
        told: dict[str, Any] = {}
        if over or self._suite.success in known:
            told = {"success": _number(known, self._suite.success) > 0}
            told["progress"] = float(told["success"])
        if self._suite.progress is not None and (over or self._suite.progress in known):
            told["progress"] = min(1.0, max(0.0, _number(known, self._suite.progress)))
        return self._seen(obs), reward, terminated, truncated, {**_rest(info), **told}

    def close(self) -> None:
        self._env.close()

    def _seen(self, obs: Any) -> Any:
        return {_FRAME: obs} if self._bare else obs


def _registered(name: str) -> EnvSpec:
    """Import the module before the colon, where there is one; what is then registered of that id.

    Raises:
        SimeditError: it cannot be imported, or no environment of that id is registered then.
    """
    module, _, registered = name.rpartition(":")
    try:
        if module:
            factories.module(module)
        return gymnasium.spec(registered)
    except SimeditError as error:
        raise SimeditError(f"cannot make the environment {name}: {error}") from error
    except (gymnasium.error.Error, ValueError) as error:
        raise SimeditError(f"cannot make the environment {name}: {told(error)}") from error


def _rest(info: Mapping[str, Any]) -> dict[str, Any]:
    """What an environment tells, without what it happens to call by a word of the studies'."""
    words = ("instruction", "start", "misplaced", "success", "progress", "measures")
    return {key: value for key, value in info.items() if key not in words}


def _maker(spec: EnvSpec) -> str:
    """The module of what makes a registered environment; "" where that is not to be told."""
    if isinstance(spec.entry_point, str):
        return spec.entry_point.partition(":")[0]
    return getattr(getattr(spec.entry_point, "func", spec.entry_point), "__module__", "") or ""


def _made(suite: GymSuite, args: Mapping[str, Any]) -> gymnasium.Env:
    try:
        _registered(suite.id)
        env = gymnasium.make(suite.id, **deepcopy(dict(args)), max_episode_steps=_ENDLESS)
        if suite.image_key == "render":
            if not hasattr(gymnasium.wrappers, "AddRenderObservation"):
                raise SimeditError("suite.image_key: render needs gymnasium 1.0 or newer")
            env = gymnasium.wrappers.AddRenderObservation(env, render_only=False, render_key=_FRAME)
    except SimeditError:
        raise
    except Exception as error:
        raise SimeditError(f"cannot make the environment {suite.id}: {told(error)}") from error
    return env


def _check_picture(space: gymnasium.Space, suite: GymSuite) -> None:
    try:
        found = get_path(space, suite._key)
    except SimeditError as error:
        raise SimeditError(f"suite.image_key: {error}") from error
    if not isinstance(found, gymnasium.spaces.Box) or found.dtype != np.uint8 or found.shape[-1:] != (3,):
        raise SimeditError(
            f"suite.image_key: {suite.image_key!r} of {suite.id} is {found}, and no picture, "
            "uint8 [..., H, W, 3]: name the path of one, or set it to render"
        )


def _number(info: Mapping[str, Any], key: str) -> float:
    if key not in info:
        raise KeyError(
            f"the environment's info: {unknown('key', key, info)}. Set suite.success and suite.progress"
        )
    found = as_numpy(info[key])
    if found.size != 1 or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise ValueError(f"{key} of the environment's info is {shortened(repr(info[key]))}, and no number")
    return float(found.item())
