from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simedit.errors import SimeditError
from simedit.settings import Scales
from simedit.specialist import Card, Specialist


def test_save_and_load(tiny_root: Path, tmp_path: Path) -> None:
    gold = Specialist.load(tiny_root / "gold")
    card = gold.card.model_copy(update={"training": {"rate": 3e-5, "steps": 10}, "scales": Scales(style=2.0)})
    other = np.full((5, 7, 3), 9, np.uint8)
    gold = Specialist(card, gold.weights, (*gold.style_images, other))
    gold.save(tmp_path / "new" / "gold")
    again = Specialist.load(tmp_path / "new" / "gold")
    assert again.card == gold.card
    assert again.card.base == str(tiny_root / "base")
    assert again.weights.keys() == gold.weights.keys()
    assert all(torch.equal(again.weights[k], v) for k, v in gold.weights.items())
    assert all(np.array_equal(a, b) for a, b in zip(again.style_images, gold.style_images, strict=True))
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["gold"]


def test_saving_again_replaces_the_whole_folder(gold: Path) -> None:
    specialist = Specialist.load(gold)
    more = dataclasses.replace(specialist, style_images=specialist.style_images * 3)
    more.save(gold)
    assert len(Specialist.load(gold).style_images) == 3
    specialist.save(gold)
    assert len(Specialist.load(gold).style_images) == 1
    assert sorted(p.name for p in gold.parent.iterdir()) == ["base", "gold"]


def test_a_base_path_is_relative_to_the_folder_on_disk(tiny_root: Path, tmp_path: Path) -> None:
    assert json.loads((tiny_root / "gold" / "card.json").read_text())["base"] == "../base"
    moved = tmp_path / "moved"
    shutil.copytree(tiny_root, moved)
    assert Specialist.load(moved / "gold").card.base == str(moved / "base")
    hub = Specialist.load(tiny_root / "gold")
    hub = dataclasses.replace(hub, card=hub.card.model_copy(update={"base": "someone/base"}))
    hub.save(tmp_path / "hub")
    assert Specialist.load(tmp_path / "hub").card.base == "someone/base"


def test_save_does_not_replace_what_is_no_specialist(gold: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(SimeditError, match="is not a specialist's folder"):
        Specialist.load(gold).save(tmp_path / "photos")


def test_save_where_nothing_can_be_written(gold: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimeditError, match="cannot write the specialist"):
        Specialist.load(gold).save(tmp_path / "file" / "gold")


def test_a_card_needs_a_style_image_that_is_there(tiny_root: Path) -> None:
    gold = Specialist.load(tiny_root / "gold")
    with pytest.raises(SimeditError, match="style image 1 is wanted, but it has 1"):
        dataclasses.replace(gold, card=gold.card.model_copy(update={"style_image": 1}))


def test_card_defaults_are_the_papers() -> None:
    card = Card(style="gold", instruction="make it gold")
    assert (card.scales.image, card.scales.style, card.scales.text) == (1.5, 3.0, 7.5)
    assert (card.steps, card.sampler, card.lora_rank, card.lora_alpha) == (100, "euler_ancestral", 8, 8)
    assert (card.base, card.training) == ("timbrooks/instruct-pix2pix", None)


def test_style_images_are_read_as_rgb(gold: Path) -> None:
    Image.new("L", (6, 4), 100).save(gold / "style_0.png")
    assert np.array_equal(Specialist.load(gold).style_images[0], np.full((4, 6, 3), 100))
