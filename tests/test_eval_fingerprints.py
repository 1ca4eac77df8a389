from __future__ import annotations

import struct

import pytest
from safetensors.torch import load_file, save_file

from simedit.envs.drawer import assets, suite
from simedit.envs.drawer.assets import ROOMS, room_mesh
from simedit.eval import fingerprints
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.fingerprints import current_meaning, differences, played_with
from simedit.tiny import make_tiny_library

BASE = {"policies": {"a": {"kind": "scripted"}}, "domains": ["raw"]}


def study(**changes):
    return resolved(StudyConfig.model_validate({**BASE, **changes}))


def changed(before, after):
    return {key for key in before | after if before.get(key) != after.get(key)}


def test_another_base_or_specialist_under_the_same_name_is_another(tmp_path):
    library = make_tiny_library(tmp_path, ["gold", "wood"])
    config = study(domains=["edited"], styles=["gold"])

    def now():
        return current_meaning(config, {"gold": library / "gold"})

    before = now()
    (library / "base" / "README.md").write_text("what others lay beside it")
    (library / "base" / "safety_checker").mkdir()
    (library / "base" / "safety_checker" / "model.safetensors").write_text("not loaded")
    assert now() == before
    for file, key in (
        ("base/vae/diffusion_pytorch_model.safetensors", "base"),
        ("base/scheduler/scheduler_config.json", "base"),
        ("base/model_index.json", "base"),
        ("gold/adapter.safetensors", "specialists.gold"),
    ):
        path = library / file
        content = path.read_bytes()
        if path.suffix == ".json":
            path.write_bytes(content + b" ")
        else:
            save_file({name: 2 * weight for name, weight in load_file(path).items()}, path)
        assert changed(before, now()) == {key}
        path.write_bytes(content)
    assert now() == before


def test_another_cloned_policy_under_the_same_name_is_another(tmp_path):
    (tmp_path / "weights").write_text("one")
    config = study(policies={"a": {"kind": "cloned", "checkpoint": str(tmp_path)}})
    before = current_meaning(config, {})
    (tmp_path / "weights").write_text("two")
    assert changed(before, current_meaning(config, {})) == {"checkpoints.a"}


def test_other_assets_are_others_wherever_they_lie(tmp_path, monkeypatch):
    whole = b"glTF" + struct.pack("<II", 2, 16) + b"abcd"
    files = {"photograph.png": b"one", room_mesh(ROOMS[0]): whole, room_mesh(ROOMS[1]): whole}
    monkeypatch.setattr(suite, "verify", lambda root: ["photograph.png"])

    def now(folder, **files):
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        config = study(
            domains=["varagg"], suite={"kind": "drawer", "skin": "simpler", "asset_root": str(folder)}
        )
        return current_meaning(config, {})

    before = now(tmp_path / "one", **files)
    assert {key for key in before if key.startswith(("suite.assets", "suite.rooms"))} == {
        "suite.assets",
        *(f"suite.rooms.{room}" for room in ROOMS[:2]),  # the third is absent, and may come later
    }
    assert now(tmp_path / "two", **files) == before
    assert changed(before, now(tmp_path / "one", **{"photograph.png": b"two"})) == {"suite.assets"}
    other = {**files, room_mesh(ROOMS[1]): whole[:-4] + b"efgh"}
    assert changed(before, now(tmp_path / "one", **other)) == {f"suite.rooms.{ROOMS[1]}"}
    later = now(tmp_path / "two", **{room_mesh(ROOMS[2]): whole})
    assert before.items() < later.items()
    assert assets.missing(tmp_path / "two", [room_mesh(ROOMS[2])]) == {}


def test_what_plays_is_known_and_how_it_differs():
    here = played_with()
    assert {"simedit", "torch", "numpy", "processor"} <= set(here)
    assert played_with() == here
    assert differences([here, here]) == ""
    assert differences([]) == ""
    there = {**here, "torch": "1.0", "sapien": "0.1"}
    assert differences([here, there]).startswith(f"torch {here['torch']} and 1.0; ")
    assert "openvino 1 and none" in differences([{"openvino": "1"}, {}])


@pytest.mark.parametrize("text", ["model name\t: A 9000\nmodel name\t: A 9000\n", ""])
def test_a_processor_has_a_name_or_none(text, monkeypatch):
    monkeypatch.setattr(fingerprints.Path, "read_text", lambda path, **_: text)
    assert fingerprints._processor() == ("A 9000" if text else fingerprints.platform.processor())
