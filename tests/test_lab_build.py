"""A whole build in miniature: every stage for real, with next to no training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from simedit.errors import SimeditError
from simedit.eval.published import Rates
from simedit.lab import build as stages
from simedit.lab.build import STAGES, Plan, build
from simedit.lab.cloning import Recipe
from simedit.library import SpecialistLibrary
from simedit.policies.cloned import ClonedPolicy

pytest.importorskip("mani_skill", reason="needs the extra: sim")

PLAN = Plan(
    scenes=2,
    vae_steps=1,
    vae_batch=1,
    base_steps=1,
    base_batch=1,
    styles=("gold",),
    style_settings=(
        "steps=1",
        "samples=2",
        "sampling.steps=2",
        "update={batch_size: 2, accumulation: 1}",
        "inputs.frames=2",
    ),
    episodes=2,
    poses=("b1",),
    seeds=1,
    max_steps=2,
)


@pytest.mark.slow
def test_a_build_from_nothing_goes_on_and_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simedit.lab.cloning.RECIPES", {"last": Recipe(2, 2), "begin": Recipe(1, 1)})
    folder, said = tmp_path / "build", []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setitem(STAGES, "base", stop)
        with pytest.raises(KeyboardInterrupt):
            build(folder, PLAN, said.append)
    assert (folder / "autoencoder.json").exists()
    assert not (folder / "base.json").exists()

    def never(*_: object) -> None:
        raise AssertionError("this stage was done before")

    with monkeypatch.context() as context:
        context.setitem(STAGES, "pairs", never)
        context.setitem(STAGES, "autoencoder", never)
        build(folder, PLAN, said.append)
    assert any("pairs: done before" in line for line in said)

    data = folder / "data"
    card = json.loads((data / "card.json").read_text())
    assert list(card["stages"]) == list(STAGES)
    assert all(stage["minutes"] >= 0 for stage in card["stages"].values())
    assert card["limits"]
    selection = json.loads((data / "selection.json").read_text())
    assert selection["gold"]["chosen"] == "step_0001"
    assert selection["gold"]["steps"]["1"]["own"] == 1  # there is no other style
    assert not any(str(tmp_path) in path.read_text() for path in data.rglob("*.json"))

    library = SpecialistLibrary.load(data / "specialists")
    assert library.styles == ("gold",)
    frame = np.full((1, 128, 160, 3), 128, np.uint8)
    assert library.edit(frame, styles=["gold"], seeds=[0]).shape == frame.shape
    policy = ClonedPolicy(data / "policies" / "last")
    policy.reset("open top drawer", seed=0)
    assert np.isfinite(policy.act(frame[0]).to_array()).all()
    rates = Rates(**yaml.safe_load((data / "real.yaml").read_text()))
    assert set(rates.policies) == {"last", "begin"}
    assert rates.policies["last"].open.n == 3  # type: ignore[union-attr]
    assert "no robot" in rates.source


def test_another_plan_needs_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "STAGES", {})
    build(tmp_path, PLAN, print)
    with pytest.raises(SimeditError, match="choose another --out"):
        build(tmp_path, PLAN.model_copy(update={"seed": 1}), print)
