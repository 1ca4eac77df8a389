"""What specialists are worth among one another, and how they look."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.lab.pairs import HEIGHT, WIDTH
from simedit.lab.quality import held_out, measure, strip
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Specialist


def test_each_is_compared_with_the_frame_the_base_and_all_others(tiny_root: Path) -> None:
    specialists = [Specialist.load(tiny_root / style) for style in ("gold", "wood", "stone")]
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    masks = np.zeros((2, 64, 64), bool)
    masks[:, 8:56, 8:56] = True
    base = SpecialistPipeline.from_pretrained(tiny_root / "base")
    found = measure(specialists, base, frames, masks)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == ["gold", "wood", "stone"]
    for style, seen in found.items():
        others = {"gold", "wood", "stone"} - {style}
        assert set(seen["distance"]) == {"edit", "raw", "base", *others}
        assert seen["distance"]["edit"] != seen["distance"]["base"]
        assert seen["frames"] == 2
    with pytest.raises(SimeditError, match="0 specialists"):
        measure([], base, frames, masks)


def test_the_strip_shows_and_names_every_picture() -> None:
    pictures = {f"no_{i}": np.full((128, 160, 3), 40 * i + 60, np.uint8) for i in range(5)}
    sheet = strip(pictures, columns=4, scale=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (256 + 24), 4 * 320 + 3 * 4, 3)
    assert (sheet[100, 324 + 100] == 100).all()
    assert (sheet[256 + 24 + 100, 100] == 220).all()
    labels = sheet[256:280]
    assert (labels < 100).any()
    assert (labels[[0, -1]] > 200).all()


@pytest.mark.slow
def test_held_out_frames_show_the_cabinet() -> None:
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    frames, masks = held_out(3)
    assert (frames.dtype, frames.shape) == (np.uint8, (3, HEIGHT, WIDTH, 3))
    assert (masks.dtype, masks.shape) == (np.bool_, (3, HEIGHT, WIDTH))
    assert (masks.mean((1, 2)) >= 0.08).all()
    assert len({frame.tobytes() for frame in frames}) == 3
