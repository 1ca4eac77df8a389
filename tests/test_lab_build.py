"""A whole build in miniature: every stage for real, with next to no training."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.eval.published import Rates
from simedit.lab import build as stages
from simedit.lab.build import STAGES, Plan, build, train_style
from simedit.library import SpecialistLibrary
from simedit.policies.cloned import ClonedPolicy
from simedit.specialist import Specialist
from simedit.tiny import tiny_pipeline
from simedit.training.checkpoint import latest

PLAN = Plan(
    scenes=2,
    pictures=2,
    vae_steps=1,
    vae_batch=1,
    pairs=(1, 1),
    base_steps=1,
    base_batch=1,
    styles=("gold",),
    style_settings=(
        "steps=1",
        "samples=2",
        "sampling.steps=2",
        "update={batch_size: 2, accumulation: 1}",
        "warm_start={steps: 1, batch_size: 1}",
        "inputs.frames=2",
    ),
    distill_settings=("warm_start.edits=1", "warm_start.steps=1", "warm_start.batch_size=1"),
    episodes=2,
    policies=("begin",),
    poses=("b1",),
    seeds=1,
    max_steps=2,
)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mani_skill") is None, reason="needs the extra: sim")
def test_a_build_from_nothing_goes_on_and_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert any("left in all" in line for line in said)

    data = folder / "data"
    card = json.loads((data / "card.json").read_text())
    assert list(card["stages"]) == list(STAGES)
    assert all(stage["minutes"] >= 0 for stage in card["stages"].values())
    assert card["limits"]
    quality = json.loads((data / "quality.json").read_text())
    assert set(quality["gold"]["distance"]) == {"edit", "base", "raw"}  # there is no other style
    assert not any(str(tmp_path) in path.read_text() for path in data.rglob("*.json"))

    frame = np.full((1, 128, 160, 3), 128, np.uint8)
    for name, sampler in (("specialists", "euler_ancestral"), ("distilled", "consistency")):
        library = SpecialistLibrary.load(data / name)
        assert library.styles == ("gold",)
        assert library.edit(frame, styles=["gold"], seeds=[0]).shape == frame.shape
        gold = Specialist.load(data / name / "gold")
        assert gold.card.sampler == sampler
        assert {value.dtype for value in gold.weights.values()} == {torch.float16}
    policy = ClonedPolicy(data / "policies" / "begin")
    policy.reset("open top drawer", seed=0)
    assert np.isfinite(policy.act(frame[0]).to_array()).all()
    rates = Rates(**yaml.safe_load((data / "real.yaml").read_text()))
    assert set(rates.policies) == {"begin"}
    assert rates.policies["begin"].counts("open").n == 3
    assert "no robot" in rates.source


def test_another_plan_needs_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "STAGES", {})
    build(tmp_path, PLAN, print)
    with pytest.raises(SimeditError, match="choose another --out"):
        build(tmp_path, PLAN.model_copy(update={"seed": 1}), print)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"styles": ["gold", "glod"]}, "did you mean 'gold'"),
        ({"styles": []}, "styles"),
        ({"styles": ["gold", "gold"]}, "each style can be given but once"),
        ({"policies": ["lats"]}, "did you mean 'last'"),
        ({"poses": ["z9"]}, "unknown pose 'z9'"),
    ],
)
def test_a_plan_that_cannot_be_built_is_refused_at_once(settings: dict, message: str) -> None:
    with pytest.raises(SimeditError, match=message):
        parse_config(Plan, settings, where="--set")


def test_a_build_begins_with_nothing_that_is_misspelt_or_damaged(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    with pytest.raises(SimeditError, match="did you mean 'steps'"):
        build(folder, PLAN.model_copy(update={"style_settings": ("stepz=1",)}), print)
    assert not folder.exists()
    folder.mkdir()
    (folder / "plan.json").write_text("{")
    with pytest.raises(SimeditError, match=r"cannot read .*plan\.json"):
        build(folder, PLAN, print)


def photographs(folder: Path, seed: int) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (2, 40, 48, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_second_training_of_a_name_is_the_same_or_refused(tmp_path: Path) -> None:
    base, run, target = tmp_path / "base", tmp_path / "run", tmp_path / "teak"
    tiny_pipeline().save_pretrained(base)
    wood, steel = photographs(tmp_path / "wood", 0), photographs(tmp_path / "steel", 1)
    settings = (
        *PLAN.style_settings[:-1],
        f"inputs={{kind: images, path: {photographs(tmp_path / 'frames', 2)}}}",
        "regions.inputs=full-frame",
        "width=32",
        "height=32",
    )

    def train(photos: Path = wood, to: Path = target, more: tuple[str, ...] = ()) -> None:
        train_style("teak", photos, base=base, run=run, target=to, settings=(*settings, *more))

    target.mkdir()
    with pytest.raises(SimeditError, match="teak exists already: give another name or --out"):
        train()
    target.rmdir()
    train()
    done, weights = latest(run / "checkpoints"), (target / "card.json").read_bytes()
    train()
    begun = json.loads((run / "run.json").read_text())
    del begun["config"]["objective"]  # as older versions wrote it
    begun["config"]["update"] |= {"beta": 0.1, "clamp": 0.1, "timesteps": 1.0}
    (run / "run.json").write_text(json.dumps(begun))
    train()
    for message, other in (
        ("steps was 1 and would be 2", {"more": ("steps=2",)}),
        ("update.learning_rate was 3e-05 and would be 0.5", {"more": ("update.learning_rate=0.5",)}),
        ("--style-images shows other photographs", {"photos": steel}),
        (f"--out was {target} and would be {tmp_path / 'other'}", {"to": tmp_path / "other"}),
    ):
        with pytest.raises(SimeditError, match=message):
            train(**other)
    with pytest.raises(SimeditError, match="did you mean 'steps'"):
        train(more=("stepz=2",))
    assert latest(run / "checkpoints") == done
    assert (target / "card.json").read_bytes() == weights
    assert not (tmp_path / "other").exists()
