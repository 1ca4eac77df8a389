from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_drawer import SmallDrawer

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.eval import worker
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.fingerprints import current_meaning
from simedit.eval.store import Store
from simedit.eval.trials import Result, trials
from simedit.photograph import PhotographEditor
from simedit.tiny import make_tiny_library


def study(library, **editor):
    return resolved(
        parse_config(
            StudyConfig,
            {
                "policies": {"a": {"kind": "scripted"}},
                "domains": ["edited"],
                "styles": ["gold", "wood"],
                "tasks": ["open"],
                "scenes": {"pose": ["b1"], "drawer": ["top"]},
                "editor": {"library": str(library), **editor},
            },
            where="study",
        )
    )


@pytest.fixture
def library(tmp_path):
    return make_tiny_library(tmp_path / "library", ["gold", "wood"])


def meant(config):
    return current_meaning(config, config.editor.folders(config.styles, None))


def test_no_kind_is_specialists_and_run_folders_of_before_still_mean_the_same(library):
    config = study(library)
    assert config.editor.kind == "specialists"
    found = meant(config)
    assert "editor.kind" not in found
    assert {"base", "specialists.gold", "editor.steps"} <= set(found)
    assert config.editor.untrained(config.editor.folders(config.styles, None)) == ["gold", "wood"]


def test_photographs_mean_the_picture_and_the_light_and_no_weights(library):
    config = study(library, kind="photograph")
    before = meant(config)
    assert before["editor.kind"] == "photograph"
    assert meant(study(library, kind="photograph", light=False))["editor.light"] is False
    folders = config.editor.folders(config.styles, None)
    (folders["gold"] / "adapter.safetensors").unlink()
    shutil.rmtree(library / "base")
    assert meant(config) == before
    assert config.editor.untrained(folders) == []
    assert isinstance(config.editor.load(folders), PhotographEditor)
    shutil.copyfile(folders["wood"] / "style_0.png", folders["gold"] / "style_0.png")
    assert {key for key, value in meant(config).items() if before[key] != value} == {"specialists.gold"}


@pytest.mark.parametrize("kinds", [("photograph", "specialists"), ("specialists", "photograph")])
def test_kinds_share_no_run_folder_even_with_other_styles(library, tmp_path, kinds):
    one, two = (study(library, kind=kind) for kind in kinds)
    one = one.model_copy(update={"styles": ["gold"]})
    two = two.model_copy(update={"styles": ["wood"]})
    with Store(tmp_path / "out", write=True) as store:
        store.agree(meant(one))
        store.put(Result(next(trials(one)), "success"))
        with pytest.raises(SimeditError, match=r"other settings \(.*base: .*: use another --out"):
            store.agree(meant(two))


def test_a_missing_style_is_a_problem_of_every_kind(library):
    for kind in ("photograph", "specialists"):
        config = study(library, kind=kind)
        assert config.editor.problems(["gold"]) == []
        (problem,) = config.editor.problems(["gld"])
        assert "'gld': did you mean 'gold'" in problem


def test_a_study_edits_with_photographs(library, monkeypatch):
    config = study(library, kind="photograph", light=False)
    folders = config.editor.folders(config.styles, None)

    class Suite:
        def make(self, domain, variant):
            return SmallDrawer()

    monkeypatch.setattr(type(config.suite), "suite", lambda self: Suite())
    monkeypatch.setattr(type(config), "behind", lambda self, *place: place)
    env = worker.scene(config, "edited", "", worker.load_editor(config, folders))
    obs, _ = env.reset(seed=0, options={"pose": "b1", "task": "open", "drawer": "top"})
    camera = obs["sensor_data"]["overhead_camera"]
    changed = (np.asarray(camera["rgb"]) != np.asarray(camera["raw_rgb"])).any(-1)
    mask = np.asarray(camera["segmentation"])[..., 0] == 2
    assert changed[mask].mean() > 0.9
    assert not changed[~mask].any()
