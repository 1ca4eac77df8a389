"""Repaints the image of an observation, whichever wrapper the observation comes through."""

from __future__ import annotations

import copy
import operator
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


def whole_number(name: str, value: Any) -> int:
    """A seed or an id as an int.

    Raises:
        SimeditError: it is no whole number, or below 0.
    """
    try:
        number = -1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise SimeditError(f"{name} must be 0 or more and a whole number, got {value!r}")
    return number


def as_numpy(array: Any) -> np.ndarray:
    """An array or a tensor of any device as a NumPy array, its memory shared where it can be."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


class Repainter:
    """Repaints the image of observations of one or several environments.

    Args:
        space: of the observations.
        editor, image_key, mask, composition, keep_raw: as `simedit.wrapper.EditObservation`'s.
        mask_ids: the segmentation ids to repaint, or None.
        ids: gives them where `mask_ids` does not: a tuple for all environments, or a list of tuples, one for
            each. It is asked for each observation, as a reset may rebuild the scene, and raises
            AttributeError where the environment does not say.
        count: how many environments an observation holds; if several, along its images' first axis.

    Attributes:
        shown: uint8 [count, H, W, 3], what was painted last: of an environment with several frames (a stack,
            several cameras) its last one; None at first.

    Raises:
        SimeditError: as `simedit.wrapper.EditObservation`.
    """

    shown: np.ndarray | None = None

    def __init__(
        self,
        space: gym.Space,
        editor: Editor,
        ids: Callable[[], tuple[int, ...] | list[tuple[int, ...]]],
        *,
        count: int,
        image_key: str | None,
        mask: Literal["segmentation"] | Callable[[Any], Any],
        mask_ids: Iterable[int] | None,
        composition: Literal["mask", "none"],
        keep_raw: str | None,
    ) -> None:
        if not (hasattr(editor, "edit") and hasattr(editor, "styles")):
            raise SimeditError(
                "editor must be an editor, such as SpecialistLibrary.load(...) gives, "
                f"not {type(editor).__name__}"
            )
        if composition not in ("mask", "none"):
            raise unknown("composition", composition, ("mask", "none"))
        self.editor, self.count = editor, count
        self.image_key = _checked_image_key(space, image_key)
        self._parent_key, _, self._image_name = self.image_key.rpartition("/")
        self._keep_raw = keep_raw
        if keep_raw is not None and not (
            self.image_key
            and isinstance(keep_raw, str)
            and keep_raw
            and "/" not in keep_raw
            and keep_raw not in set(get_path(space, self._parent_key))
        ):
            raise SimeditError(f"keep_raw={keep_raw!r} needs a free key beside the image {self.image_key!r}")
        self._ids = ids if mask_ids is None else _constant(mask_ids)
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

    def check_style(self, style: Any) -> str:
        """The style, if it is one of the editor's.

        Raises:
            SimeditError: it is not; names the nearest match.
        """
        if not isinstance(style, str) or style not in self.editor.styles:
            raise unknown("style", style, self.editor.styles)
        return style

    def extended(self, space: gym.Space) -> gym.Space:
        """The space of what `repaint` returns; the very same where that is no other."""
        image = get_path(space, self.image_key)
        changes = {} if self._keep_raw is None else {self._keep_raw: image}
        if isinstance(image, gym.spaces.Box) and (image.low.any() or (image.high < 255).any()):
            changes[self._image_name] = gym.spaces.Box(0, 255, image.shape, np.uint8)
        if not self.image_key:
            return changes.get("", space)
        return _replaced(space, self._parent_key, changes) if changes else space

    def with_raw(self, observation: Any) -> Any:
        """The observation with its image under both keys."""
        image = get_path(observation, self.image_key)
        return _replaced(observation, self._parent_key, {str(self._keep_raw): image})

    def repaint(self, observation: Any, styles: Sequence[str], seeds: Sequence[int]) -> Any:
        """The observation with its image repainted; the one given is not changed.

        Args:
            styles, seeds: of each environment, for all its frames.

        Raises:
            SimeditError: no seeds yet, an image that is not as its space says, or a mask of another size or
                dtype.
        """
        if not seeds:
            raise SimeditError("no episode has begun: call reset() first")
        image = get_path(observation, self.image_key)
        raw = as_numpy(image)
        if raw.dtype != np.uint8 or raw.ndim < 3 or raw.shape[-1] != 3 or len(raw.reshape(-1)) == 0:
            raise SimeditError(
                f"the image {self.image_key!r} must be uint8 [..., H, W, 3], "
                f"but it is {raw.dtype} {list(raw.shape)}"
            )
        if self.count > 1 and (raw.ndim < 4 or len(raw) != self.count):
            raise SimeditError(
                f"{self.count} environments, but images {list(raw.shape)}, not [{self.count}, ..., H, W, 3]"
            )
        frames = raw.reshape(-1, *raw.shape[-3:])
        each = len(frames) // self.count
        edits = self.editor.edit(
            frames,
            styles=[style for style in styles for _ in range(each)],
            masks=self._masks(observation, raw.shape[:-1]),
            seeds=[seed for seed in seeds for _ in range(each)],
        )
        self.shown = edits[each - 1 :: each].copy()
        edits = edits.reshape(raw.shape)
        # new_tensor keeps the tensor's dtype and device, and spares this module the import of torch.
        edited = image.new_tensor(edits) if hasattr(image, "new_tensor") else edits
        if not self.image_key:
            return edited
        changes = {self._image_name: edited}
        if self._keep_raw is not None:
            changes[self._keep_raw] = image
        return _replaced(observation, self._parent_key, changes)

    def _masks(self, observation: Any, shape: tuple[int, ...]) -> np.ndarray | None:
        """bool [N, H, W] for an image of `shape` [..., H, W]."""
        if self._mask is None:
            return None
        mask = as_numpy(self._mask(observation))
        size = shape[-2:]
        frames = int(np.prod(shape[:-2]))
        fits = mask.shape == size or (mask.shape[-2:] == size and mask.size == frames * np.prod(size))
        if mask.dtype != bool or not fits:
            many = f" or {list(shape)}" if shape != size else ""
            raise SimeditError(
                f"the mask must be bool {list(size)}{many}, like the image, "
                f"got {mask.dtype} {list(mask.shape)}"
            )
        return np.broadcast_to(mask.reshape(-1, *size), (frames, *size))

    def _segmentation_mask(self, observation: Any) -> np.ndarray:
        beside = get_path(observation, self._parent_key)
        name = next(name for name in _SEGMENTATION_CHANNELS if name in beside)
        shown = as_numpy(beside[name])[..., _SEGMENTATION_CHANNELS[name]]
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


def _constant(mask_ids: Iterable[int]) -> Callable[[], tuple[int, ...]]:
    if not isinstance(mask_ids, Iterable):
        raise SimeditError(f"mask_ids must be several whole numbers, such as [3, 4], got {mask_ids!r}")
    ids = tuple(whole_number("each of mask_ids", each) for each in mask_ids)
    return lambda: ids


def _checked_image_key(space: gym.Space, key: str | None) -> str:
    if key is None:
        return find_image_key(space)
    if not isinstance(key, str):
        raise SimeditError(f"image_key must be one path, such as 'image/camera/rgb', not {key!r}")
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
