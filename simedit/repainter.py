"""Repaints the image of an observation, whichever wrapper the observation comes through."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from simedit.arrays import as_numpy, as_tensor, copied, joined, off_host
from simedit.errors import SimeditError, unknown
from simedit.observations import beside, checked_image_keys, get_path, keys_of, replaced, what
from simedit.protocols import Editor
from simedit.segmentation import (
    Ids,
    Masks,
    check_regions,
    ids_of_region,
    mask_of,
    masks_by_region,
)

_BYTES, _TRUTHS = ("uint8", "torch.uint8"), ("bool", "torch.bool")


class Repainter:
    """Repaints the images of observations of one or several environments.

    Args:
        space: of the observations.
        editor, image_key, mask, mask_ids, region, composition, keep_raw: as
            `simedit.wrapper.EditObservation`'s.
        ids: of `mask_ids`, or those of a region, makes what gives the segmentation ids to repaint: a tuple
            for all environments, or a list of tuples, one for each. That is asked for each observation, as a
            reset may rebuild the scene, and raises AttributeError where the environment does not say.
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
        ids: Callable[[Any], Callable[[], Ids]],
        *,
        count: int,
        image_key: str | Sequence[str] | None,
        mask: Masks | Mapping[str, Masks],
        mask_ids: Any,
        region: str | None,
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
        self.image_keys = checked_image_keys(space, image_key)
        self._keys = {key: keys_of(space, key) for key in self.image_keys}
        self._keep_raw = keep_raw
        if keep_raw is not None:
            self._check_raw(space, keep_raw)
        self._masks: dict[str, dict[str, Callable[[Any], Any]]] = {}
        self._region = region if composition == "mask" else None
        if composition == "mask":
            each = masks_by_region(mask, self.image_keys)
            check_regions(next(iter(each.values())), mask_ids, region)
            for key, masks in each.items():
                self._masks[key] = {
                    name: mask_of(space, key, one, ids(ids_of_region(mask_ids, name)))
                    for name, one in masks.items()
                }
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
                space = self.changed(space, key, edited, image)
        return space

    def with_raw(self, observation: Any) -> Any:
        """The observation with its images under both keys."""
        for key in self.image_keys:
            image = get_path(observation, key)
            observation = self.changed(observation, key, image, image)
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
        alike: dict[tuple[Any, ...], dict[str, Any]] = {}
        for key, image in images.items():
            alike.setdefault((*image.shape[-3:], getattr(image, "device", "")), {})[key] = image
        edited: dict[str, Any] = {}
        for some in alike.values():
            edited |= self._edited(observation, some, styles, seeds, which)
        if which is None:
            first = edited[self.image_keys[0]]
            each = len(first) // self.count
            self._shown = copied(first[each - 1 :: each])
        for key, image in images.items():
            raw, result = get_path(observation, key), edited[key]
            if which is not None:
                whole = copied(image).reshape(self.count, -1, *image.shape[-3:])
                whole[list(which)] = result.reshape(len(which), -1, *image.shape[-3:])
                result = whole
            observation = self.changed(observation, key, result.reshape(image.shape), raw)
        return observation

    def _edited(
        self,
        observation: Any,
        images: Mapping[str, Any],
        styles: Sequence[str],
        seeds: Sequence[int],
        which: Sequence[int] | None,
    ) -> dict[str, Any]:
        """The edited frames, uint8 [N, H, W, 3], of images of one size, of those environments."""
        chosen = range(self.count) if which is None else which
        frames: dict[str, Any] = {}
        masks: dict[str, list[Any]] = {}
        owners: list[int] = []
        for key, image in images.items():
            each = math.prod(image.shape[:-3]) // self.count
            rows = ... if which is None else [i * each + j for i in which for j in range(each)]
            frames[key] = image.reshape(-1, *image.shape[-3:])[rows]
            owners += [i for i in chosen for _ in range(each)]
            for region, mask in self._shown_in(observation, key, image).items():
                masks.setdefault(region, []).append(mask[rows])
        whole = joined(list(frames.values()))
        edits = self._edit(
            copied(whole) if len(frames) == 1 else whole,  # an editor may work in place
            styles=[styles[i] for i in owners],
            masks=self._given({region: joined(parts) for region, parts in masks.items()}),
            seeds=[seeds[i] for i in owners],
        )
        found = {}
        for key, some in frames.items():
            found[key], edits = edits[: len(some)], edits[len(some) :]
        return found

    def _edit(self, frames: Any, **asked: Any) -> Any:
        edits = self.editor.edit(frames, **asked)
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
        image = image if off_host(image) else as_numpy(image)
        shape = tuple(image.shape)
        if str(image.dtype) not in _BYTES or len(shape) < 3 or shape[-1] != 3 or 0 in shape:
            raise SimeditError(f"the image {key!r} must be uint8 [..., H, W, 3], but it is {what(image)}")
        if self.count > 1 and (len(shape) < 4 or shape[0] != self.count):
            raise SimeditError(
                f"{self.count} environments, but images {list(shape)}, not [{self.count}, ..., H, W, 3]"
            )
        return image

    def _given(self, masks: dict[str, Any]) -> Any:
        """The masks as an editor is given them."""
        if self._region is not None:
            masks[""] = masks[self._region]
        return masks[""] if set(masks) == {""} else masks or None

    def _shown_in(self, observation: Any, key: str, image: Any) -> dict[str, Any]:
        """An image's masks by region."""
        found = {region: self._mask(observation, key, image, region) for region in self._masks.get(key, ())}
        if key in self._unseen:
            self._unseen.remove(key)
            if not any(mask.any() for mask in found.values()):
                gym.logger.warn(
                    f"the first mask of the image {key!r} is empty: nothing of it is repainted "
                    "(later ones are not looked at)"
                )
        return found

    def _mask(self, observation: Any, key: str, image: Any, region: str) -> Any:
        """bool [N, H, W], where the image, of shape [..., H, W, 3], lies."""
        mask, called = self._masks[key][region](observation), f"mask of {region!r}" if region else "mask"
        if not off_host(mask):
            try:
                mask = np.array(as_numpy(mask))  # of its own: it may be read-only, or lie backwards
            except ValueError:
                raise SimeditError(
                    f"the {called} of the image {key!r} is no array, but {mask!r:.60}"
                ) from None
        shape, size, found = tuple(image.shape[:-1]), tuple(image.shape[-3:-1]), tuple(mask.shape)
        fits = found == size or (found[-2:] == size and math.prod(found) == math.prod(shape))
        if str(mask.dtype) not in _TRUTHS or not fits:
            many = f" or {list(shape)}" if shape != size else ""
            raise SimeditError(
                f"the {called} must be bool {list(size)}{many}, like the image {key!r}, got {what(mask)}"
            )
        mask = as_tensor(mask, image.device) if off_host(image) else as_numpy(mask)
        mask = mask.reshape(-1, *size)
        many = (math.prod(shape[:-2]), *size)
        return np.broadcast_to(mask, many) if isinstance(mask, np.ndarray) else mask.expand(many)

    def _check_raw(self, space: gym.Space, keep_raw: Any) -> None:
        outer = [self._keys[key][:-1] for key in self.image_keys]
        for key in self.image_keys:
            fit = key and isinstance(keep_raw, str) and keep_raw and "/" not in keep_raw
            if not fit or keep_raw in set(beside(space, key)):
                raise SimeditError(f"keep_raw={keep_raw!r} needs a free key beside the image {key!r}")
            if outer.count(self._keys[key][:-1]) > 1:
                raise SimeditError(
                    f"keep_raw={keep_raw!r} has room for one image beside {key!r}, but image_key has several "
                    "there: put one EditObservation around another, each with a key of its own"
                )

    def changed(self, node: Any, key: str, edited: Any, raw: Any) -> Any:
        """A copy of an observation, or its space, with the edited image at its key, and the raw one."""
        if isinstance(edited, np.ndarray) and hasattr(raw, "new_tensor"):
            edited = as_tensor(edited, raw.device)
        if not key:
            return edited
        *outer, name = self._keys[key]
        changes = {name: edited}
        if self._keep_raw is not None:
            changes[self._keep_raw] = raw
        return replaced(node, outer, changes)
