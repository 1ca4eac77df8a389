"""Repaints the image of an observation, whichever wrapper the observation comes through."""

from __future__ import annotations

import copy
import math
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

_BYTES, _TRUTHS = ("uint8", "torch.uint8"), ("bool", "torch.bool")

Mask = str | Callable[[Any], Any]
"""Where an edit may show: see `simedit.wrapper.EditObservation`."""


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
    """Where an observation, or its space, holds its image: the first of `KNOWN_IMAGE_KEYS` that does, or the
    one image (uint8 [..., H, W, 3]) that there is.

    Raises:
        SimeditError: there is none, or it could be any of several; the message names them.
    """
    keys = list(_image_keys(space_or_obs))
    for key in KNOWN_IMAGE_KEYS:
        if key in keys:
            return key
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise SimeditError(f"several camera images: pass image_key=..., one or more of: {', '.join(keys)}")
    found = [(key, node, _why_not(node)) for key, node in _leaves(space_or_obs)]
    near = [f"; {key!r} is {what(node)}{why}" for key, node, why in found if why]
    raise SimeditError(f"no camera image: nothing here is uint8 [..., H, W, 3]{''.join(near)}")


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
    """Repaints the images of observations of one or several environments.

    Args:
        space: of the observations.
        editor, image_key, mask, composition, keep_raw: as `simedit.wrapper.EditObservation`'s.
        mask_ids: the segmentation ids to repaint, or None.
        ids: gives them where `mask_ids` does not: a tuple for all environments, or a list of tuples, one for
            each. It is asked for each observation, as a reset may rebuild the scene, and raises
            AttributeError where the environment does not say.
        count: how many environments an observation holds; if several, along its images' first axis.

    Attributes:
        image_keys: the paths of the images.

    Raises:
        SimeditError: as `simedit.wrapper.EditObservation`.
    """

    def __init__(
        self,
        space: gym.Space,
        editor: Editor,
        ids: Callable[[], tuple[int, ...] | list[tuple[int, ...]]],
        *,
        count: int,
        image_key: str | Sequence[str] | None,
        mask: Mask | Mapping[str, Mask],
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
        self.image_keys = _checked_image_keys(space, image_key)
        self._keep_raw = keep_raw
        if keep_raw is not None:
            self._check_raw(space, keep_raw)
        self._ids = ids if mask_ids is None else _constant(mask_ids)
        self._masks: dict[str, Callable[[Any], Any]] = {}
        if composition == "mask":
            if isinstance(mask, Mapping) and set(mask) != set(self.image_keys):
                raise SimeditError(
                    f"mask must have one entry for each image, {', '.join(map(repr, self.image_keys))}, "
                    f"but it has {', '.join(map(repr, mask)) or 'none'}"
                )
            for key in self.image_keys:
                self._masks[key] = self._mask_of(space, key, mask[key] if isinstance(mask, Mapping) else mask)
        self._unseen = set(self._masks)  # whose masks have not been looked at
        self._shown: Any = None

    @property
    def shown(self) -> np.ndarray | None:
        """uint8 [count, H, W, 3], what was painted last: of the first image, and of an environment with
        several frames (a stack) its last one; None at first."""
        return None if self._shown is None else as_numpy(self._shown)

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
        for key in self.image_keys:
            image = edited = get_path(space, key)
            if isinstance(image, gym.spaces.Box) and (image.low.any() or (image.high < 255).any()):
                edited = gym.spaces.Box(0, 255, image.shape, np.uint8)
            if edited is not image or self._keep_raw is not None:
                space = self._changed(space, key, edited, image)
        return space

    def with_raw(self, observation: Any) -> Any:
        """The observation with its images under both keys."""
        for key in self.image_keys:
            image = get_path(observation, key)
            observation = self._changed(observation, key, image, image)
        return observation

    def repaint(
        self,
        observation: Any,
        styles: Sequence[str],
        seeds: Sequence[int],
        which: Sequence[int] | None = None,
    ) -> Any:
        """The observation with its images repainted; the one given is not changed. All frames of one size
        are edited in one call.

        Args:
            styles, seeds: of each environment, for all its frames.
            which: repaint those environments alone.

        Raises:
            SimeditError: no seeds yet, an image that is not as its space says, a mask of another size or
                dtype, or an editor that gives no edits of the frames' shape and dtype.
        """
        if not seeds:
            raise SimeditError("no episode has begun: call reset() first")
        images = {key: self._image(observation, key) for key in self.image_keys}
        alike: dict[tuple[Any, ...], list[str]] = {}
        for key, image in images.items():
            alike.setdefault((*image.shape[-3:], getattr(image, "device", "")), []).append(key)
        edited: dict[str, Any] = {}
        for keys in alike.values():
            frames, masks, owners = [], [], []
            for key in keys:
                image = images[key]
                each = math.prod(image.shape[:-3]) // self.count
                frames.append(self._of(which, image.reshape(-1, *image.shape[-3:]), each))
                owners += [i for i in (range(self.count) if which is None else which) for _ in range(each)]
                if self._masks:
                    masks.append(self._of(which, self._mask(observation, key, image), each))
            edits = self._edit(
                _joined(frames),
                [styles[i] for i in owners],
                _joined(masks) if masks else None,
                [seeds[i] for i in owners],
            )
            for key, some in zip(keys, frames, strict=True):
                edited[key], edits = edits[: len(some)], edits[len(some) :]
        if which is None:
            first = edited[self.image_keys[0]]
            each = len(first) // self.count
            self._shown = _copied(first[each - 1 :: each])
        for key, image in images.items():
            raw, result = get_path(observation, key), edited[key]
            if which is None:
                result = result.reshape(image.shape)
            else:
                painted = result.reshape(len(which), -1, *image.shape[-3:])
                result = _copied(image).reshape(self.count, -1, *image.shape[-3:])
                result[list(which)] = painted
                result = result.reshape(image.shape)
            # new_tensor keeps the tensor's dtype and device, and spares this module the import of torch.
            if isinstance(result, np.ndarray) and hasattr(raw, "new_tensor"):
                result = raw.new_tensor(result)
            observation = self._changed(observation, key, result, raw)
        return observation

    def _of(self, which: Sequence[int] | None, rows: Any, each: int) -> Any:
        """Of frames or masks, `each` of one environment, those of some environments."""
        return rows if which is None else rows[[i * each + j for i in which for j in range(each)]]

    def _edit(self, frames: Any, styles: list[str], masks: Any, seeds: list[int]) -> Any:
        edits = self.editor.edit(frames, styles=styles, masks=masks, seeds=seeds)
        same = hasattr(edits, "new_tensor") == hasattr(frames, "new_tensor")
        if not same or what(edits) != what(frames):
            raise SimeditError(
                f"the editor must give what its frames are, a {type(frames).__name__} {what(frames)}, "
                f"but it gave a {type(edits).__name__} {what(edits)}"
            )
        return edits

    def _image(self, observation: Any, key: str) -> Any:
        """The image: an array, or a tensor that does not lie on the host."""
        image = get_path(observation, key)
        image = image if _off_host(image) else as_numpy(image)
        shape = tuple(image.shape)
        if str(image.dtype) not in _BYTES or len(shape) < 3 or shape[-1] != 3 or 0 in shape:
            raise SimeditError(f"the image {key!r} must be uint8 [..., H, W, 3], but it is {what(image)}")
        if self.count > 1 and (len(shape) < 4 or shape[0] != self.count):
            raise SimeditError(
                f"{self.count} environments, but images {list(shape)}, not [{self.count}, ..., H, W, 3]"
            )
        return image

    def _mask(self, observation: Any, key: str, image: Any) -> Any:
        """bool [N, H, W], where the image, of shape [..., H, W, 3], lies."""
        mask = self._masks[key](observation)
        if _off_host(image):
            import torch  # the observation's maker has imported it

            mask = torch.as_tensor(mask, device=image.device)
        else:
            mask = as_numpy(mask)
        shape, size, found = tuple(image.shape[:-1]), tuple(image.shape[-3:-1]), tuple(mask.shape)
        fits = found == size or (found[-2:] == size and math.prod(found) == math.prod(shape))
        if str(mask.dtype) not in _TRUTHS or not fits:
            many = f" or {list(shape)}" if shape != size else ""
            raise SimeditError(
                f"the mask must be bool {list(size)}{many}, like the image {key!r}, got {what(mask)}"
            )
        if key in self._unseen:
            self._unseen.remove(key)
            if not mask.any():
                gym.logger.warn(
                    f"the first mask of the image {key!r} is empty: nothing of it is repainted "
                    "(later ones are not looked at)"
                )
        mask = mask.reshape(-1, *size)
        many = (math.prod(shape[:-2]), *size)
        return np.broadcast_to(mask, many) if isinstance(mask, np.ndarray) else mask.expand(many)

    def _mask_of(self, space: gym.Space, image_key: str, mask: Any) -> Callable[[Any], Any]:
        """What gives an image's mask."""
        if callable(mask):
            return mask
        wanted = "mask must be 'segmentation', a segmentation's path or a function of the observation"
        if not isinstance(mask, str):
            raise SimeditError(f"{wanted}, not {mask!r}")
        ways_out = "pass mask=<function of the observation>, or composition='none' to show the whole edit"
        path = mask
        if mask == "segmentation":
            parent = image_key.rpartition("/")[0]
            beside = get_path(space, parent)
            there = set(beside) if isinstance(beside, Mapping) else set()
            names = [name for name in _SEGMENTATION_CHANNELS if name in there]
            if not names:
                raise SimeditError(f"no segmentation beside the image {image_key!r}: {ways_out}")
            path = f"{parent}/{names[0]}" if parent else names[0]
        try:
            labels = get_path(space, path)
        except SimeditError as error:
            raise SimeditError(f"{wanted}: {error}") from None
        size = get_path(space, image_key).shape[-3:-1]
        shape, kind = (
            getattr(labels, "shape", None) or (),
            np.dtype(getattr(labels, "dtype", None) or "O").kind,
        )
        flat = shape[-2:] == size
        if not (flat or shape[-3:-1] == size) or kind not in "iub":
            raise SimeditError(
                f"the segmentation {path!r} must be whole numbers or bool [..., {size[0]}, {size[1]}(, C)], "
                f"like the image {image_key!r}, but the observation space has {what(labels)}"
            )
        channel = ... if flat else (..., _SEGMENTATION_CHANNELS.get(path.rpartition("/")[2], 0))
        if kind == "b":
            return lambda observation: get_path(observation, path)[channel]
        try:
            self._ids()
        except AttributeError:
            raise SimeditError(
                "the environment does not say which segmentation ids to repaint: "
                f"pass mask_ids=..., or {ways_out}"
            ) from None
        return lambda observation: self._in_ids(get_path(observation, path)[channel])

    def _in_ids(self, labels: Any) -> Any:
        ids = self._ids()
        if not _off_host(labels):
            labels = as_numpy(labels)
            if isinstance(ids, list):
                return np.stack([np.isin(one, wanted) for one, wanted in zip(labels, ids, strict=True)])
            return np.isin(labels, ids)
        import torch

        several = [
            torch.tensor(one, device=labels.device) for one in (ids if isinstance(ids, list) else [ids])
        ]
        if not isinstance(ids, list):
            return torch.isin(labels, several[0])
        return torch.stack([torch.isin(one, wanted) for one, wanted in zip(labels, several, strict=True)])

    def _check_raw(self, space: gym.Space, keep_raw: Any) -> None:
        parents = [key.rpartition("/")[0] for key in self.image_keys]
        for key, parent in zip(self.image_keys, parents, strict=True):
            fit = key and isinstance(keep_raw, str) and keep_raw and "/" not in keep_raw
            if not fit or keep_raw in set(get_path(space, parent)):
                raise SimeditError(f"keep_raw={keep_raw!r} needs a free key beside the image {key!r}")
            if parents.count(parent) > 1:
                raise SimeditError(
                    f"keep_raw={keep_raw!r} has room for one image beside {key!r}, but image_key has several "
                    "there: put one EditObservation around another, each with a key of its own"
                )

    def _changed(self, node: Any, key: str, edited: Any, raw: Any) -> Any:
        """A copy of an observation, or its space, with the edited image at its key, and the raw one."""
        if not key:
            return edited
        parent, _, name = key.rpartition("/")
        changes = {name: edited}
        if self._keep_raw is not None:
            changes[self._keep_raw] = raw
        return _replaced(node, parent, changes)


def named_ids(
    mask_ids: Iterable[int | str], names: Callable[[], Mapping[str, int]]
) -> Callable[[], tuple[int, ...]]:
    """Gives the segmentation ids of `mask_ids`, which has numbers and names.

    Args:
        names: gives the id of each name; asked anew each time, as a reset may rebuild the scene.

    Raises:
        SimeditError: no whole number, or a name that is not among them, now or when the ids are asked for.
    """
    numbers = [each if isinstance(each, str) else whole_number("each of mask_ids", each) for each in mask_ids]

    def ids() -> tuple[int, ...]:
        known = names()
        for each in numbers:
            if isinstance(each, str) and each not in known:
                raise unknown("name in mask_ids", each, sorted(known))
        return tuple(known[each] if isinstance(each, str) else each for each in numbers)

    ids()
    return ids


def _constant(mask_ids: Iterable[int]) -> Callable[[], tuple[int, ...]]:
    if not isinstance(mask_ids, Iterable) or isinstance(mask_ids, str):
        raise SimeditError(f"mask_ids must be several whole numbers, such as [3, 4], got {mask_ids!r}")
    ids = tuple(whole_number("each of mask_ids", each) for each in mask_ids)
    return lambda: ids


def _checked_image_keys(space: gym.Space, keys: Any) -> tuple[str, ...]:
    if keys is None:
        return (find_image_key(space),)
    several = [keys] if isinstance(keys, str) else keys
    if not isinstance(several, list | tuple) or not several or not all(isinstance(k, str) for k in several):
        raise SimeditError(
            f"image_key must be a path, such as 'image/camera/rgb', or a list of paths, not {keys!r}"
        )
    if len(set(several)) < len(several):
        raise SimeditError(f"image_key names an image twice: {list(several)}")
    for key in several:
        _check_image_key(space, key)
    return tuple(several)


def _check_image_key(space: gym.Space, key: str) -> None:
    keys = list(_image_keys(space))
    if key in keys:
        return
    try:
        found = get_path(space, key)
    except SimeditError:
        if not keys:
            find_image_key(space)  # says what there is in place of images
        raise unknown("image key", key, keys) from None
    raise SimeditError(
        f"the image {key!r} must be uint8 [..., H, W, 3], "
        f"but the observation space has {what(found)}{_why_not(found)}"
    )


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in an observation, or in its space, and its path."""
    if isinstance(node, Mapping):
        for key in node:
            yield from _leaves(node[key], f"{prefix}/{key}" if prefix else str(key))
    else:
        yield prefix, node


def _image_keys(node: Any) -> Iterator[str]:
    """Paths of everything in an observation, or in its space, that is uint8 [..., H, W, 3]."""
    for path, leaf in _leaves(node):
        shape, dtype = getattr(leaf, "shape", None) or (), str(getattr(leaf, "dtype", ""))
        if len(shape) >= 3 and shape[-1] == 3 and dtype in _BYTES:
            yield path


def what(found: Any) -> str:
    """What an array, a tensor or a space is, for messages."""
    if getattr(found, "shape", None) is None or getattr(found, "dtype", None) is None:
        return type(found).__name__
    return f"{found.dtype} {list(found.shape)}"


def _why_not(found: Any) -> str:
    """Why what looks like a picture is no image that can be edited; "" of what does not look like one."""
    shape, dtype = tuple(getattr(found, "shape", None) or ()), str(getattr(found, "dtype", ""))
    if len(shape) >= 3 and shape[-1] == 3 and "float" in dtype:
        return " (floats: edit bytes of 0 to 255, and put what scales them around EditObservation)"
    if len(shape) >= 3 and shape[-3] == 3 and shape[-1] > 3:
        return " (channels first: put what moves them there around EditObservation)"
    if "uint8" in dtype and (len(shape) == 2 or (len(shape) > 2 and shape[-1] == 1)):
        return " (grey: put what takes the colours around EditObservation)"
    if "uint8" in dtype and len(shape) > 2 and shape[-1] == 4:
        return " (four channels: drop the fourth below EditObservation)"
    return ""


def _off_host(array: Any) -> bool:
    return hasattr(array, "new_tensor") and array.device.type != "cpu"


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(parts)


def _copied(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


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
