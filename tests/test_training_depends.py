"""simedit.training.depends: what changes is noticed and named, what does not count is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_training import small_settings, write_inputs

from simedit.config import parse_config
from simedit.tiny import tiny_pipeline
from simedit.training.config import TrainConfig
from simedit.training.depends import changes, fingerprints, machine


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depends")
    tiny_pipeline(0).save_pretrained(folder / "base")
    write_inputs(folder / "inputs", 2)
    write_inputs(folder / "masks", 2)
    write_inputs(folder / "styles", 1)
    (folder / "depth").mkdir()
    (folder / "depth" / "config.json").write_text("{}")
    (folder / "clip").mkdir()
    (folder / "clip" / "config.json").write_text("{}")
    (folder / "gold").mkdir()
    (folder / "gold" / "card.json").write_text("{}")
    (folder / "tabletop" / "1_gold").mkdir(parents=True)
    (folder / "tabletop" / "1_gold" / "card.json").write_text("{}")
    passes = [{"specialist": "1_gold", "nouns": ["table"]}]
    recipe = {"name": "tabletop", "passes": passes, "regions": {"detector": "depth"}}
    (folder / "tabletop" / "recipe.json").write_text(json.dumps(recipe))
    (folder / "run" / "media").mkdir(parents=True)
    (folder / "run" / "media" / "one.mp4").write_bytes(b"video")
    return folder


@pytest.fixture
def folder(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shutil.copytree(pool, tmp_path / "here"))
    return Path()


def config(**sections: Any) -> TrainConfig:
    return parse_config(TrainConfig, small_settings("base", "inputs") | sections, where="test")


ALL = {
    "inputs": {"kind": "images", "path": "inputs", "masks": "masks"},
    "regions": {"inputs": "files", "styles": "files", "style_masks": "styles"},
    "scores": {
        "structural": {"kind": "depth", "model": "depth"},
        "semantic": {"encoder": "texture"},
        "caption": {"text": "gold", "model": "clip"},
    },
}
RUN = {"inputs": {"kind": "run", "path": "run"}}
AFTER = {
    "inputs": {
        "kind": "images",
        "path": "inputs",
        "masks": {"table": "masks", "block": "styles"},
        "region": "block",
    },
    "after": {"recipe": "tabletop"},
}
DISTILLED = {
    "steps": 0,
    "style": {"scales": {"image": 1, "style": 1, "text": 1}},
    "warm_start": {"kind": "distilled", "teacher": "gold"},
}


def _append(name: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return change


@pytest.mark.parametrize(
    ("sections", "change", "named"),
    [
        (ALL, _append("base/unet/diffusion_pytorch_model.safetensors"), "the base base"),
        (ALL, _append("base/tokenizer/tokenizer_config.json"), "the base base"),
        (ALL, _append("base/model_index.json"), "the base base"),
        (ALL, _append("inputs/input_1.png"), "the inputs in inputs"),
        (ALL, lambda folder: (folder / "inputs/input_1.png").unlink(), "the inputs in inputs"),
        (ALL, lambda folder: (folder / "inputs/input_1.png").rename("inputs/z.png"), "the inputs in inputs"),
        (ALL, _append("masks/input_0.png"), "the masks in masks"),
        (ALL, _append("styles/input_0.png"), "the style masks in styles"),
        (ALL, _append("depth/config.json"), "the model depth"),
        (ALL, _append("clip/config.json"), "the model clip"),
        (RUN, _append("run/media/one.mp4"), "the videos in run"),
        (AFTER, _append("masks/input_0.png"), "the masks in masks"),
        (AFTER, _append("styles/input_0.png"), "the masks in styles"),
        (AFTER, _append("tabletop/recipe.json"), "the passes before, tabletop"),
        (AFTER, _append("tabletop/1_gold/card.json"), "the passes before, tabletop"),
        (AFTER, _append("depth/config.json"), "the model depth"),
        (DISTILLED, _append("gold/card.json"), "the specialist gold"),
    ],
)
def test_a_change_is_named(
    folder: Path, sections: dict[str, Any], change: Callable[[Path], object], named: str
) -> None:
    before = fingerprints(config(**sections))
    assert changes(before, fingerprints(config(**sections))) == ""
    change(folder)
    assert changes(before, fingerprints(config(**sections))).startswith(f"{named} (")
    assert changes(before, fingerprints(config(**sections))).count(";") == 0


@pytest.mark.parametrize("name", ["base/README.md", "base/unet/.cache.json", "inputs/notes.txt", "run/a.txt"])
def test_what_is_not_read_does_not_count(folder: Path, name: str) -> None:
    before = [fingerprints(config(**sections)) for sections in (ALL, RUN)]
    (folder / name).write_text("new")
    assert [fingerprints(config(**sections)) for sections in (ALL, RUN)] == before


def test_a_folder_that_moved_is_the_same(folder: Path) -> None:
    before = fingerprints(config())
    (folder / "base").rename("elsewhere")
    after = fingerprints(config(base="elsewhere"))
    assert before["the base base"] == after["the base elsewhere"]


def test_assets_count(folder: Path) -> None:
    files = [path.absolute() for path in (folder / "run").rglob("*")]
    before = fingerprints(config(), files)
    assert before["the simulator's assets"].startswith("1 file ")
    _append("run/media/one.mp4")(folder)
    assert changes(before, fingerprints(config(), files)).startswith("the simulator's assets (")


def test_another_version_of_simedit_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprints(config())
    monkeypatch.setattr("simedit.training.depends.version", lambda name: "99")
    assert changes(before, fingerprints(config())) == f"simedit ({before['simedit']}, now 99)"


def test_the_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine(torch.device("cpu"))
    assert {"processor", "kernels", "threads", "device", "torch"} <= found.keys()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert changes(found, machine(torch.device("cpu"))) == f"threads ({found['threads']}, now 64)"
    assert changes({"a": "1"}, {"b": "2"}) == "a (1, now none); b (none, now 2)"
