"""The gymnasium wrapper: every camera frame an environment returns goes through an editor."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from simedit.arrays import as_numpy, whole_number
from simedit.errors import SimeditError
from simedit.masks import mapped
from simedit.observations import KNOWN_IMAGE_KEYS, find_image_key, get_path
from simedit.protocols import Editor
from simedit.repainter import Repainter
from simedit.segmentation import Masks, fixed_ids, named_ids

__all__ = ["KNOWN_IMAGE_KEYS", "EditObservation", "find_image_key", "get_path"]


class EditorInSpec:
    """An editor as a specification of environments keeps it: copies of the specification share it.

    `gymnasium.make(env.spec)` passes it to the wrapper, which takes the editor out.
    """

    def __init__(self, editor: Any) -> None:
        self.editor = editor.editor if isinstance(editor, EditorInSpec) else editor

    def __deepcopy__(self, memo: dict[int, Any]) -> EditorInSpec:
        return self


class EditObservation(gym.ObservationWrapper, RecordConstructorArgs):
    """Repaints the image of every observation in one style; every other key is left untouched.

    The image comes back in the container (NumPy array or torch tensor, on its device), dtype and batch
    shape in which it came, so the observation space stays as it is. The editor gets a tensor that lies on
    a GPU as such, and anything else as an array. One noise seed is drawn per episode and environment and
    used for all its frames. With the same `seed` and the same `reset(seed=...)` the
    edits are the same in any process; a reset without a seed goes on in that sequence of episodes.

    Where it goes among other wrappers: `FrameStackObservation(EditObservation(env, ...), 4)` edits each frame
    once, the other way round each of the four at every step, to the same pictures (but with
    `padding_type="zero"` black frames are edited too). `gymnasium`'s Autoreset
    may be on either side; one that resets within the step must be around it. Attributes are set through
    wrappers around it by `env.set_wrapper_attr("style", "wood")`: gymnasium's wrappers keep `env.style = ...`
    to themselves. (Before gymnasium 1.0 there is no such method: set it on this very object.) Two of them
    edit one after the other.

    With render mode "rgb_array", `render()` gives the frame that the policy saw last, uint8 [H, W, 3] (of
    several environments [N, H, W, 3]), so RecordVideo and HumanRendering around it show edits. In other
    render modes it is the environment's own `render()`, of unedited scenes, and a warning says so.

    Args:
        env: any environment whose observation is, or holds in nested dicts, an image uint8 [..., H, W, 3].
            If it holds several environments (`env.num_envs`, as ManiSkill's do), the image is
            [num_envs, H, W, 3].
        editor: what repaints, for example a `simedit.library.SpecialistLibrary`.
        style: one of `editor.styles`. It may be set again at any time: `env.style = "wood"`.
        seed: the noise's seed, 0 or more.
        image_key: path of the image, for example "image/overhead_camera/rgb" (keys may have slashes
            themselves), or a list of them: several cameras, whose frames of one size are edited in one call.
            None looks in `KNOWN_IMAGE_KEYS`, or takes the only image that there is, and "" is an observation
            that is the image itself.
        mask: where edits may show under composition "mask". "segmentation" takes the pixels whose id, in
            the segmentation beside the image, is in `mask_ids`; another path is a segmentation elsewhere in
            the observation, whole numbers [..., H, W] or [..., H, W, C], or a bool mask; a callable gets the
            observation and returns bool [H, W], or the image's shape without its last axis. Where the style
            may be a recipe with regions it is a dict, with one of these for each region's name. For several
            cameras it is one for all, or a dict with one for each path (a dict of regions, too). A camera's
            first mask, if it is empty in all regions, is warned of.
        mask_ids: segmentation ids to repaint, numbers or, in ManiSkill's environments, names of actors and
            links ("cube"); None asks the environment for its `edit_segmentation_ids`. Of masks by region a
            dict from region to such ids.
        region: of masks by region, the one where styles that have none of their own may show.
        composition: "mask" changes no pixel outside the mask; "none" shows the whole edit, needs no mask.
        keep_raw: a key under which the unedited image is put beside the edited one; the space gains it.
            ManiSkill's environments are told, for its wrappers read their space.

    Raises:
        SimeditError: unknown style, name or image key (with the nearest match), an image that is not uint8
            [..., H, W, 3], no segmentation or no ids for it, or another unfit argument; later, a mask of
            another size or dtype.

    Examples:
        >>> env = gym.make("simedit/Drawer-v1", task="open", drawer="top", pose="a0")
        >>> env = EditObservation(env, library, style="gold", seed=0, keep_raw="raw_rgb")
        >>> obs, info = env.reset(seed=0)
        >>> camera = obs["sensor_data"]["overhead_camera"]
        >>> camera["rgb"].shape, camera["raw_rgb"].shape
        (torch.Size([1, 512, 640, 3]), torch.Size([1, 512, 640, 3]))

        A mask of your own, for an environment without a segmentation; and two, for a recipe:

        >>> env = EditObservation(env, library, "gold", image_key="pixels", mask=lambda obs: obs["depth"] < 1)
        >>> masks = {"block": lambda obs: obs["depth"] < 1, "background": lambda obs: obs["depth"] >= 1}
        >>> env = EditObservation(env, library, "tabletop", image_key="pixels", mask=masks)
    """

    def __init__(
        self,
        env: gym.Env,
        editor: Editor | EditorInSpec,
        style: str,
        *,
        seed: int = 0,
        image_key: str | Sequence[str] | None = None,
        mask: Masks | Mapping[str, Masks] = "segmentation",
        mask_ids: Iterable[int | str] | Mapping[str, Iterable[int | str]] | None = None,
        region: str | None = None,
        composition: Literal["mask", "none"] = "mask",
        keep_raw: str | None = None,
    ) -> None:
        if not isinstance(env, gym.Env) or isinstance(env, gym.vector.VectorEnv):  # it is one before 1.0
            raise SimeditError(
                f"EditObservation wraps one gymnasium.Env, not a {type(env).__name__}: "
                "a gymnasium vector environment goes into EditVectorObservation, "
                "and around ManiSkill's goes ManiSkillVectorEnv(EditObservation(env, ...))"
            )
        kept = mapped(lambda ids: tuple(ids) if _is_several(ids) else ids, mask_ids)
        shared = EditorInSpec(editor)
        RecordConstructorArgs.__init__(
            self,
            _disable_deepcopy=True,
            editor=shared,
            style=style,
            seed=seed,
            image_key=image_key,
            mask=mask,
            mask_ids=kept,
            region=region,
            composition=composition,
            keep_raw=keep_raw,
        )
        gym.ObservationWrapper.__init__(self, env)
        self._seed = whole_number("seed", seed)
        _forget_raw(env)
        space, count = env.observation_space, _environments(env)
        self._repainter = Repainter(
            space,
            shared.editor,
            functools.partial(_ids, env),
            count=count,
            image_key=image_key,
            mask=mask,
            mask_ids=kept,
            region=region,
            composition=composition,
            keep_raw=keep_raw,
        )
        self.image_keys = self._repainter.image_keys
        for key in self.image_keys:
            shape = get_path(space, key).shape
            if count > 1 and shape[:-3] != (count,):
                raise SimeditError(
                    f"{count} environments, but images {list(shape)}, not [{count}, H, W, 3]: "
                    "what stacks frames goes around EditObservation"
                )
        if env.render_mode not in (None, "rgb_array"):
            gym.logger.warn(
                f"render mode {env.render_mode!r} below EditObservation shows unedited frames: make the "
                "environment with 'rgb_array', and put HumanRendering or RenderCollection around it"
            )
        self.style = style
        self._generators: list[np.random.Generator] = []
        self._noise: list[int] = []
        autoreset = getattr(gym.wrappers, "Autoreset", ())
        self._resets = any(isinstance(layer, autoreset) for layer in _layers(env))
        self._over = False
        extended = self._repainter.extended(space)
        if extended is not space:
            self.observation_space = extended
            with contextlib.suppress(AttributeError):  # ManiSkill's space of one environment
                single = env.get_wrapper_attr("single_observation_space")
                self.single_observation_space = self._repainter.extended(single)
        if keep_raw is not None:
            _tell_raw(env, self._repainter)

    @property
    def style(self) -> str:
        """The style of the frames to come, one of the editor's styles."""
        return self._style

    @style.setter
    def style(self, style: str) -> None:
        self._style = self._repainter.check_style(style)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and draw the new episode's noise.

        Args:
            seed: an int, or, for ManiSkill's batched environments, a list with one for each environment. The
                first reset without one counts as seeded with 0, as far as the noise goes.
            options: the environment's; with ManiSkill's "env_idx" (a partial reset) only those environments
                get new noise.

        Raises:
            SimeditError: a seed that is no whole number, another number of them, or options that are no dict.
        """
        if not isinstance(options, Mapping | None):
            raise SimeditError(f"options must be a dict or None, not {options!r}")
        fresh = None if seed is None else self._seeded(seed)
        which = self._chosen((options or {}).get("env_idx"))
        obs, info = self.env.reset(seed=seed, options=options)
        self._begin(which, fresh)
        return self.observation(obs), info

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step the environment; the observation is repainted.

        Raises:
            SimeditError: the environment has reset itself within the step, unseen.
        """
        obs, reward, terminated, truncated, info = self.env.step(action)
        if "final_obs" in info or "final_observation" in info:
            raise SimeditError(
                "the environment below EditObservation has reset itself within its step: "
                "put EditObservation below the wrapper that resets"
            )
        if self._resets:
            if self._over:
                self._begin(range(self._repainter.count), None)
            self._over = bool(terminated or truncated)
        return self.observation(obs), reward, terminated, truncated, info

    def observation(self, observation: Any) -> Any:
        """The observation with its image repainted; the one given is not changed."""
        return self._repainter.repaint(observation, [self._style] * len(self._noise), self._noise)

    def render(self) -> Any:
        """The frame that the policy saw last; the class says in which render modes.

        Raises:
            SimeditError: before the first reset.
        """
        if self.render_mode != "rgb_array":
            return self.env.render()
        shown = self._repainter.shown
        if shown is None:
            raise SimeditError("there is no frame to render yet: call reset() first")
        return (shown[0] if self._repainter.count == 1 else shown).copy()

    def _begin(self, which: Iterable[int], fresh: list[np.random.Generator] | None) -> None:
        """New noise for the environments whose episode has just begun."""
        if not self._noise:
            which = range(self._repainter.count)
            self._noise, self._generators = [0] * self._repainter.count, self._seeded(0)
        for index in which:
            if fresh is not None:
                self._generators[index] = fresh[index]
            self._noise[index] = int(self._generators[index].integers(2**63))
        self._over = False

    def _chosen(self, env_idx: Any) -> list[int]:
        """The environments that a reset means."""
        count = self._repainter.count
        if env_idx is None or count == 1:
            return list(range(count))
        chosen = np.atleast_1d(as_numpy(env_idx))
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        if not all(index in range(count) for index in chosen.tolist()):
            raise SimeditError(f"env_idx must be of 0 to {count - 1}, got {chosen.tolist()}")
        return [int(index) for index in chosen]

    def _seeded(self, seed: Any) -> list[np.random.Generator]:
        """One generator for each environment; one seeded by a list equals a lone environment."""
        count = self._repainter.count
        seeds = [whole_number("a seed", each) for each in np.atleast_1d(as_numpy(seed)).tolist()]
        if len(seeds) not in (1, count):
            raise SimeditError(f"{count} environments take one seed or {count}, got {len(seeds)}")
        keys = [(s, 0) for s in seeds] if len(seeds) == count else [(seeds[0], i) for i in range(count)]
        return [np.random.default_rng((self._seed, *key)) for key in keys]


def _is_several(ids: Any) -> bool:
    return isinstance(ids, Iterable) and not isinstance(ids, str)


def _ids(env: gym.Env, mask_ids: Any) -> Callable[[], tuple[int, ...]]:
    """Gives the segmentation ids to repaint."""
    if mask_ids is None:
        return lambda: tuple(env.get_wrapper_attr("edit_segmentation_ids"))
    if isinstance(mask_ids, tuple) and any(isinstance(each, str) for each in mask_ids):
        return named_ids(mask_ids, lambda: _names(env))
    return fixed_ids(mask_ids)


def _names(env: gym.Env) -> dict[str, list[int]]:
    """The segmentation ids of ManiSkill's actors and links by name: two robots have links of one name. Of
    what has another id in each of several scenes, or lies in some only, it is none.

    Raises:
        SimeditError: the environment has no such names.
    """
    try:
        named = env.get_wrapper_attr("segmentation_id_map")
    except AttributeError:
        raise SimeditError(
            "names in mask_ids need ManiSkill's `segmentation_id_map`, which this environment has not: "
            "give numbers"
        ) from None
    found: dict[str, list[int]] = {}
    count, apart = _environments(env), set()
    for number, thing in named.items():
        found.setdefault(thing.name, []).append(int(number))
        each = getattr(thing, "per_scene_id", None)
        if each is not None and (len(each) != count or len(set(map(int, each))) > 1):
            apart.add(thing.name)
    return {name: [] if name in apart else ids for name, ids in found.items()}


def _environments(env: gym.Env) -> int:
    """How many environments an environment holds."""
    try:
        return int(env.get_wrapper_attr("num_envs"))
    except AttributeError:
        return 1


def _layers(env: gym.Env) -> Iterator[gym.Env]:
    """An environment and all that it wraps."""
    yield env
    while isinstance(env, gym.Wrapper):
        env = env.env
        yield env


def _tell_raw(env: gym.Env, repainter: Repainter) -> None:
    """Tell ManiSkill's environment of the new key, as its own wrappers do: others read the space there."""
    base: Any = env.unwrapped
    if hasattr(base, "update_obs_space"):
        with contextlib.suppress(SimeditError):  # a wrapper between has moved the image
            told = repainter.with_raw(base._init_raw_obs)
            base.__dict__.setdefault("_told_by_simedit", base._init_raw_obs)
            base.update_obs_space(told)


def _forget_raw(env: gym.Env) -> None:
    """Take back what an EditObservation, no longer in use, has told ManiSkill's environment."""
    base: Any = env.unwrapped
    if "_told_by_simedit" in vars(base) and not any(isinstance(e, EditObservation) for e in _layers(env)):
        base.update_obs_space(vars(base).pop("_told_by_simedit"))
