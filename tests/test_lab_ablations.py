"""Ablations on a tiny base: what is varied is all that differs, what was done is not done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from small_training import write_config, write_inputs

from simedit.errors import SimeditError
from simedit.lab import quality
from simedit.lab.ablations import config as configs
from simedit.lab.ablations import figure, needs, report, study
from simedit.lab.ablations.config import Ablation, load_ablations, variants
from simedit.lab.ablations.study import do_ablations, jobs, work
from simedit.lab.cli import main
from simedit.packaged import packaged_configs

ALPHA = {
    "title": "Style against structure",
    "kind": "training",
    "axis": "alpha",
    "vary": {"scores.alpha": [0.0, 1.0]},
    "reference": "1.0",
    "seeds": 2,
    "frames": 2,
}


@pytest.fixture
def small(tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder; trainings are tiny, and held-out frames drawn."""
    training = write_config(
        tmp_path / "train.yaml",
        "unused",
        write_inputs(tmp_path / "inputs", 3),
        "steps=1",
        "sampling.steps=2",
    )
    data = yaml.safe_load(training.read_text())
    data.pop("base")
    data["style"] = {"scales": {"image": 1, "style": 1, "text": 1}}
    training.write_text(yaml.safe_dump(data))
    for module in (configs, study):
        monkeypatch.setattr(module, "TRAIN_CONFIG", training)
    monkeypatch.setattr(study, "lab_data", lambda name: tiny_root / name)

    def held_out(count: int, *, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        frames = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
        masks = np.zeros((count, height, width), bool)
        masks[:, 8:24, 8:24] = True
        return frames, masks

    monkeypatch.setattr(quality, "held_out", held_out)
    return tmp_path / "out"


def ablation(**changed: Any) -> Ablation:
    return Ablation.model_validate(ALPHA | changed)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("this was done before")


def test_a_stop_loses_no_training_and_what_is_done_is_not_done_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha, images = ablation(seeds=1), ablation(vary={"photographs": [1, 5]}, reference="5", seeds=1)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(study, "_measure", stop)
        with pytest.raises(KeyboardInterrupt):
            do_ablations(small, {"alpha": alpha}, 1)
    (first,) = (small / "training").iterdir()
    assert (first / "specialist" / "card.json").exists()
    trained = []
    train = study.train_style
    monkeypatch.setattr(study, "train_style", lambda *a, **k: trained.append(k["run"]) or train(*a, **k))
    do_ablations(small, {"alpha": alpha, "style_images": images}, 1)
    # Both ablations have the training with alpha 1 and five photographs.
    assert len(trained) == 2
    assert len(list((small / "training").iterdir())) == 3
    counts = {len(list((each / "photographs").iterdir())) for each in (small / "training").iterdir()}
    assert counts == {1, 5}
    monkeypatch.setattr(study, "train_style", never)
    monkeypatch.setattr(study, "_measure", never)
    do_ablations(small, {"alpha": alpha, "style_images": images}, 1)
    _, rows, _ = work(small, {"alpha": alpha, "style_images": images})
    assert [row[-1] for row in rows] == ["2 of 2", "2 of 2"]
    with pytest.raises(SimeditError, match="begun with other settings"):
        do_ablations(small, {"alpha": ablation(seeds=2)}, 1)


def test_every_value_is_there_and_the_figure_follows(small: Path) -> None:
    one = ablation(vary={"update.learning_rate": [0.01, 0.001]}, reference="0.001", curves=True)
    do_ablations(small, {"rate": one}, 1)
    content = report.report(small, "rate", one)
    assert json.loads((small / "rate" / "report.json").read_text()) == json.loads(json.dumps(content))
    assert list(content["values"]) == [report.BASE, "0.01", "0.001"]
    assert {"edge_f1", "ssim", "mse_outside", "colour", "texture"} <= content["metrics"].keys()
    assert "clip_text" in content["metrics_left_out"]
    for metric in content["metrics"]:
        values = {key: np.array(of[metric], float) for key, of in content["values"].items()}
        assert values["0.01"].shape == (2, 2)
        assert content["means"]["0.01"][metric]["mean"] == pytest.approx(values["0.01"].mean())
        apart = content["less"]["0.01"][metric]
        assert apart["mean"] == pytest.approx((values["0.01"] - values["0.001"]).mean(), abs=1e-9)
        assert apart["low"] <= apart["mean"] <= apart["high"]
    # Seeds are other trainings, and so are variants.
    fast, slow = (content["values"][key]["ssim"] for key in ("0.01", "0.001"))
    assert fast[0] != fast[1]
    assert fast != slow
    assert list(content["at"]["0.01"]) == ["0", "1"]
    assert content["at"]["0.01"]["0"]["ssim"]["mean"] == pytest.approx(
        content["means"][report.BASE]["ssim"]["mean"]
    )
    assert np.shape(content["curves"]["0.001"]["structural"]) == (2, 1)
    assert content["starts"]["0.001"]["ssim"] == content["means"][report.BASE]["ssim"]
    for curves in (True, False):
        shown = content | {"at": content["at"] if curves else {}}
        figure.draw(small / "figure.png", shown)
        with Image.open(small / "figure.png") as picture:
            assert np.ptp(np.asarray(picture.convert("L"))) > 200
    heads, rows = report.rows(content)
    assert [row[0] for row in rows] == list(content["means"])
    assert {len(row) for row in rows} == {len(heads)}


def test_edits_alone_on_a_grid(small: Path, tiny_root: Path) -> None:
    vary = {"scales.image": [1.0, 2.0], "scales.style": [1.0, 4.0]}
    grid = ablation(kind="edits", vary=vary, reference="1.0 / 1.0", set=["steps=2"], seeds=1)
    grid = grid.model_copy(update={"specialist": str(tiny_root / "gold")})
    do_ablations(small, {"guidance": grid}, 1)
    content = report.report(small, "guidance", grid)
    assert list(content["means"]) == ["1.0 / 1.0", "1.0 / 4.0", "2.0 / 1.0", "2.0 / 4.0"]
    assert len({of["ssim"]["mean"] for of in content["means"].values()}) == 4
    figure.draw(small / "figure.png", content)
    assert (small / "figure.png").stat().st_size > 10_000


def test_no_more_is_said_than_was_found() -> None:
    def apart(low: float, high: float) -> dict[str, float]:
        return {"mean": (low + high) / 2, "low": low, "high": high}

    content = {
        "plan": {"reference": "1"},
        "metrics": {"up": {"better": "higher"}, "down": {"better": "lower"}},
        "less": {
            "0": {"up": apart(0.1, 0.2), "down": apart(0.1, 0.2)},
            "2": {"up": apart(-1, 1), "down": apart(0, 1)},
        },
        "left_out": {"depth": "no weights"},
        "metrics_left_out": {},
    }
    zero, two, without = report.sentences(content)
    assert zero == "0: better by up; worse by down (against 1)"
    assert two == "2: not told apart (against 1)"
    assert without == "left out: depth: no weights"


def test_what_ships_varies_what_it_says_and_names_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "missing_imports", lambda config: [])
    monkeypatch.setattr(needs, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(needs.torch.hub, "get_dir", lambda: "nowhere")
    found = load_ablations((), ())
    assert found.keys() == packaged_configs("ablations").keys()
    assert len(found) == 8
    referred: set[Path] = set()
    for name, one in found.items():
        wanted, left_out = jobs(Path("out"), one)
        assert len(wanted) == one.seeds * (len(variants(one)) - len(left_out))
        folders = {job.folder for job in wanted}
        assert len(folders) == len(wanted)
        if one.kind == "training":
            referred |= {job.folder for job in wanted if (job.variant.name, job.seed) == (one.reference, 0)}
        expected = {"encoder": {"dreamsim", "dinov2", "clip"}, "structure": {"depth"}}
        assert left_out.keys() == expected.get(name, set())
        assert all("not on this machine" in reason for reason in left_out.values())
    assert len(referred) == 1  # one training is what all refer to


def test_weights_in_a_folder_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "missing_imports", lambda config: [])
    vary = {
        "scores.semantic": {
            "texture": {"encoder": "texture"},
            "own": {"encoder": "clip", "model": str(tmp_path)},
        }
    }
    wanted, left_out = jobs(tmp_path, ablation(vary=vary, reference="texture", seeds=1))
    assert [job.variant.name for job in wanted] == ["texture", "own"]
    assert not left_out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"reference": "1"}, "reference: unknown variant '1'"),
        ({"vary": {"photographs": [0]}, "reference": "0"}, "paints 1 to 5"),
        ({"kind": "edits"}, "unknown setting of edits 'scores.alpha'"),
        ({"vary": {"scores.alhpa": [1.0]}}, "did you mean 'alpha'"),
        ({"vary": {"samples": [3]}, "reference": "3"}, "must be a multiple"),
        ({"frames": 1}, "frames: "),
        ({"style": "glod"}, "did you mean 'gold'"),
    ],
)
def test_a_mistake_is_met_before_any_work(
    changed: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(ALPHA | changed))
    assert main(["ablate", str(file), "--out", str(tmp_path / "out")]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_the_command(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(ALPHA | {"vary": {"scores.alpha": [1.0]}}))
    args = ["ablate", str(file), "--out", str(small), "--jobs", "1", "--set", "seeds=1"]
    assert main([*args, "--dry-run"]) == 0
    assert "1 trainings" in capsys.readouterr().out
    assert not small.exists()
    assert main(args) == 0
    said = capsys.readouterr().out
    assert "mine: Style against structure" in said
    assert (small / "mine" / "figure.png").is_file()
    assert main(["ablate", "alhpa", "--out", str(small)]) != 0
    assert "did you mean 'alpha'" in capsys.readouterr().err
    assert main([*args, "frames=3"]) != 0
    assert "begun with other settings" in capsys.readouterr().err
