"""Where an observation, or its space, holds its images, and what they are."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym

from simedit.errors import SimeditError, unknown

KNOWN_IMAGE_KEYS = ("sensor_data/overhead_camera/rgb", "image/overhead_camera/rgb", "")
"""Where `find_image_key` looks: ManiSkill 3, the original SIMPLER, a space that is the image itself."""

_BYTES = ("uint8", "torch.uint8")


def keys_of(node: Any, path: str) -> tuple[str, ...]:
    """The keys, from the outermost on, under which a nested dict (or Dict space) has the entry at `path`.

    A key may itself have slashes ("observation/image").

    Raises:
        SimeditError: there is no such entry; the message names the keys where the path ends. Or two have that
            path.
    """
    if not path:
        return ()
    ways = list(_ways(node, path))
    if len(ways) > 1:
        raise SimeditError(f"the path {path!r} means several entries: {', '.join(map(str, ways))}")
    if ways:
        return ways[0]
    rest = path
    while fit := _fit(node, rest):
        node, rest = node[fit[0]], rest[len(fit[0]) + 1 :]
    known = list(node) if isinstance(node, Mapping) else []
    raise unknown(f"key (of the path {path!r})", rest.partition("/")[0], known)


def _ways(node: Any, path: str) -> Iterator[tuple[str, ...]]:
    """All keys under which a nested dict has an entry at `path`."""
    for key in _fit(node, path):
        if key == path:
            yield (key,)
        for inner in _ways(node[key], path[len(key) + 1 :]) if key != path else ():
            yield (key, *inner)


def _fit(node: Any, path: str) -> list[str]:
    """A dict's keys with which a path may begin, the longest first."""
    # A Dict space's own `in` asks whether it contains an observation, so ask its keys.
    keys = [key for key in node if isinstance(key, str)] if isinstance(node, Mapping) else []
    return sorted((key for key in keys if f"{path}/".startswith(f"{key}/")), key=len, reverse=True)


def get_path(obs: Any, path: str) -> Any:
    """The entry of a nested dict (or Dict space) at `path`, for example "image/overhead_camera/rgb".

    The empty path is `obs` itself.

    Raises:
        SimeditError: there is no such entry; the message names the keys where the path ends.
    """
    for key in keys_of(obs, path):
        obs = obs[key]
    return obs


def beside(obs: Any, path: str) -> Mapping[str, Any]:
    """The dict (or Dict space) that holds the entry at `path`; an empty one for the empty path."""
    for key in keys_of(obs, path)[:-1]:
        obs = obs[key]
    return obs if path else {}


def replaced(node: Any, keys: Sequence[str], changes: Mapping[str, Any]) -> Any:
    """A copy of a nested dict (or Dict space) with `changes` made in what lies under those keys; the rest is
    shared."""
    if keys:
        changes = {keys[0]: replaced(node[keys[0]], keys[1:], changes)}
    if isinstance(node, gym.spaces.Dict):
        return gym.spaces.Dict({**node.spaces, **changes})
    node = copy.copy(node)
    node.update(changes)
    return node


def find_image_key(space_or_obs: Any) -> str:
    """Where an observation, or its space, holds its image: the first of `KNOWN_IMAGE_KEYS` that does, or the
    one image (uint8 [..., H, W, 3]) that there is.

    Raises:
        SimeditError: there is none, or it could be any of several; the message names them.
    """
    keys = list(image_keys(space_or_obs))
    for key in KNOWN_IMAGE_KEYS:
        if key in keys:
            return key
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise SimeditError(f"several camera images: pass image_key=..., one or more of: {', '.join(keys)}")
    found = [(key, node, why_not(node)) for key, node in leaves(space_or_obs)]
    near = [f"; {key!r} is {what(node)}{why}" for key, node, why in found if why]
    raise SimeditError(f"no camera image: nothing here is uint8 [..., H, W, 3]{''.join(near)}")


def checked_image_keys(space: gym.Space, keys: Any) -> tuple[str, ...]:
    """The paths of images that `keys` names: a path, a list of them, or None for the one of `find_image_key`.

    Raises:
        SimeditError: it names none, one twice, or what is no image in that space.
    """
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
    keys = list(image_keys(space))
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
        f"but the observation space has {what(found)}{why_not(found)}"
    )


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in an observation, or in its space, and its path."""
    if isinstance(node, Mapping):
        for key in node:
            yield from leaves(node[key], f"{prefix}/{key}" if prefix else str(key))
    else:
        yield prefix, node


def image_keys(node: Any) -> Iterator[str]:
    """Paths of everything in an observation, or in its space, that is uint8 [..., H, W, 3]."""
    for path, leaf in leaves(node):
        shape, dtype = getattr(leaf, "shape", None) or (), str(getattr(leaf, "dtype", ""))
        if len(shape) >= 3 and shape[-1] == 3 and dtype in _BYTES:
            yield path


def what(found: Any) -> str:
    """What an array, a tensor or a space is, for messages."""
    if getattr(found, "shape", None) is None or getattr(found, "dtype", None) is None:
        return type(found).__name__
    return f"{found.dtype} {list(found.shape)}"


def why_not(found: Any) -> str:
    """Why what looks like a picture is no image that can be edited; "" of what does not look like one."""
    shape: tuple[int, ...] = tuple(getattr(found, "shape", None) or ())
    dtype = str(getattr(found, "dtype", ""))
    if len(shape) >= 3 and shape[-1] == 3 and "float" in dtype:
        return " (floats: edit bytes of 0 to 255, and put what scales them around EditObservation)"
    if len(shape) >= 3 and shape[-3] == 3 and shape[-1] > 3:
        return " (channels first: put what moves them there around EditObservation)"
    flat = len(shape) == 1 or (len(shape) == 2 and shape[1] > 8 * shape[0])
    if "uint8" in dtype and flat:
        return " (flat: put what flattens it around EditObservation)"
    if "uint8" in dtype and (len(shape) == 2 or (len(shape) > 2 and shape[-1] == 1)):
        return " (grey: put what takes the colours around EditObservation)"
    if "uint8" in dtype and len(shape) > 2 and shape[-1] == 4:
        return " (four channels: drop the fourth below EditObservation)"
    return ""
