"""Masks of images from the segmentations beside them, in an observation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from simedit.arrays import as_numpy, joined, off_host, whole_number
from simedit.errors import SimeditError, unknown
from simedit.observations import get_path, leaves, what

Mask = str | Callable[[Any], Any]
"""Where an edit may show: see `simedit.wrapper.EditObservation`."""

Masks = Mask | Mapping[str, Mask]
"""One mask, or one for each region of a recipe, by its name."""

Ids = tuple[int, ...] | list[tuple[int, ...]]
"""Segmentation ids to repaint: for all environments, or for each one."""

# The segmentation's key beside the image, in ManiSkill 3 and in SIMPLER, and the channel that holds the
# id of the actor or link.
_CHANNELS = {"segmentation": 0, "Segmentation": 1}
_WANTED = "mask must be 'segmentation', a segmentation's path or a function of the observation"
_WAYS_OUT = "pass mask=<function of the observation>, or composition='none' to show the whole edit"


def masks_by_region(mask: Any, image_keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Each image's masks by region; a mask that has none is that of "".

    Args:
        mask: as `simedit.wrapper.EditObservation`'s; a mapping that has an image's path is one by image.

    Raises:
        SimeditError: it leaves out an image, or images have masks of other regions.
    """
    each = dict.fromkeys(image_keys, mask)
    if isinstance(mask, Mapping) and set(mask) & set(image_keys):
        if set(mask) != set(image_keys):
            raise SimeditError(
                f"mask must have one entry for each image, {', '.join(map(repr, image_keys))}, "
                f"but it has {', '.join(map(repr, mask)) or 'none'}"
            )
        each = dict(mask)
    found = {key: dict(one) if isinstance(one, Mapping) else {"": one} for key, one in each.items()}
    if len({frozenset(one) for one in found.values()}) > 1:
        raise SimeditError("mask must have the same regions for all images")
    for masks in found.values():
        if not masks or not all(isinstance(region, str) for region in masks):
            raise SimeditError(f"masks by region need names, for example 'block', got {list(masks)}")
    return found


def check_regions(masks: Mapping[str, Any], mask_ids: Any, region: str | None) -> None:
    """Refuse ids, or a region for styles that have none, that do not go with the masks.

    Args:
        masks: by region, of one image.
        mask_ids, region: as `simedit.wrapper.EditObservation`'s.

    Raises:
        SimeditError: they name other regions, or several segmentations share ids.
    """
    named = [name for name in masks if name]
    if not named and (region is not None or isinstance(mask_ids, Mapping)):
        what = "mask_ids by region" if region is None else f"region={region!r}"
        raise SimeditError(f"{what} needs masks by region: mask={{'block': ..., ...}}")
    for name in mask_ids if isinstance(mask_ids, Mapping) else ():
        if name not in masks:
            raise unknown("region in mask_ids", name, named)
    if region is not None and region not in named:
        raise unknown("region", region, named)
    if region is not None and "" in masks:
        raise SimeditError(f"mask[''] and region={region!r} say the same: give one of them")
    labelled = [name for name, mask in masks.items() if isinstance(mask, str)]
    if mask_ids is not None and not isinstance(mask_ids, Mapping) and len(labelled) > 1:
        raise SimeditError(
            f"masks by region need ids by region: mask_ids={{{labelled[0]!r}: {mask_ids!r}, ...}}"
        )


def ids_of_region(mask_ids: Any, region: str) -> Any:
    """The ids of a region among those of `simedit.wrapper.EditObservation`; None if none are given for it."""
    return mask_ids.get(region) if isinstance(mask_ids, Mapping) else mask_ids


