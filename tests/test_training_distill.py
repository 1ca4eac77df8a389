"""simedit-train distill, as its user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_training import small_settings, write_config, write_inputs

from simedit.library import SpecialistLibrary
from simedit.settings import Scales
from simedit.specialist import Specialist
from simedit.tiny import make_tiny_library
from simedit.training.cli import main
from simedit.training.ending import PICTURE, WORTH, lost

GUIDED = Scales(image=1.5, style=2, text=3)
SMALL = ("warm_start.edits=2", "warm_start.steps=2", "warm_start.batch_size=1", "warm_start.teacher_steps=2")
DISTILL = ("distill", "--specialist", "gold", "--cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a base, inputs and specialists/gold, with guidance and its training's config."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "inputs", 3)
    make_tiny_library(tmp_path / "tiny", ["gold", "wood"])
    gold = Specialist.load("tiny/gold")
    settings = small_settings("unused", "inputs") | {"warm_start": {"kind": "painted"}, "steps": 4}
    del settings["base"], settings["inputs"]["path"]
    images = (gold.style_images[0] // 2, *gold.style_images)
    changes = {"scales": GUIDED, "style_image": 1, "training": {"steps": 4, "config": settings}}
    replace(gold, card=gold.card.model_copy(update=changes), style_images=images).save("specialists/gold")
    return tmp_path


def run(*args: str) -> int:
    return main([*DISTILL, "--set", "inputs.path=inputs", *SMALL, *args])


def test_what_was_distilled_is_a_specialist_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    found = Specialist.load("specialists/distilled/gold")
    assert (found.card.style, found.card.steps, found.card.sampler) == ("gold", 1, "consistency")
    assert found.card.scales.branches == 1
    assert found.card.training is not None
    assert found.card.training["teacher"]["scales"] == GUIDED.model_dump()
    assert found.card.training["config"]["warm_start"]["kind"] == "distilled"
    assert (
        "teacher" not in found.card.training["config"]["warm_start"]
    )  # a path, which means nothing elsewhere
    (image,) = found.style_images  # the one that its teacher's card names
    assert np.array_equal(image, Specialist.load("specialists/gold").style_images[1])
    worth = json.loads(Path("runs/train/distilled/gold", WORTH).read_text())
    assert (worth["evaluations"], worth["before"]) == (1, 8 * 4)
    assert lost(worth) in said
    with Image.open(Path("runs/train/distilled/gold", PICTURE)) as picture:
        assert picture.width > 4 * 32
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    library = SpecialistLibrary.load(["specialists/distilled", "tiny/wood"], device="cpu")
    both = library.edit(frames, styles=["gold", "wood"], seeds=[0, 1])
    alone = SpecialistLibrary.load("specialists/distilled", device="cpu")
    assert np.abs(both[:1].astype(int) - alone.edit(frames[:1], styles=["gold"], seeds=[0])).max() <= 1


def test_a_distillation_that_was_stopped_goes_on(monkeypatch, capsys) -> None:
    from simedit.training.trainer import Interrupted, Trainer

    def stop(self: Trainer) -> None:
        self._save()
        raise Interrupted

    with monkeypatch.context() as stopped:
        stopped.setattr(Trainer, "_warm_up", stop)
        assert run() == 130
    assert "Go on with: simedit-train --resume runs/train/distilled/gold --cpu" in capsys.readouterr().err
    card = Path("specialists/gold/card.json")
    kept = card.read_text()
    card.write_text(kept + " ")
    assert main(["--resume", "runs/train/distilled/gold", "--cpu"]) == 2
    assert "from other things than are there now: the specialist " in capsys.readouterr().err
    card.write_text(kept)
    assert main(["--resume", "runs/train/distilled/gold", "--cpu"]) == 0
    assert Specialist.load("specialists/distilled/gold").card.sampler == "consistency"


def test_feedback_may_follow() -> None:
    scores = "{structural: {kind: canny}, semantic: {encoder: texture}}"
    assert run("steps=1", "sampling.steps=2", f"scores={scores}") == 0
    found = Specialist.load("specialists/distilled/gold")
    assert found.card.training is not None
    assert (found.card.training["steps"], found.card.training["warm_start"], found.card.steps) == (1, 2, 2)


def test_a_dry_run_counts_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dry-run") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "An edit will take 1 U-Net evaluation in place of 8. First 2 edits of 8 are sampled" in said
    assert "teacher 8 16 16 distillation 1 2" in said
    write_config(
        Path("own.yaml"), "tiny/base", "inputs", "steps=3", "sampling.steps=6"
    )  # not of a distillation
    assert main([*DISTILL, "--config", "own.yaml", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "An edit will take 1 U-Net evaluation in place of 32" in said
    assert "training steps" not in said
    assert main(["distill", "--config", "distill", "--dry-run", "--cpu"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "assumed to take 100 denoising steps and four guidance branches" in said
    assert "1 U-Net evaluation in place of 80" in said  # 20 steps
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["distill", "--cpu"], "--specialist is missing"),
        (["distill", "--specialist", "glod"], "unknown specialist 'glod': did you mean 'gold'"),
        ([*DISTILL], "--set inputs.path=FOLDER): inputs.images.path"),
        (["distill", "--specialist", "tiny/wood"], "does not say how the specialist was trained"),
        ([*DISTILL, "--to", "specialists/gold"], "is the specialist to be distilled: give another --to"),
        ([*DISTILL, "--name", "a/b"], "must not hold a slash"),
        ([*DISTILL, "--set", "sampling.step=2"], "did you mean 'steps'"),
        ([*DISTILL, "--set", "lora_rank=2"], "lora_rank is 2, but gold's is 4: give that or more"),
        ([*DISTILL, "--set", "style.scales.text=2"], "makes a specialist without guidance"),
        ([*DISTILL, "--set", "steps=2"], "feedback learns from noise between denoising steps"),
        (["--config", "own.yaml", "--style-images", "inputs", "--name", "x"], "own.yaml is a distillation"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_error(capsys, args: list[str], message: str) -> None:
    style = "style={instruction: x, scales: {image: 1, style: 1, text: 1}}"
    write_config(
        Path("own.yaml"),
        "tiny/base",
        "inputs",
        "steps=0",
        style,
        "warm_start={kind: distilled, teacher: gold}",
    )
    if args[:1] == ["distill"] and "inputs.images" not in message and "--set" in args:
        args = [*args, "inputs.path=inputs", *SMALL]
    assert main(args) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert not Path("runs").exists()


def test_what_takes_one_evaluation_is_not_distilled(capsys: pytest.CaptureFixture[str]) -> None:
    gold = Specialist.load("specialists/gold")
    changes = {"scales": Scales(image=1, style=1, text=1), "steps": 1}
    replace(gold, card=gold.card.model_copy(update=changes)).save("specialists/fast")
    assert main(["distill", "--specialist", "fast", "--cpu", "--set", "inputs.path=inputs"]) == 2
    assert (
        "gold takes 1 U-Net evaluation an edit: sampling.steps=1 would be no fewer" in capsys.readouterr().err
    )
