from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
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


@pytest.mark.parametrize("style", ["../x", "/tmp/y", "", ".hidden", "a/b", "x" * 101, "a\nb", " gold"])
def test_a_style_is_one_plain_component_of_a_path(gold: Path, style: str) -> None:
    card = json.loads((gold / "card.json").read_text())
    (gold / "card.json").write_text(json.dumps(card | {"style": style}))
    with pytest.raises(SimeditError, match=r"card\.json: style"):
        Specialist.load(gold)


def _written(gold: Path, **changes: object) -> None:
    card = json.loads((gold / "card.json").read_text())
    (gold / "card.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": {"image": math.nan}}, "NaN is no JSON number"),
        ({"scales": {"text": math.inf}}, "Infinity is no JSON number"),
        ({"lora_alpha": -1.0}, "lora_alpha"),
        ({"lora_rank": 10**9}, "lora_rank"),
        ({"lora_rank": 5}, "its card says lora_rank 5, but its weights have 4"),
        ({"steps": 10**30}, "steps"),
        ({"style_image": 10**30}, "style image"),
        ({"training": []}, "training"),
    ],
)
def test_a_card_with_values_that_cannot_be(gold: Path, changes: dict[str, object], message: str) -> None:
    _written(gold, **changes)
    with pytest.raises(SimeditError, match=message):
        SpecialistLibrary.load(gold, device="cpu")


@pytest.mark.parametrize(
    "text", ["[]", "1", '{"style": "a", "style": "b"}', '{"steps": ' + "1" * 5000 + "}", ""]
)
def test_a_card_that_is_no_object(gold: Path, text: str) -> None:
    (gold / "card.json").write_text(text)
    with pytest.raises(SimeditError, match=r"card\.json"):
        Specialist.load(gold)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_neither_read_nor_written(
    gold: Path, tmp_path: Path, value: float
) -> None:
    specialist = Specialist.load(gold)
    weights = {k: v.clone() for k, v in specialist.weights.items()}
    weights["unet.conv_in.weight"].view(-1)[0] = value
    with pytest.raises(SimeditError, match=r"the weight unet\.conv_in\.weight is not finite"):
        dataclasses.replace(specialist, weights=weights).save(tmp_path / "new")
    save_file(weights, gold / "adapter.safetensors")
    with pytest.raises(SimeditError, match=r"adapter\.safetensors: the weight unet\.conv_in\.weight is not"):
        Specialist.load(gold)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(
    gold: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (5000, 4000)).save(gold / "style_0.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(SimeditError, match=r"style_0\.png has 5000 x 4000 pixels, 16,777,216 is the most"):
        Specialist.load(gold)
    Image.new("1", (20000, 20000)).save(gold / "style_0.png")  # Pillow itself refuses it
    with pytest.raises(SimeditError, match="cannot read the specialist"):
        Specialist.load(gold)


def test_a_gap_among_the_style_images_is_refused(gold: Path) -> None:
    shutil.copy(gold / "style_0.png", gold / "style_2.png")
    with pytest.raises(SimeditError, match=r"style_1\.png is missing"):
        Specialist.load(gold)


def test_files_are_as_readable_as_the_umask_says(gold: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        Specialist.load(gold).save(tmp_path / "new")
    finally:
        os.umask(before)
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "new").iterdir()} == dict.fromkeys(
        ("card.json", "adapter.safetensors", "style_0.png"), "0o644"
    )
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("failing", ["save_file", "rename"])
def test_the_old_specialist_stays_if_the_new_one_cannot_be_written(
    gold: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    specialist, before = Specialist.load(gold), _contents(gold)
    more = dataclasses.replace(specialist, style_images=specialist.style_images * 2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    rename = Path.rename
    if failing == "save_file":
        monkeypatch.setattr("simedit.specialist.save_file", full)
    else:
        monkeypatch.setattr(Path, "rename", lambda p, to: full() if p.name == "new" else rename(p, to))
    with pytest.raises(SimeditError, match="No space left on device"):
        more.save(gold)
    monkeypatch.undo()
    assert _contents(gold) == before
    assert sorted(p.name for p in gold.parent.iterdir()) == ["base", "gold"]


def test_of_two_that_save_at_once_one_comes_last(gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one moves its folder there between the two renames of the first."""
    specialist, rename, rivals = Specialist.load(gold), Path.rename, [1]

    def rival(path: Path, to: Path) -> Path:
        if path.name == "new" and rivals:
            rivals.clear()
            specialist.save(gold)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", rival)
    dataclasses.replace(specialist, style_images=specialist.style_images * 2).save(gold)
    assert not rivals
    assert len(Specialist.load(gold).style_images) == 2
    assert sorted(p.name for p in gold.parent.iterdir()) == ["base", "gold"]


def test_a_folders_name_that_is_too_long(gold: Path, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match="at most 100 bytes"):
        Specialist.load(gold).save(tmp_path / ("x" * 300))


def _contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}