def mask_of(space: gym.Space, image_key: str, mask: Any, ids: Callable[[], Ids]) -> Callable[[Any], Any]:
    """What gives an image's mask, bool, of an observation.

    Args:
        space: the observations'.
        mask: as `simedit.wrapper.EditObservation`'s.
        ids: see `simedit.repainter.Repainter`.

    Raises:
        SimeditError: there is no such segmentation, it is not as large as the image, or nothing says which
            ids to repaint.
    """
    if callable(mask):
        return mask
    if not isinstance(mask, str):
        raise SimeditError(f"{_WANTED}, not {mask!r}")
    path = _beside(space, image_key) if mask == "segmentation" else mask
    try:
        labels = get_path(space, path)
    except SimeditError as error:
        raise SimeditError(f"{_WANTED}: {error}") from None
    size = get_path(space, image_key).shape[-3:-1]
    shape = getattr(labels, "shape", None) or ()
    kind = np.dtype(getattr(labels, "dtype", None) or "O").kind
    flat = shape[-2:] == size
    if not (flat or shape[-3:-1] == size) or kind not in "iub":
        raise SimeditError(
            f"the segmentation {path!r} must be whole numbers or bool [..., {size[0]}, {size[1]}(, C)], "
            f"like the image {image_key!r}, but the observation space has {what(labels)}"
        )
    channel = ... if flat else (..., _CHANNELS.get(path.rpartition("/")[2], 0))
    if kind == "b":
        return lambda observation: get_path(observation, path)[channel]
    try:
        ids()
    except AttributeError:
        raise SimeditError(
            "the environment does not say which segmentation ids to repaint: "
            f"pass mask_ids=..., or {_WAYS_OUT}"
        ) from None
    return lambda observation: _in_ids(get_path(observation, path)[channel], ids())


def _beside(space: gym.Space, image_key: str) -> str:
    """The path of the segmentation beside an image."""
    parent, slash, _ = image_key.rpartition("/")
    there = {path for path, _ in leaves(space)}
    for name in _CHANNELS:
        if (path := f"{parent}{slash}{name}") in there:
            return path
    raise SimeditError(f"no segmentation beside the image {image_key!r}: {_WAYS_OUT}")


def _in_ids(labels: Any, ids: Ids) -> Any:
    if isinstance(ids, list):
        return joined([_in_ids(some, wanted)[None] for some, wanted in zip(labels, ids, strict=True)])
    if not off_host(labels):
        return np.isin(as_numpy(labels), ids)
    import torch  # the observation's maker has imported it

    return torch.isin(labels, torch.tensor(ids, dtype=torch.int64, device=labels.device))


def fixed_ids(mask_ids: Any) -> Callable[[], tuple[int, ...]]:
    """Gives the segmentation ids of `mask_ids`, which has numbers.

    Raises:
        SimeditError: it has others, or is no collection.
    """
    if not isinstance(mask_ids, Iterable) or isinstance(mask_ids, str):
        raise SimeditError(f"mask_ids must be several whole numbers, such as [3, 4], got {mask_ids!r}")
    ids = tuple(whole_number("each of mask_ids", each) for each in mask_ids)
    return lambda: ids


def named_ids(
    mask_ids: Iterable[int | str], names: Callable[[], Mapping[str, Sequence[int]]]
) -> Callable[[], tuple[int, ...]]:
    """Gives the segmentation ids of `mask_ids`, which has numbers and names.

    Args:
        names: gives the ids of each name, none where it has no ids that hold for all environments; asked anew
            each time, as a reset may rebuild the scene.

    Raises:
        SimeditError: no whole number, or a name that is not among them, now or when the ids are asked for.
    """
    wanted = [each if isinstance(each, str) else whole_number("each of mask_ids", each) for each in mask_ids]

    def ids() -> tuple[int, ...]:
        known = names()
        found: list[int] = []
        for each in wanted:
            if isinstance(each, str) and each not in known:
                raise unknown("name in mask_ids", each, sorted(known))
            if isinstance(each, str) and not known[each]:
                raise SimeditError(
                    f"{each!r} in mask_ids has not one id for all environments: pass a mask of your own"
                )
            found += known[each] if isinstance(each, str) else [each]
        return tuple(found)

    ids()
    return ids
