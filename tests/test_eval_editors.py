from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_drawer import SmallDrawer
from small_gym import ID
from small_pipelines import tiny
from small_recipes import make_recipe

from simedit.config import load_config, parse_config
from simedit.envs.python import PythonSuite
from simedit.errors import SimeditError
from simedit.eval import worker
from simedit.eval.checks import _of_regions, find_problems
from simedit.eval.cli import main
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.editors import find_editor, load_editor
from simedit.eval.fingerprints import current_meaning
from simedit.eval.store import Store
from simedit.eval.trials import Result, trials
from simedit.packaged import packaged_configs
from simedit.photograph import PhotographEditor
from simedit.tiny import make_tiny_library
from simedit.video import probe, read

XL = "StableDiffusionXLInstructPix2PixPipeline"


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


def told(settings, **more):
    """What is wrong with an editor."""
    with pytest.raises(SimeditError) as error:
        parse_config(
            StudyConfig,
            {"policies": {"a": {"kind": "scripted"}}, "domains": ["raw"], "editor": settings, **more},
            where="study",
        )
    return str(error.value)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "xl"
    tiny(XL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for style, colour in (("gold", (220, 170, 20)), ("wood", (120, 70, 30))):
        Image.new("RGB", (8, 8), colour).save(folder / f"{style}.png")
    return folder


def test_every_config_that_ships_is_an_editor_and_goes_by_name():
    for name, file in packaged_configs("editors").items():
        kind = find_editor(name)
        assert kind == find_editor(str(file))
        if kind.kind == "diffusers":
            assert "out of black marble" in kind.prompt_of("black_marble")
            assert kind.steps
    config = parse_config(
        StudyConfig,
        {"policies": {"a": {"kind": "scripted"}}, "domains": ["raw"], "editor": "hq-edit"},
        where="study",
    )
    assert (config.editor.kind, config.editor.steps, config.editor.guidance) == ("diffusers", 30, 7.0)


def test_a_studys_editor_is_like_another_but_for_what_it_says(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("policies: {a: {kind: scripted}}\ndomains: [raw]\neditor: {like: hq-edit, steps: 5}\n")
    editor = load_config(StudyConfig, file).editor
    assert (editor.steps, editor.guidance) == (5, 7.0)
    again = load_config(StudyConfig, file, ["editor.like=flux2-klein", "editor.steps=3"]).editor
    assert (again.pipeline, again.steps) == ("Flux2KleinPipeline", 3)
    dumped = json.loads(again.model_dump_json())  # as a run folder keeps it
    assert parse_config(type(again), dumped, where="kept") == again


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("instruct-pix2pi", "'instruct-pix2pi': did you mean 'instruct-pix2pix'"),
        ({"like": "hive", "stps": 3}, "unknown key 'stps': did you mean 'steps'"),
        ({"like": "hive", "pipeline": "FluxContextPipeline"}, "did you mean 'FluxKontextPipeline'"),
        ({"like": "flux2-klein", "image_guidance": 1}, "Flux2KleinPipeline takes no image_guidance"),
        ({"like": "hive", "scheduler": None, "scheduler_settings": {"a": 1}}, "need a scheduler"),
        ({"like": "hive", "steps": 0}, "steps: Input should be greater than 0"),
        ({"like": "hive", "guidance": -1}, "guidance: Input should be greater than or equal to 0"),
        ({"like": "reinhard", "transfer": "reinhart"}, "'histogram' or 'reinhard'"),
        ({"kind": "diffusers", "model": "a/b"}, "pipeline: this key is required"),
        ({"kind": "difusers"}, "unknown kind 'difusers': did you mean 'diffusers'"),
    ],
)
def test_mistakes_in_an_editor_are_told(settings, message):
    assert message in told(settings)


def test_a_config_that_is_like_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("like: b.yaml\n")
    (tmp_path / "b.yaml").write_text("like: a.yaml\n")
    assert "a.yaml is like itself" in told("a.yaml")


