from __future__ import annotations

import json

import numpy as np
import pytest

from simedit.lab.textures import texture
from simedit.training.painted import frame_shading, paint, usual_brightness
from simedit.training.worth import colour_distance, detail_contrast, distance, edges_kept, measure, verdict


def _scene(left: int) -> tuple[np.ndarray, np.ndarray]:
    """A board with a darker inside and a dark handle, on white."""
    frame, mask = np.full((96, 128, 3), 255, np.uint8), np.zeros((96, 128), bool)
    mask[10:86, left : left + 90] = True
    frame[mask] = (178, 138, 102)
    frame[50:86, left + 10 : left + 80] = (109, 83, 61)
    frame[28:32, left + 40 : left + 60] = (38, 35, 33)
    return frame, mask


SCENES = [_scene(left) for left in (10, 16, 22)]
FRAMES, MASKS = (np.stack(part) for part in zip(*SCENES, strict=True))
PHOTOGRAPHS = {seed: [texture(np.random.default_rng((seed, 0)), 96, 128)] for seed in (1, 2, 3)}


def _painted(photograph: np.ndarray) -> np.ndarray:
    usual = usual_brightness(FRAMES, MASKS)
    return np.stack([paint(f, m, photograph, frame_shading(f, usual)) for f, m in SCENES])


def test_colours_are_compared_as_a_whole_and_in_the_mask_alone() -> None:
    frame, mask = SCENES[0]
    other = frame.copy()
    other[~mask] = 0
    assert colour_distance(frame, other, mask) == 0
    moved = np.roll(frame, 1, 1)
    moved[~mask] = frame[~mask]
    assert colour_distance(frame, moved, np.ones_like(mask)) < 3
    grey = [np.full((4, 4, 3), value, np.uint8) for value in (0, 255)]
    assert colour_distance(*grey, np.ones((4, 4), bool)) == pytest.approx(100, abs=0.1)


def test_twice_the_texture_of_one_colour_is_apart() -> None:
    mask, random = np.ones((64, 64), bool), np.random.default_rng(0)
    noise = random.normal(size=(64, 64, 1)).repeat(3, -1)
    fine, strong = (np.clip(128 + s * noise, 0, 255).astype(np.uint8) for s in (10, 20))
    assert distance(fine, fine, mask) == 0
    assert distance(fine, strong, mask) > colour_distance(fine, strong, mask) + 3


def test_edges_and_handles_are_kept_or_lost() -> None:
    frame, mask = SCENES[0]
    shading = frame_shading(frame, usual_brightness(frame[None], mask[None]))
    assert edges_kept(frame, frame, mask) == 1
    assert edges_kept(frame, np.full_like(frame, 128), mask) == 0
    without = frame.copy()
    without[26:34, 45:75] = (178, 138, 102)
    assert edges_kept(frame, without, mask) < 0.95
    assert detail_contrast(frame, mask, shading) > 0.3
    assert abs(detail_contrast(without, mask, shading)) < 0.02
    assert np.isnan(detail_contrast(without, mask, frame_shading(without, 0.56)))


def test_the_photographs_laid_on_the_frames_are_praised() -> None:
    own, others = _painted(PHOTOGRAPHS[1][0]), {"raw": FRAMES, "base": _painted(PHOTOGRAPHS[3][0])}
    found = measure(FRAMES, MASKS, PHOTOGRAPHS[1], own, others | {"wood": _painted(PHOTOGRAPHS[2][0])})
    assert json.loads(json.dumps(found)) == found
    assert found["distance"]["edit"] < 1 < min(found["distance"][name] for name in ("raw", "base", "wood"))
    assert (found["nearest"], found["frames"]) == (3, 3)
    assert found["edges"] == pytest.approx(found["edges_laid"], abs=0.02)
    said = verdict("teak", found)
    assert said.startswith("teak looks like its photographs")
    assert "than the raw frames and 1 other" in said
    assert "% nearer than the base alone" in said


@pytest.mark.parametrize(
    ("edits", "base", "said"),
    [
        (_painted(PHOTOGRAPHS[2][0]), _painted(PHOTOGRAPHS[1][0]), "farther than the base alone"),
        (np.where(MASKS[..., None], np.uint8(PHOTOGRAPHS[1][0].mean((0, 1))), FRAMES), FRAMES, "edges"),
        (FRAMES, FRAMES // 2, "its colours are"),
    ],
)  # fmt: skip
def test_what_is_bad_is_said(edits: np.ndarray, base: np.ndarray, said: str) -> None:
    found = measure(FRAMES, MASKS, PHOTOGRAPHS[1], edits, {"raw": FRAMES, "base": base})
    assert verdict("teak", found).startswith("teak is not good yet")
    assert said in verdict("teak", found)
