from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_gpu import Gpu
from PIL import Image

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.ending import (
    FRAMES,
    PICTURE,
    WORTH,
    compare,
    edits_of,
    held_out,
    others_beside,
    sentence,
    table,
    untrained,
    write,
)


class Inputs:
    """Four frames, and others if there are any; frame i's mask is empty where it is odd."""

    def __init__(self, others: bool) -> None:
        self.others = others

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        mask = np.zeros((64, 64), bool)
        mask[8:48, 8:48] = index % 2 == 0
        return np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8), mask

    def unseen(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None] | None:
        return self[index + 4] if self.others else None


def own_masks(indices, frames, own) -> np.ndarray:
    return np.stack(own)


def test_frames_that_no_training_saw_come_first() -> None:
    frames, masks, new = held_out(Inputs(others=True), own_masks)
    assert new
    assert frames.shape == (FRAMES, 64, 64, 3)
    assert masks.any((1, 2)).all()
    seen = [Inputs(others=True)[i][0].tobytes() for i in range(4)]
    assert not any(frame.tobytes() in seen for frame in frames)
    frames, _, new = held_out(Inputs(others=False), own_masks)
    assert (len(frames), new) == (2, False)
    assert (frames[1] == Inputs(others=False)[2][0]).all()


def test_frames_without_anything_to_edit_are_said() -> None:
    with pytest.raises(SimeditError, match="no frame shows enough"):
        held_out(Inputs(others=True), lambda indices, frames, own: np.zeros((1, 64, 64), bool))


def test_others_are_whole_of_other_styles_and_on_the_same_base(tiny_root: Path, tmp_path: Path) -> None:
    gold, wood = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    gold.save(tmp_path / "gold")
    wood.save(tmp_path / "wood")
    wood.save(tmp_path / "broken")
    (tmp_path / "broken" / "adapter.safetensors").write_bytes(b"no")
    elsewhere = replace(wood, card=wood.card.model_copy(update={"style": "teak", "base": "other/base"}))
    elsewhere.save(tmp_path / "teak")
    assert [one.card.style for one in others_beside(gold, [tmp_path, tmp_path / "none"])] == ["wood"]


def test_untrained_it_is_the_base(tiny_root: Path) -> None:
    gold, base = Specialist.load(tiny_root / "gold"), SpecialistPipeline.from_pretrained(tiny_root / "base")
    alone = untrained(gold, base, "plain")
    frames, masks, _ = held_out(Inputs(others=False), own_masks)
    edits = edits_of(SpecialistLibrary(base), [gold, alone], frames, masks)
    assert (edits["gold"] != edits["plain"]).any()
    # Neither adapter nor style act: the widened weights are zero.
    style = np.zeros_like(gold.style_images[0])
    blind = replace(alone, style_images=(style,), card=alone.card.model_copy(update={"style_image": 0}))
    other = edits_of(SpecialistLibrary(tiny_pipeline()), [blind], frames, masks)
    assert np.abs(edits["plain"].astype(int) - other["plain"]).max() <= 1


def test_what_it_is_worth_is_shown_and_kept(tiny_root: Path, tmp_path: Path) -> None:
    gold, wood = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    frames, masks, new = held_out(Inputs(others=True), own_masks)
    base = SpecialistPipeline.from_pretrained(tiny_root / "base")
    found, pictures = compare(gold, [wood], base, frames, masks)
    found["new"] = new
    write(tmp_path, found, pictures)
    assert json.loads((tmp_path / WORTH).read_text()) == found
    assert set(found["distance"]) == {"edit", "raw", "base", "wood"}
    with Image.open(tmp_path / PICTURE) as shown:
        assert shown.size == (4 * 64 + 3 * 4, 3 * 64 + 2 * 4)
    assert (pictures[:64, 68:132] == frames[0]).all()
    assert table(found).row_count == 5
    assert sentence(gold, found).startswith("gold is not good yet")  # its weights are random


def test_a_gpu_finds_it_worth_what_the_cpu_does(tiny_root: Path, gpu: Gpu) -> None:
    gold, wood = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    frames, masks, _ = held_out(Inputs(others=False), own_masks)
    one, other = (
        compare(gold, [wood], tiny_pipeline().to(device), frames, masks)[0]["distance"]
        for device in ("cpu", "cuda")
    )
    assert other == pytest.approx(one, rel=0.05 if gpu.real else 0)
