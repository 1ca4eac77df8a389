"""The gymnasium wrapper: every camera frame an environment returns goes through an editor."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from simedit.errors import SimeditError, unknown
from simedit.protocols import Editor

KNOWN_IMAGE_KEYS = ("sensor_data/overhead_camera/rgb", "image/overhead_camera/rgb", "")
"""Where `find_image_key` looks: ManiSkill 3, the original SIMPLER, a space that is the image itself."""

# The segmentation's key beside the image, in ManiSkill 3 and in SIMPLER, and the channel that holds the
# id of the actor or link.
_SEGMENTATION_CHANNELS = {"segmentation": 0, "Segmentation": 1}


def get_path(obs: Any, path: str) -> Any:
    """The entry of a nested dict (or Dict space) at `path`, for example "image/overhead_camera/rgb".

    The empty path is `obs` itself.

    Raises:
        SimeditError: there is no such entry; the message names the keys where the path ends.
    """
    for key in path.split("/") if path else ():
        # A Dict space's own `in` asks whether it contains an observation, so ask its keys.
        keys = list(obs) if isinstance(obs, Mapping) else []
        if key not in keys:
            raise unknown(f"key (of the path {path!r})", key, keys)
        obs = obs[key]
    return obs


def find_image_key(space_or_obs: Any) -> str:
    """The first of `KNOWN_IMAGE_KEYS` at which an observation, or its space, holds an image.

    Raises:
        SimeditError: none does; the message names what looks like an image (uint8 [..., H, W, 3]).
    """
    keys = list(_image_keys(space_or_obs))
    for key in KNOWN_IMAGE_KEYS:
        if key in keys:
            return key
    raise SimeditError(
        f"no camera image at {' or '.join(map(repr, KNOWN_IMAGE_KEYS[:2]))}; "
        + (
            f"pass image_key=..., one of: {', '.join(keys)}"
            if keys
            else "nothing here is uint8 [..., H, W, 3]"
        )
    )


class Repainter:
    """Repaints the image of observations, whichever wrapper they come through.

    Args:
        space: of the observations.
        editor, image_key, mask, composition, keep_raw: as `EditObservation`'s.
        ids: gives the segmentation ids to repaint: a tuple for all batch elements, or a list of tuples, one
            for each. It is asked for each observation, as a reset may rebuild the scene, and raises
            AttributeError where the environment does not say.

    Raises:
        SimeditError: as `EditObservation`.
    """

    def __init__(
        self,
        space: gym.Space,
        editor: Editor,
        ids: Callable[[], tuple[int, ...] | list[tuple[int, ...]]],
        *,
        image_key: str | None,
        mask: Literal["segmentation"] | Callable[[Any], Any],
        composition: Literal["mask", "none"],
        keep_raw: str | None,
    ) -> None:
        if composition not in ("mask", "none"):
            raise unknown("composition", composition, ("mask", "none"))
        self.editor = editor
        self.image_key = _checked_image_key(space, image_key)
        self._parent_key, _, self._image_name = self.image_key.rpartition("/")
        self._keep_raw = keep_raw
        if keep_raw is not None and (
            not self.image_key or keep_raw in set(get_path(space, self._parent_key))
        ):
            raise SimeditError(f"keep_raw={keep_raw!r} needs a free key beside the image {self.image_key!r}")
        self._ids = ids
        self._mask: Callable[[Any], Any] | None = None
        if composition == "mask":
            if callable(mask):
                self._mask = mask
            elif isinstance(mask, str) and mask == "segmentation":
                self._check_segmentation(space)
                self._mask = self._segmentation_mask
            else:
                raise SimeditError(
                    f"mask must be 'segmentation' or a function of the observation, not {mask!r}"
                )

    def count(self, observation: Any) -> int:
        """How many frames an observation holds."""
        return int(np.prod(get_path(observation, self.image_key).shape[:-3]))

    def extended(self, space: gym.Space) -> gym.Space:
        """The space with the key for the unedited image, where there is to be one."""
        if self._keep_raw is None:
            return space
        return _replaced(space, self._parent_key, {self._keep_raw: get_path(space, self.image_key)})

    def repaint(self, observation: Any, styles: Sequence[str], seeds: Sequence[int]) -> Any:
        """The observation with its image repainted, each frame in its style; the one given is not changed.

        Raises:
            SimeditError: another number of frames than of seeds, or a mask of another size or dtype.
        """
        image = get_path(observation, self.image_key)
        raw = _to_numpy(image)
        frames = raw.reshape(-1, *raw.shape[-3:])
        if len(frames) != len(seeds):
            raise SimeditError(f"{len(frames)} frames, but noise for {len(seeds)}: call reset() first")
        masks = self._masks(observation, frames.shape[:3])
        edits = self.editor.edit(frames, styles=styles, masks=masks, seeds=seeds).reshape(raw.shape)
        # new_tensor keeps the tensor's dtype and device, and spares this module the import of torch.
        edited = edits if isinstance(image, np.ndarray) else image.new_tensor(edits)
        if not self.image_key:
            return edited
        changes = {self._image_name: edited}
        if self._keep_raw is not None:
            changes[self._keep_raw] = image
        return _replaced(observation, self._parent_key, changes)

    def _masks(self, observation: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        if self._mask is None:
            return None
        mask = _to_numpy(self._mask(observation))
        if mask.dtype != bool or mask.shape not in (shape, shape[1:]):
            raise SimeditError(
                f"the mask must be bool {list(shape[1:])} or {list(shape)}, like the image, "
                f"got {mask.dtype} {list(mask.shape)}"
            )
        return np.broadcast_to(mask, shape)

    def _segmentation_mask(self, observation: Any) -> np.ndarray:
        beside = get_path(observation, self._parent_key)
        name = next(name for name in _SEGMENTATION_CHANNELS if name in beside)
        shown = _to_numpy(beside[name])[..., _SEGMENTATION_CHANNELS[name]]
        ids = self._ids()
        if isinstance(ids, list):
            return np.stack([np.isin(one, wanted) for one, wanted in zip(shown, ids, strict=True)])
        return np.isin(shown, ids)

    def _check_segmentation(self, space: gym.Space) -> None:
        ways_out = "pass mask=<function of the observation>, or composition='none' to show the whole edit"
        beside = get_path(space, self._parent_key)
        if not (isinstance(beside, Mapping) and set(beside) & set(_SEGMENTATION_CHANNELS)):
            raise SimeditError(f"no segmentation beside the image {self.image_key!r}: {ways_out}")
        try:
            self._ids()
        except AttributeError:
            raise SimeditError(
                "the environment does not say which segmentation ids to repaint: "
                f"pass mask_ids=..., or {ways_out}"
            ) from None


class EditObservation(gym.ObservationWrapper):
    """Repaints the image of every observation in one style; every other key is left untouched.

    The image comes back in the container (NumPy array or torch tensor, on its device), dtype and batch
    shape in which it came, so the observation space stays as it is. One noise seed is drawn per episode
    and batch element and used for all its frames. With the same `seed` and the same `reset(seed=...)` the
    edits are the same in any process; a reset without a seed goes on in that sequence of episodes.

    Args:
        env: any environment whose observation is, or holds in nested dicts, an image uint8 [..., H, W, 3].
        editor: what repaints, for example a `simedit.library.SpecialistLibrary`.
        style: one of `editor.styles`. It may be set again at any time: `env.style = "wood"`.
        seed: the noise's seed, 0 or more.
        image_key: path of the image, for example "image/overhead_camera/rgb"; None looks in
            `KNOWN_IMAGE_KEYS`, and "" is an observation that is the image itself.
        mask: where edits may show under composition "mask". "segmentation" takes the pixels whose id, in
            the segmentation beside the image, is in `mask_ids`; a callable gets the observation and
            returns bool [H, W], or [N, H, W] for a batch.
        mask_ids: segmentation ids to repaint; None asks the environment for its `edit_segmentation_ids`.
        composition: "mask" changes no pixel outside the mask; "none" shows the whole edit, needs no mask.
        keep_raw: a key under which the unedited image is put beside the edited one; the space gains it.

    Raises:
        SimeditError: unknown style or image key (with the nearest match), an image that is not uint8
            [..., H, W, 3], no segmentation or no ids for it; later, a mask of another size or dtype.

    Examples:
        >>> env = gym.make("simedit/Drawer-v1", task="open", drawer="top", pose="a0")
        >>> env = EditObservation(env, library, style="gold", seed=0, keep_raw="raw_rgb")
        >>> obs, info = env.reset(seed=0)
        >>> camera = obs["sensor_data"]["overhead_camera"]
        >>> camera["rgb"].shape, camera["raw_rgb"].shape
        (torch.Size([1, 512, 640, 3]), torch.Size([1, 512, 640, 3]))

        A mask of your own, for an environment without a segmentation:

        >>> env = EditObservation(env, library, "gold", image_key="pixels", mask=lambda obs: obs["depth"] < 1)
    """

    def __init__(
        self,
        env: gym.Env,
        editor: Editor,
        style: str,
        *,
        seed: int = 0,
        image_key: str | None = None,
        mask: Literal["segmentation"] | Callable[[Any], Any] = "segmentation",
        mask_ids: Iterable[int] | None = None,
        composition: Literal["mask", "none"] = "mask",
        keep_raw: str | None = None,
    ) -> None:
        super().__init__(env)
        if seed < 0:
            raise SimeditError(f"seed must be 0 or more, got {seed}")
        wanted = None if mask_ids is None else tuple(mask_ids)
        self._repainter = Repainter(
            env.observation_space,
            editor,
            lambda: tuple(env.get_wrapper_attr("edit_segmentation_ids")) if wanted is None else wanted,
            image_key=image_key,
            mask=mask,
            composition=composition,
            keep_raw=keep_raw,
        )
        self.image_key = self._repainter.image_key
        self.style = style
        self._seed = seed
        self._generators: list[np.random.Generator] = []
        self._noise: list[int] = []
        if keep_raw is not None:
            self.observation_space = self._repainter.extended(env.observation_space)
            with contextlib.suppress(AttributeError):  # ManiSkill's space of one batch element
                single = env.get_wrapper_attr("single_observation_space")
                self.single_observation_space = self._repainter.extended(single)

    @property
    def style(self) -> str:
        """The style of the frames to come, one of the editor's styles."""
        return self._style

    @style.setter
    def style(self, style: str) -> None:
        if style not in self._repainter.editor.styles:
            raise unknown("style", style, self._repainter.editor.styles)
        self._style = style

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and draw the new episode's noise.

        Args:
            seed: an int, or, for ManiSkill's batched environments, a list with one for each element. The
                first reset without one counts as seeded with 0, as far as the noise goes.
            options: the environment's; with ManiSkill's "env_idx" (a partial reset) only those elements
                get new noise.
        """
        obs, info = self.env.reset(seed=seed, options=options)
        count = self._repainter.count(obs)
        if len(self._noise) != count:
            self._noise, self._generators = [0] * count, self._seeded(count, 0)
        fresh = self._generators if seed is None else self._seeded(count, seed)
        for index in map(int, (options or {}).get("env_idx", range(count))):
            self._generators[index] = fresh[index]
            self._noise[index] = int(fresh[index].integers(2**63))
        return self.observation(obs), info

    def observation(self, observation: Any) -> Any:
        """The observation with its image repainted; the one given is not changed."""
        return self._repainter.repaint(observation, [self._style] * len(self._noise), self._noise)

    def _seeded(self, count: int, seed: Any) -> list[np.random.Generator]:
        """One generator for each batch element; an element seeded by a list equals a lone environment."""
        seeds = np.atleast_1d(seed).tolist()
        keys = [(s, 0) for s in seeds] if len(seeds) == count else [(seeds[0], i) for i in range(count)]
        return [np.random.default_rng((self._seed, *key)) for key in keys]


def _checked_image_key(space: gym.Space, key: str | None) -> str:
    if key is None:
        return find_image_key(space)
    keys = list(_image_keys(space))
    if key in keys:
        return key
    try:
        found = get_path(space, key)
    except SimeditError:
        raise unknown("image key", key, keys) from None
    raise SimeditError(
        f"the image {key!r} must be uint8 [..., H, W, 3], but the observation space has {found}"
    )


def _image_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Paths of everything in an observation, or in its space, that is uint8 [..., H, W, 3]."""
    if isinstance(node, Mapping):
        for key in node:
            yield from _image_keys(node[key], f"{prefix}/{key}" if prefix else str(key))
        return
    shape, dtype = getattr(node, "shape", None) or (), str(getattr(node, "dtype", ""))
    if len(shape) >= 3 and shape[-1] == 3 and dtype in ("uint8", "torch.uint8"):
        yield prefix


def _replaced(node: Any, path: str, changes: dict[str, Any]) -> Any:
    """A copy of a nested dict (or Dict space) with `changes` made at `path`; the rest is shared."""
    if path:
        head, _, rest = path.partition("/")
        changes = {head: _replaced(node[head], rest, changes)}
    if isinstance(node, gym.spaces.Dict):
        return gym.spaces.Dict({**node.spaces, **changes})
    node = copy.copy(node)
    node.update(changes)
    return node


def _to_numpy(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()
