from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.specialist import Specialist
from simedit.tiny import make_tiny_library, tiny_pipeline


def test_the_seed_fixes_the_weights() -> None:
    state, again, other = (tiny_pipeline(seed).unet.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(state[k], again[k]) for k in state)
    assert any(not torch.equal(state[k], other[k]) for k in state)


def test_making_one_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    tiny_pipeline()
    assert torch.equal(before, torch.get_rng_state())


def test_it_is_small() -> None:
    pipe = tiny_pipeline()
    parts = (pipe.vae, pipe.text_encoder, pipe.unet, pipe.style_attention)
    assert sum(p.numel() for part in parts for p in part.parameters()) < 400_000


def test_the_tokenizer_spells_every_text() -> None:
    tokenizer = tiny_pipeline().tokenizer
    text = "make the cabinet out of white marble, 2 parts"
    ids = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
    assert len(ids) == 77
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.replace(",", " ,").split()
    assert tokenizer.unk_token_id not in ids[1 : ids.index(tokenizer.eos_token_id)]


def test_a_tiny_library_edits_and_says_that_it_is_untrained(tmp_path: Path) -> None:
    root = make_tiny_library(tmp_path / "library", ["gold", "wood"])
    assert Specialist.load(root / "gold").card.training is None
    library = SpecialistLibrary.load(root, device="cpu")
    assert library.styles == ("gold", "wood")
    frames = np.full((2, 128, 160, 3), 120, np.uint8)
    gold, wood = library.edit(frames, styles=["gold", "wood"], seeds=[0, 0])
    assert gold.std() > 5
    assert np.abs(gold.astype(int) - wood).max() > 20
    again = SpecialistLibrary.load(make_tiny_library(tmp_path / "again", ["gold"]), device="cpu")
    assert np.abs(again.edit(frames[:1], styles=["gold"], seeds=[0])[0].astype(int) - gold).max() <= 1


@pytest.mark.parametrize("style", ["../../../x", "/tmp/y", "", "base", "a/b", ".x"])
def test_nothing_is_written_outside_of_its_folder(tmp_path: Path, style: str) -> None:
    with pytest.raises(SimeditError, match="style"):
        make_tiny_library(tmp_path / "library", ["gold", style])
    assert [*tmp_path.rglob("*")] == []


def test_a_trained_specialist_or_another_base_is_not_replaced_by_noise(tmp_path: Path) -> None:
    root = make_tiny_library(tmp_path / "library", ["gold"])
    make_tiny_library(root, ["gold", "wood"])  # noise replaces noise
    gold = Specialist.load(root / "gold")
    trained = gold.card.model_copy(update={"training": {"steps": 3}})
    dataclasses.replace(gold, card=trained).save(root / "gold")
    with pytest.raises(SimeditError, match="is a trained specialist"):
        make_tiny_library(root, ["wood", "gold"])
    assert Specialist.load(root / "gold").card.training == {"steps": 3}
    config = root / "base" / "unet" / "config.json"
    config.write_text(config.read_text().replace("32", "64"))
    with pytest.raises(SimeditError, match="is no tiny base"):
        make_tiny_library(root, ["wood"])


def test_a_written_base_is_as_readable_as_the_umask_says(tiny_root: Path) -> None:
    modes = {p.stat().st_mode & 0o777 for p in (tiny_root / "base").rglob("*") if p.is_file()}
    assert len(modes) == 1
