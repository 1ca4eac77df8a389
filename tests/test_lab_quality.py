"""The yardstick of the lab's editor: it must praise painted cabinets and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from box_cabinet import HANDLE, INSIDE, cabinet

from simedit.composition import compose
from simedit.envs.surface import CABINET
from simedit.errors import SimeditError
from simedit.lab.materials import STYLES, draw_light, paint, photograph, vary
from simedit.lab.photographs import style_material
from simedit.lab.quality import (
    StyleJudge,
    edge_agreement,
    held_out,
    lit_boards,
    measure,
    region_statistics,
    strip,
    untrained_library,
)
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Card, Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.config import CannyConfig

CANNY = CannyConfig(low=50, high=100, blur=1.0)
SURFACES = [cabinet(left) for left in (24, 30, 36)]
FRAMES = np.stack([surface.rgb for surface in SURFACES])
MASKS = np.stack([surface.kind == CABINET for surface in SURFACES])
BOARDS = np.stack([lit_boards(*pair) for pair in zip(FRAMES, MASKS, strict=True)])


class Painter:
    """An editor that knows the surfaces and paints each frame with a style's own material."""

    styles = STYLES

    def __init__(self, instead: dict[str, str] | None = None) -> None:
        self._instead = instead or {}

    def edit(self, frames: np.ndarray, *, styles: Sequence[str], masks: Any = None, seeds: Sequence[int]):
        found = []
        for frame, style, seed in zip(frames, styles, seeds, strict=True):
            surface = next(s for s in SURFACES if np.array_equal(s.rgb, frame))
            material = style_material(self._instead.get(style, style))
            found.append(paint(surface, material, draw_light(np.random.default_rng(seed))))
        return np.stack(found) if masks is None else compose(frames, np.stack(found), masks)


def small_photographs(style: str) -> tuple[np.ndarray, ...]:
    """As the style's own photographs, but small."""
    material, random = style_material(style), np.random.default_rng([0, STYLES.index(style), 1])
    pieces = [material] * 3 + [vary(material, random) for _ in range(2)]
    return tuple(photograph(piece, random, 128) for piece in pieces)


@pytest.fixture(scope="module")
def specialists() -> list[Specialist]:
    """Cards and photographs alone."""
    return [
        Specialist(
            Card(style=style, instruction=f"make it {style}", steps=2, lora_rank=4, lora_alpha=4),
            {},
            small_photographs(style),
        )
        for style in STYLES
    ]


@pytest.fixture(scope="module")
def untrained(specialists: list[Specialist]) -> SpecialistLibrary:
    return untrained_library(tiny_pipeline(), specialists)


@pytest.fixture(scope="module")
def judge(specialists: list[Specialist]) -> StyleJudge:
    return StyleJudge([s.style_images for s in specialists], BOARDS)


def nearest(judge: StyleJudge, frames: np.ndarray) -> list[str]:
    return [STYLES[i] for i in judge.distances(frames, BOARDS).argmin(1)]


def painted(style: str, seed: int = 100) -> np.ndarray:
    return Painter().edit(FRAMES, styles=[style] * len(FRAMES), seeds=range(seed, seed + len(FRAMES)))


def test_painted_cabinets_are_praised(specialists: list[Specialist], untrained: SpecialistLibrary) -> None:
    found = measure(Painter(), untrained, specialists, FRAMES, MASKS)
    assert json.loads(json.dumps(found)) == found
    assert list(found["styles"]) == list(STYLES)
    assert np.mean([entry["own"] for entry in found["styles"].values()]) >= 0.95
    for entry in found["styles"].values():
        assert entry["outside"] == {"mean": 0, "max": 0}
        assert entry["distance"] < found["raw"]["distance"]
        assert entry["edges"]["recall"] > 0.8
        assert entry["scores"]["semantic"]["trained"] < entry["scores"]["semantic"]["untrained"]
        assert entry["scores"]["better"]["total"] == 1
    assert sum(found["raw"]["nearest"].values()) == len(FRAMES)


def test_noise_is_not_praised(specialists: list[Specialist], untrained: SpecialistLibrary) -> None:
    found = measure(untrained, Painter(), specialists, FRAMES, MASKS)["styles"].values()
    assert np.mean([entry["own"] for entry in found]) < 0.3
    assert all(entry["outside"]["max"] == 0 for entry in found)
    assert all(entry["scores"]["better"]["total"] == 0 for entry in found)


def test_another_material_is_not_its_own(specialists: list[Specialist], untrained: SpecialistLibrary) -> None:
    swapped = {"gold": "wood", "wood": "gold"}
    found = measure(Painter(swapped), untrained, specialists, FRAMES, MASKS)["styles"]
    assert found["gold"]["nearest"] == {"wood": len(FRAMES)}
    assert found["wood"]["nearest"] == {"gold": len(FRAMES)}
    assert (found["gold"]["own"], found["leather"]["own"]) == (0, 1)


