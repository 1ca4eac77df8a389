"""The raw dataset with other pictures: edited by the recipe, or with its photographs laid on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from simedit.lab.push_t.demonstrations import SIZE
from simedit.lab.push_t.plan import Source
from simedit.lab.push_t.seen import cut
from simedit.recipe import Recipe

REGIONS = ("background", "block")
"""What is edited, in this order, as in the paper."""
_MASKS = "simedit.envs.push_t.masks"
_BATCH = 16
_MANY = 1000
"""Frames for which it pays to make edits faster."""


def edit(raw: Path, target: Path, recipe: Path, camera: str | None = None) -> None:
    """Edit a dataset by `simedit-edit`.

    Raises:
        SimeditError: as `simedit-edit`.
    """
    from simedit.cli import edit
    from simedit.engine import has_openvino
    from simedit.lerobot import read_dataset

    masks = tuple(f"{region}={_MASKS}:{region}" for region in REGIONS)
    faster = has_openvino() and read_dataset(raw, camera).frames > _MANY
    edit(raw, target, specialist=str(recipe), camera=camera, mask=masks, batch_size=_BATCH, compile=faster)


def lay(raw: Path, target: Path, recipe: Path, camera: str | None = None) -> None:
    """The same with `laid` in place of the recipe's edits.

    Raises:
        SimeditError: as `simedit-edit`.
    """
    from simedit.lerobot.editing import edit_dataset, plan_dataset

    photographs = photographs_of(recipe)
    job = plan_dataset(raw, target, camera=camera)
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


def shown(recipe: Path, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[list[np.ndarray]]:
    """A row of pictures for each raw frame, uint8 [H, W, 3], and one of the real world: raw, its background
    edited, its block too, photographs laid on it, the real world."""
    from simedit.envs.push_t.masks import regions
    from simedit.library import SpecialistLibrary
    from simedit.recipe import read_card
    from simedit.specialist import Specialist

    photographs, rows = photographs_of(recipe), []
    first = recipe / read_card(recipe).passes[0].specialist
    library = SpecialistLibrary.load([recipe, first])
    styles = [Specialist.load(first).card.style, read_card(recipe).name]
    for frame, real in pairs:
        by_region = {name: mask[None] for name, mask in regions(frame).items()}
        masks = [by_region[REGIONS[0]], by_region]
        edits = [
            library.edit(frame[None], styles=[style], masks=mask, seeds=[0])[0]
            for style, mask in zip(styles, masks, strict=True)
        ]
        rows.append([frame, *edits, laid(frame, photographs), real])
    return rows


def drawn_pairs(seeds: Iterable[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """gym-pusht's picture and proxy-real's of the same state, for each state that a seed draws; uint8
    [SIZE, SIZE, 3] each."""
    from simedit.envs.push_t.env import arrange, drawn, simulator
    from simedit.envs.push_t.proxy_real import photograph
    from simedit.envs.push_t.scene import draw_state

    env, pairs = simulator(SIZE), []
    for seed in seeds:
        state = draw_state(np.random.default_rng(seed))
        arrange(env, state)
        pairs.append((drawn(env), photograph(state, SIZE, seed)[0]))
    return pairs


def recorded_pairs(raw: Source, real: Source, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """First frames of a raw dataset's episodes and of a real one's, as policies see them, uint8 [H, W, 3]."""
    shown = ((cut(frame, one) for frame in first_frames(one)) for one in (raw, real))
    return list(islice(zip(*shown, strict=False), count))


def first_frames(source: Source) -> Iterator[np.ndarray]:
    """Of each episode of a dataset, uint8 [H, W, 3]."""
    from simedit.lerobot import read_dataset
    from simedit.video import read

    for file in read_dataset(source.dataset, source.camera).files:
        starts = {span.first for span in file.spans if span.episode >= source.first}
        yield from (frame for number, frame in enumerate(read(file.video)) if number in starts)
