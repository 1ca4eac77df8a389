"""Edits of a frame one after the other: which frames have one, where it may show, from what noise."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from simedit.masks import mask_of
from simedit.recipe import Recipe
from simedit.settings import Finders

if TYPE_CHECKING:
    from simedit.scores.grounded_sam2 import GroundedSam2


@functools.lru_cache(maxsize=1)
def finder(finders: Finders, device: torch.device) -> GroundedSam2:
    """What finds nouns, loaded once.

    Raises:
        SimeditError: it cannot be had.
    """
    from simedit.scores.grounded_sam2 import GroundedSam2  # here, for few need it

    return GroundedSam2.configured(finders, device)


@dataclass(frozen=True)
class Looking:
    """Finds what nouns name in a frame."""

    finders: Finders
    device: torch.device
    nouns: tuple[str, ...]

    def __call__(self, frame: Any, style: str) -> Any:
        """bool [H, W], an array or a tensor as the frame, uint8 [H, W, 3], is; empty where there is none."""
        pixels = frame if isinstance(frame, Tensor) else torch.tensor(np.ascontiguousarray(frame))
        image = pixels.permute(2, 0, 1)[None].to(torch.float32) / 255
        find = finder(self.finders, self.device)  # pyright: ignore[reportArgumentType]  # they can be hashed
        masks, found = find(image.expand(len(self.nouns), -1, -1, -1), self.nouns)
        for noun, there in zip(self.nouns, found.tolist(), strict=True):
            if not there:
                warnings.warn(
                    f"{style!r}: no {noun!r} was found in a frame, where nothing is repainted for it",
                    stacklevel=2,
                )
        shown = (masks & found.to(masks.device)[:, None, None]).any(0)
        return shown if isinstance(frame, Tensor) else shown.numpy()


@dataclass(frozen=True)
class Step:
    """What is done to a frame at one time.

    Attributes:
        style: as the caller names it.
        key: of the specialist that does it.
        region: of the mask where it shows; "" is the caller's one mask.
        look: finds where it shows, in place of the caller.
    """

    style: str
    key: str
    region: str = ""
    look: Looking | None = None


@dataclass(frozen=True)
class Round:
    """The steps that frames have at one time.

    Attributes:
        members: the frames' numbers.
        steps: one for each.
        masks: bool [N, H, W], an array or a tensor as the frames are; None shows all.
    """

    members: list[int]
    steps: list[Step]
    masks: Any


def steps_of(recipe: Recipe, device: torch.device) -> list[Step]:
    """A recipe's steps; what finds its nouns is loaded.

    Raises:
        SimeditError: it cannot be had.
    """
    if any(one.nouns for one in recipe.passes):
        finder(recipe.regions, device)  # pyright: ignore[reportArgumentType]
    return [
        Step(
            recipe.name,
            f"{recipe.name}/{number}",  # no style's name has a slash
            one.region or "",
            Looking(recipe.regions, device, one.nouns) if one.nouns else None,
        )
        for number, one in enumerate(recipe.passes, 1)
    ]


def rounds_of(frames: Any, steps: Sequence[Sequence[Step]], masks: Any) -> list[Round]:
    """The first steps of all frames, the second ones of those that have two, and so on.

    Nouns are looked for in the frames as given, not in what passes make of them: a thing stays where it is
    whatever it is repainted as, but is found by how it looked; and so no pass's region depends on another
    pass, nor on noise.

    Args:
        frames: uint8 [N, H, W, 3].
        steps: of each frame.
        masks: as an editor's.

    Raises:
        SimeditError: a step's mask is not among them.
    """
    rounds = []
    for number in range(max(map(len, steps), default=0)):
        members = [i for i, some in enumerate(steps) if number < len(some)]
        some = [steps[i][number] for i in members]
        shown = [_shown(frames, i, one, masks) for i, one in zip(members, some, strict=True)]
        whole = None
        if any(mask is not None for mask in shown):
            shown = [_everywhere(frames[0]) if mask is None else mask for mask in shown]
            whole = torch.stack(shown) if isinstance(frames, Tensor) else np.stack(shown)
        rounds.append(Round(members, some, whole))
    return rounds


def seed_of(seed: int, number: int) -> int:
    """The seed of the noise that a frame's step of that number has, from 0, by the frame's own seed.

    The first one's is the frame's: a recipe of one pass edits as its specialist does. The others' are drawn
    from both, so that no two passes over a frame share their noise.
    """
    if number == 0:
        return seed
    drawn = np.random.SeedSequence(int(seed) % 2**64, spawn_key=(number,)).generate_state(1, np.uint64)
    return int(drawn[0]) >> 1


def _shown(frames: Any, i: int, step: Step, masks: Any) -> Any:
    """bool [H, W], where a step over frame i shows; None for everywhere."""
    if step.look is None:
        found = mask_of(masks, step.region, step.style)
        return None if found is None else found[i]
    looked = step.look(frames[i], step.style)
    bound = masks.get("") if isinstance(masks, Mapping) else masks
    return looked if bound is None else looked & bound[i]


def _everywhere(frame: Any) -> Any:
    size = frame.shape[:2]
    if isinstance(frame, Tensor):
        return torch.ones(size, dtype=torch.bool, device=frame.device)
    return np.ones(size, bool)
