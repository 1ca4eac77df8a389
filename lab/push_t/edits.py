"""The raw dataset with other pictures: edited by the recipe, or with its photographs laid on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simedit.lab.push_t.demonstrations import CAMERA
from simedit.recipe import Recipe

REGIONS = ("background", "block")
"""What is edited, in this order, as in the paper."""
_MASKS = "simedit.envs.push_t.masks"
_BATCH = 16


def edit(raw: Path, target: Path, recipe: Path) -> None:
    """Edit a dataset by `simedit-edit`.

    Raises:
        SimeditError: as `simedit-edit`.
    """
    from simedit.cli import edit
    from simedit.engine import has_openvino

    masks = tuple(f"{region}={_MASKS}:{region}" for region in REGIONS)
    edit(raw, target, specialist=str(recipe), mask=masks, batch_size=_BATCH, compile=has_openvino())


def lay(raw: Path, target: Path, recipe: Path) -> None:
    """The same with `laid` in place of the recipe's edits.

    Raises:
        SimeditError: as `simedit-edit`.
    """
    from simedit.lerobot.editing import edit_dataset, plan_dataset

    photographs = photographs_of(recipe)
    job = plan_dataset(raw, target, camera=CAMERA)
    record = {"editor": "photograph", "recipe": str(recipe)}
    edit_dataset(
        job,
        lambda frames, seeds: np.stack([laid(frame, photographs) for frame in frames]),
        record,
        seed=0,
        batch_size=_BATCH,
        title="laid",
    )


def photographs_of(recipe: Path) -> dict[str, np.ndarray]:
    """The photograph of each region's specialist, uint8 [h, w, 3]."""
    found = {}
    for one in Recipe.load(recipe).passes:
        specialist = one.specialist
        found[str(one.region)] = specialist.style_images[specialist.card.style_image]
    return found


def laid(frame: np.ndarray, photographs: dict[str, np.ndarray]) -> np.ndarray:
    """A frame, uint8 [H, W, 3], with each region's photograph in it, as it is."""
    from simedit.envs.push_t.masks import regions
    from simedit.photograph import PhotographEditor

    editor, masks, found = PhotographEditor(photographs, light=False), regions(frame), frame[None]
    for region in photographs:
        found = editor.edit(found, styles=[region], masks=masks[region][None], seeds=[0])
    return found[0]