def test_a_style_without_a_prompt_or_a_picture_is_a_problem(pictures):
    settings = {"like": "hive", "prompt": None, "prompts": {"gold": "gild it"}, "model": "a/b"}
    config = study("tiny").model_copy(update={"editor": find_editor("hive")})
    editor = parse_config(StudyConfig, {**config.model_dump(), "editor": settings}, where="study").editor
    (problem,) = editor.problems(["gold", "wood"])
    assert "no prompt for the style 'wood'" in problem
    assert find_editor("hive").problems(["gold"]) == [
        "there is no model hive_rw_condition.ckpt: give a folder, a checkpoint's file or a hub id"
    ]
    with pytest.raises(SimeditError, match=r"^hive: there is no model hive_rw_condition.ckpt"):
        load_editor("hive", ["gold"])
    with pytest.raises(SimeditError, match="unknown style 'god': did you mean 'gold'"):
        load_editor("histogram", ["god"], overrides=[f"library={pictures}"])


def test_a_diffusers_edit_means_the_model_the_prompt_and_the_settings(model, tmp_path):
    def fingerprints(*overrides, place=model):
        kind = find_editor("cosxl", [f"model={place}", *overrides])
        return kind.fingerprints(dict.fromkeys(["gold", "wood"], place)), kind

    before, kind = fingerprints()
    assert before.keys() == {"base", "specialists.gold", "specialists.wood"}
    assert kind.folders(["gold", "wood"], tmp_path) == dict.fromkeys(["gold", "wood"], model)
    after, _ = fingerprints("prompts={gold: gild it}")
    assert {key for key in after if after[key] != before[key]} == {"specialists.gold"}
    other = tmp_path / "snapshots" / "0123abc"
    shutil.copytree(model, other)
    assert fingerprints(place=other)[0] == before
    (other / "model_index.json").write_text("{}")
    assert fingerprints(place=other)[0]["base"] != before["base"]
    hub = find_editor("flux2-klein")
    found = hub.fingerprints({"gold": other})  # the hub's name of a commit names its content
    assert found["base"] == "black-forest-labs/FLUX.2-klein-4B@0123abc"


def test_pictures_mean_their_content(pictures, tmp_path):
    kind = find_editor("reinhard", [f"library={pictures}"])
    folders = kind.folders(["gold"], None)
    before = kind.fingerprints(folders)
    assert before == find_editor("histogram", [f"library={pictures}"]).fingerprints(folders)
    assert before.keys() == {"base", "specialists.gold"}
    assert kind.untrained(folders) == []
    kept = tmp_path / "0123abc"  # on another machine of a cluster
    shutil.copyfile(folders["gold"], kept)
    assert kind.load({"gold": kept}).styles == ("gold",)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diffusers", "colours"])
def test_a_study_is_played_with_it(kind, model, pictures, tmp_path, capfd):
    editor = {
        "diffusers": f"{{like: cosxl, model: '{model}', steps: 2, size: 32, prompts: {{gold: gild it}}}}",
        "colours": f"{{like: reinhard, library: '{pictures}'}}",
    }[kind]
    config = tmp_path / "study.yaml"
    config.write_text(
        f"""
        policies: {{right: {{kind: python, factory: "small_gym:Right"}}}}
        suite: {{kind: gym, id: "{ID}", success: is_done, starts: 1, mask: "small_gym:left"}}
        domains: [edited]
        styles: [gold]
        max_steps: 2
        editor: {editor}
        real: {{source: none}}
        report: {{videos: 1, strips: 0}}
        """,
        encoding="utf-8",
    )
    command = ["run", "--config", str(config), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    with Store(tmp_path / "out", write=False) as store:
        assert [result.outcome for result in store.results().values()] == ["failure"]
    (video,) = (tmp_path / "out" / "media").glob("*.mp4")
    (frame, *_) = read(probe(video))
    raw, edit = frame[:, : frame.shape[1] // 2].astype(int), frame[:, frame.shape[1] // 2 :]
    far, width = np.abs(raw - edit).mean((0, 2)), raw.shape[1]
    assert far[: width // 2].mean() > 5
    assert far[width // 2 + 2 :].mean() < 5
    capfd.readouterr()
    changed = "editor.guidance=3" if kind == "diffusers" else "editor.like=histogram"
    assert main([*command, "--set", changed]) == 2
    assert "other settings" in capfd.readouterr().err
