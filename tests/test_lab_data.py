"""What ships with the lab is what its card and quality.json say."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simedit.eval.config import RealConfig
from simedit.eval.published import load_real
from simedit.lab.cloning import RECIPES
from simedit.lab.materials import STYLES
from simedit.library import SpecialistLibrary
from simedit.packaged import lab_data, policy_folder
from simedit.pipeline import SpecialistPipeline
from simedit.policies.cloned import ClonedPolicy
from simedit.specialist import Specialist


def test_weights_are_few() -> None:
    files = list(lab_data("base").parent.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) <= 25e6


def test_every_style_has_a_specialist_that_passed() -> None:
    quality = json.loads(lab_data("quality.json").read_text(encoding="utf-8"))["styles"]
    assert set(quality) == set(STYLES)
    assert {folder.name for folder in lab_data("specialists").iterdir()} == set(STYLES)
    assert sum(seen["own"] >= 0.9 for seen in quality.values()) >= 6
    for seen in quality.values():
        assert seen["outside"]["mean"] <= 2
        assert seen["edges"]["f1"] >= 0.7
        assert seen["scores"]["better"]["total"] > 0.5


def test_policies_are_graded_and_act() -> None:
    rates = load_real(RealConfig(source="lab"), list(RECIPES), ["open", "close"]).policies
    means = {}
    for name in RECIPES:
        policy = ClonedPolicy(policy_folder(f"lab:{name}"))
        policy.reset("open top drawer")
        assert np.isfinite(policy.act(np.zeros((128, 160, 3), np.uint8)).to_array()).all()
        means[name] = np.mean([rates[name].rate("open"), rates[name].rate("close")])
    assert max(means.values()) >= 0.7
    assert min(means.values()) <= 0.1
    assert len(set(means.values())) == len(RECIPES)


@pytest.mark.slow
def test_edits_look_as_they_should_and_better_than_the_bases() -> None:
    pytest.importorskip("mani_skill", reason="needs the extra: sim")
    from simedit.lab.quality import held_out, measure, untrained_library

    specialists = [Specialist.load(lab_data("specialists") / style) for style in STYLES]
    library = SpecialistLibrary.load(lab_data("specialists"))
    base = SpecialistPipeline.from_pretrained(specialists[0].card.base)
    found = measure(library, untrained_library(base, specialists), specialists, *held_out(3))["styles"]
    assert sum(seen["own"] >= 0.9 for seen in found.values()) >= 6
    assert all(seen["outside"]["mean"] <= 2 and seen["edges"]["f1"] >= 0.7 for seen in found.values())
    assert sum(seen["scores"]["better"]["total"] > 0.5 for seen in found.values()) >= 6
