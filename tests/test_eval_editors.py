from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from small_drawer import SmallDrawer
from small_recipes import make_recipe

from simedit.config import parse_config
from simedit.envs.python import PythonSuite
from simedit.errors import SimeditError
from simedit.eval import worker
from simedit.eval.checks import _of_regions, find_problems
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


class Told(PythonSuite):
    """A suite with masks."""

    mask: Any = None

    def editing(self):
        return {"image_key": "image", "mask": self.mask}


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


def test_a_recipe_means_all_that_is_in_it(library, tmp_path):
    (tmp_path / "sam").mkdir()
    (tmp_path / "sam" / "config.json").write_text("{}")
    passes = {"specialist": "gold", "region": "cabinet"}, {"specialist": "gold", "nouns": ["handle"]}
    finders = {"segmenter": str(tmp_path / "sam")}
    folder = make_recipe(library, "tabletop", *passes, regions=finders)
    config = study(library).model_copy(update={"styles": ["tabletop", "wood"]})
    assert config.editor.regions(config.styles) == {"tabletop": ("cabinet",), "wood": ("",)}
    assert config.editor.untrained(config.editor.folders(config.styles, None)) == ["tabletop", "wood"]
    before = meant(config)
    (tmp_path / "sam" / "config.json").write_text("{ }")
    (folder / "1_gold" / "style_0.png").write_bytes(b"")
    changed = {key for key, value in meant(config).items() if before[key] != value}
    assert changed == {"specialists.tabletop", "specialists.tabletop.segmenter"}


def test_regions_are_checked_before_a_study_begins(library, tmp_path):
    """The drawers have one mask for all."""
    make_recipe(library, "tabletop", {"specialist": "gold", "region": "block"}, {"specialist": "wood"})

    def problems(editing=None, styles=("tabletop",), **editor):
        config = study(library, **editor).model_copy(update={"styles": [*styles]})
        if editing is not None:
            config = config.model_copy(update={"suite": Told(kind="python", factory="a:b", mask=editing)})
        return _of_regions(config)

    found, _ = find_problems(study(library).model_copy(update={"styles": ["tabletop"]}), tmp_path)
    missing = "'tabletop' edits the region 'block', of which the suite has no mask (it has: one for all)"
    assert missing in found
    (problem,) = problems(composition="none")
    assert problem == "'tabletop' edits regions: editor.composition must be mask"
    (problem,) = problems({"blok": "x", "table": "y"}, region="table")
    assert problem.endswith("'block', of which the suite has no mask (it has: blok, table)")
    (problem,) = problems({"block": "x", "table": "y"}, styles=["tabletop", "gold"], region="tabel")
    assert problem.startswith("editor.region: unknown region of the suite 'tabel': did you mean 'table'")
    found = problems({"block": "x", "table": "y"}, styles=["tabletop", "gold"])
    assert [problem.partition(",")[0] for problem in found] == [
        "'tabletop' has no region of its own",
        "'gold' has no region of its own",
    ]
    assert problems({"block": "x", "table": "y"}, styles=["tabletop", "gold"], region="table") == []
    assert problems(styles=["gold"]) == []
    assert problems({"block": "x"}, styles=["gold"], kind="photograph")[0].endswith("to one of block")


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