def test_colour_alone_is_far_from_every_style(judge: StyleJudge) -> None:
    right = []
    for index, style in enumerate(STYLES):
        frames = painted(style)
        flat = frames.copy()
        for one, mask, boards in zip(flat, MASKS, BOARDS, strict=True):
            one[mask] = one[boards].mean(0)
        apart = [judge.distances(f, BOARDS)[:, index] for f in (frames, flat)]
        assert (apart[1] > apart[0]).all()
        right += [name == style for name in nearest(judge, flat)]
    assert np.mean(right) < 0.6


def test_statistics_see_the_region_alone() -> None:
    frame, region = painted("stone")[0], BOARDS[0]
    other = np.where(region[..., None], frame, 255 - frame).astype(np.uint8)
    assert (region_statistics(other, region) == region_statistics(frame, region)).all()
    inside = np.where(region[..., None], 255 - frame, frame).astype(np.uint8)
    assert (region_statistics(inside, region) != region_statistics(frame, region)).any()


def test_boards_are_neither_handles_nor_insides() -> None:
    boards = BOARDS[1]
    assert boards[20:40, 40:120].all()
    assert not boards[HANDLE].any()
    assert not boards[INSIDE].any()
    assert not (boards & ~MASKS[1]).any()


def test_edges_agree_within_two_pixels() -> None:
    frame, mask = FRAMES[1], MASKS[1]

    def moved(by: int) -> dict[str, float]:
        edit = np.where(mask[..., None], np.roll(frame, by, 0), frame).astype(np.uint8)
        return edge_agreement(frame, edit, mask, CANNY)

    assert moved(0) == {"f1": pytest.approx(1), "recall": 1, "precision": 1}
    assert moved(1)["f1"] > 0.99
    assert moved(7)["f1"] < 0.8
    plain = frame.copy()
    plain[INSIDE] = plain[HANDLE] = (178, 138, 102)
    lost = edge_agreement(frame, plain, mask, CANNY)
    assert lost["precision"] > 0.99
    assert lost["recall"] < 0.8
    empty = np.full_like(frame, 255)
    assert edge_agreement(empty, frame, mask, CANNY)["recall"] == 1
    assert edge_agreement(frame, empty, mask, CANNY)["recall"] == 0


def test_the_untrained_library_is_the_base(
    specialists: list[Specialist], untrained: SpecialistLibrary
) -> None:
    edits = untrained.edit(FRAMES[:2], styles=["gold", "wood"], seeds=[3, 4])
    base = tiny_pipeline()
    with torch.no_grad():
        expected = base(
            torch.tensor(FRAMES[:2]).permute(0, 3, 1, 2) / 255,
            torch.zeros(1, 3, 128, 160),  # no style image, for it is not to be seen
            ["make it gold", "make it wood"],
            generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
            schedule=base.schedule("euler_ancestral", 2),
        )
    expected = (expected * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(edits - expected).max() <= 1
    assert len(np.unique(edits)) > 20


def test_the_untrained_library_fits_its_specialists_adapters(tiny_root: Path) -> None:
    specialists = [Specialist.load(tiny_root / style) for style in ("gold", "wood")]
    base = SpecialistPipeline.from_pretrained(tiny_root / "base")
    library = untrained_library(base, specialists, steps=1)
    assert library.styles == ("gold", "wood")
    theirs = SpecialistLibrary.load([tiny_root / style for style in library.styles], steps=1)
    ask: dict[str, Any] = {"styles": ["gold", "wood"], "seeds": [0, 0]}
    assert (library.edit(FRAMES[:2], **ask) != theirs.edit(FRAMES[:2], **ask)).any()


def test_the_strip_shows_the_frame_and_every_style() -> None:
    sheet = strip(Painter(), STYLES, FRAMES[0], MASKS[0], columns=4, scale=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (256 + 24), 4 * 320 + 3 * 4, 3)
    gold = painted("gold", 0)[0]
    shown = sheet[100:108, 324 + 100 : 324 + 200].mean((0, 1))
    assert np.abs(shown - gold[50:54, 50:100].mean((0, 1))).max() < 6
    labels = sheet[256:280]
    assert (labels < 100).any()
    assert (labels[[0, -1]] > 200).all()


def test_nothing_to_measure_is_refused(specialists: list[Specialist]) -> None:
    with pytest.raises(SimeditError, match="0 specialists"):
        measure(Painter(), Painter(), [], FRAMES, MASKS)
    with pytest.raises(SimeditError, match="too little of the cabinet"):
        measure(Painter(), Painter(), specialists, FRAMES, np.zeros_like(MASKS))


@pytest.mark.slow
def test_held_out_frames_show_the_cabinet() -> None:
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    frames, masks = held_out(3)
    assert (frames.dtype, frames.shape) == (np.uint8, (3, 128, 160, 3))
    assert (masks.dtype, masks.shape) == (np.bool_, (3, 128, 160))
    assert (masks.mean((1, 2)) >= 0.08).all()
    assert len({frame.tobytes() for frame in frames}) == 3
    for frame, mask in zip(frames, masks, strict=True):
        assert 0.2 < lit_boards(frame, mask).sum() / mask.sum() < 1
