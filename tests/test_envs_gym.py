from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from small_gym import ID
from small_recipes import make_recipe

from simedit.config import parse_config
from simedit.envs.gym import GymSuite
from simedit.errors import SimeditError
from simedit.eval.checks import find_problems
from simedit.eval.cli import main
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.rollout import Stage, rollout
from simedit.eval.store import Store
from simedit.eval.trials import Trial
from simedit.tiny import make_tiny_library
from simedit.video import probe, read


def suite(**settings) -> GymSuite:
    given = {"kind": "gym", "id": ID, "success": "is_done", **settings}
    return parse_config(GymSuite, given, where="suite")


def begun(found: GymSuite, task: str = "task", start: str = "0"):
    env = found.make("raw", "")
    return env, *env.reset(seed=3, options={"task": task, "scene": (start,)})


def test_a_bare_picture_lies_under_frame_and_a_start_is_a_seed():
    env, obs, info = begun(suite())
    _, other, _ = begun(suite(), start="1")
    _, same, _ = begun(suite(), start="0")
    assert list(obs) == ["frame"]
    assert env.observation_space.contains(obs)
    assert info["instruction"] == ""
    np.testing.assert_array_equal(obs["frame"], same["frame"])
    assert (obs["frame"] != other["frame"]).any()


def test_what_a_step_tells():
    env, *_ = begun(suite(tasks={"go": {"instruction": "to the right", "options": {"at": 0.25}}}), "go")
    _, _, terminated, _, info = env.step(np.ones(2, np.float32))
    assert (terminated, info["success"], info["progress"]) == (True, True, 1.0)
    env, *_ = begun(suite(progress="near", tasks={"go": {"options": {"at": -0.25}}}), "go")
    assert env.step(np.zeros(2, np.float32))[4]["progress"] == 0.25
    env, *_ = begun(suite(success="reward", tasks={"go": {"options": {"at": -0.25}}}), "go")
    assert env.step(np.zeros(2, np.float32))[4]["success"] is False
    assert env.step(np.ones(2, np.float32) * 2 / 2)[4]["progress"] == 0.0


def test_an_episode_has_the_steps_it_is_registered_with():
    assert suite().max_steps == 200
    assert suite(id="CartPole-v1").max_steps == 500
    with pytest.raises(SimeditError, match="no_such"):
        suite(id="no_such:Thing-v0").max_steps  # noqa: B018


def test_a_task_has_arguments_of_its_own():
    found = suite(tasks={"push": {}, "press": {"instruction": "press", "args": {"discrete": True}}})
    env, _, info = begun(found, "press")
    assert info["instruction"] == "press"
    assert env.action_space.shape == (1,)
    env.step(np.array([0.6], np.float32))  # the nearest of the three, -1 to 1


def test_what_render_gives_may_be_the_picture():
    pytest.importorskip("gymnasium", minversion="1.0")
    found = suite(image_key="render", args={"picture": False, "render_mode": "rgb_array"})
    _, obs, _ = begun(found)
    assert found.editing()["image_key"] == "frame"
    assert (obs["frame"] == 100).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "NoSuchThing-v0"}, "cannot make the environment NoSuchThing-v0: "),
        ({"id": "no_such_module:Thing-v0"}, "cannot make the environment no_such_module:Thing-v0: "),
        ({"args": {"colour": 1}}, "cannot make the environment .*colour"),
        ({"image_key": "camera/rgb"}, "suite.image_key: .*'camera'"),
        ({"args": {"picture": False}}, "no picture, uint8 .* set it to render"),
    ],
)
def test_an_environment_that_cannot_be_played_is_refused(settings, message):
    with pytest.raises(SimeditError, match=message):
        suite(**settings).make("raw", "")


def test_info_without_success_names_what_is_there():
    env, *_ = begun(suite(success="done", args={"tells": False}))
    # It may be told at the end alone; what goes by a name of the studies' own means something else.
    assert not {"success", "measures"} & set(env.step(np.zeros(2))[-1])
    env.unwrapped.x = 0.4
    with pytest.raises(KeyError, match=r"'done'.*close.* Set suite.success"):
        env.step(np.ones(2))


def test_what_is_no_finite_number_is_no_success():
    env, *_ = begun(suite(success="odd", tasks={"nan": {"args": {"odd": "nan"}}}), task="nan")
    with pytest.raises(ValueError, match="odd of the environment's info is 'nan', and no number"):
        env.step(np.zeros(2))


def test_episodes_share_no_options():
    found = suite(tasks={"task": {"options": {"at": 0.0, "seen": []}}})
    for start in "012":
        env, *_ = begun(found, start=start)
        assert env.unwrapped.options["seen"] == []
        env.unwrapped.options["seen"].append(start)


def test_what_a_trial_means_is_how_it_is_made_and_not_how_many_there_are(tmp_path):
    scene = tmp_path / "scene.xml"
    scene.write_text("one")
    settings = {"args": {"odd": str(scene)}, "tasks": {"a": {}}}
    before = suite(**settings).meaning({})
    assert set(before["environment"]) == {"small_gym"}
    more = suite(**settings | {"tasks": {"a": {}, "b": {}}, "starts": 30}).meaning({})
    assert {key: more[key] for key in before} == before
    scene.write_text("two")
    assert suite(**settings).meaning({})["files"] != before["files"]
    assert suite(id="CartPole-v1").meaning({})["environment"].keys() == {
        "gymnasium.envs.classic_control.cartpole"
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"args": {"max_episode_steps": 5}}, "set the study's max_steps"),
        ({"mask_ids": [3]}, "need suite.mask: segmentation"),
    ],
)
def test_settings_without_effect_are_refused(settings, message):
    assert message in suite(**settings).problems({})[0]


@pytest.mark.parametrize("settings", [{"tasks": {}}, {"tasks": {"a/b": {}}}, {"starts": 0}, {"mask": "a:"}])
def test_settings_that_do_not_do_are_refused(settings):
    with pytest.raises(SimeditError, match=next(iter(settings))):
        suite(**settings)


def test_a_mask_of_ones_own_is_part_of_what_a_trial_means():
    found = suite(mask="small_gym:left")
    assert found.problems({}) == []
    assert found.editing()["mask"](None).sum() == 40
    assert found.meaning({})["masks"]
    assert "did you mean 'left'" in suite(mask="small_gym:lift").problems({})[0]


def test_a_study_of_it_is_run_by_its_command(tmp_path, capsys):
    config = tmp_path / "study.yaml"
    config.write_text(
        f"""
        policies: {{right: {{kind: python, factory: "small_gym:Right"}}}}
        suite: {{kind: gym, id: "{ID}", success: is_done, starts: 2, progress: near}}
        domains: [raw]
        max_steps: 6
        real: {{source: none}}
        """,
        encoding="utf-8",
    )
    assert main(["run", "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    with Store(tmp_path / "out", write=False) as store:
        results = list(store.results().values())
    assert [(r.outcome, r.trial.scene, r.progress) for r in results] == [
        ("success", "0", 1.0),
        ("success", "1", 1.0),
    ]
    assert (tmp_path / "out" / "report.html").exists()


def test_masks_by_region():
    found = suite(mask={"half": "small_gym:left", "block": "labels"}, mask_ids={"block": [3]})
    assert not found.problems({})
    assert found.editing()["mask"]["half"](None).sum() == 40
    assert found.editing()["mask"]["block"] == "labels"
    assert found.editing()["mask_ids"] == {"block": [3]}
    assert found.meaning({})["masks.half"] == suite(mask="small_gym:left").meaning({})["masks"]
    assert "did you mean 'left'" in suite(mask={"half": "small_gym:lift"}).problems({})[0]
    assert "need suite.mask" in suite(mask={"half": "small_gym:left"}, mask_ids={"half": [1]}).problems({})[0]
    with pytest.raises(SimeditError, match=r"mask.by region.half: must name a module"):
        suite(mask={"half": "small_gym.py:left"})


@pytest.mark.slow
def test_a_study_edits_by_a_recipe(tmp_path, capfd):
    library = make_tiny_library(tmp_path / "library", ["gold", "wood"])
    passes = {"specialist": "gold", "region": "left"}, {"specialist": "wood", "region": "right"}
    folder = make_recipe(library, "tabletop", *passes)
    masks = '{left: "small_gym:left", right: "small_gym:right", bare: "small_gym:left"}'
    config = tmp_path / "study.yaml"
    config.write_text(
        f"""
        policies: {{right: {{kind: python, factory: "small_gym:Right"}}}}
        suite: {{kind: gym, id: "{ID}", success: is_done, starts: 2, mask: {masks}}}
        domains: [edited]
        styles: [tabletop, wood]
        max_steps: 2
        editor: {{library: "{library}", steps: 1, compile: false, region: bare}}
        real: {{source: none}}
        report: {{videos: 4, strips: 0}}
        """,
        encoding="utf-8",
    )
    command = ["run", "--config", str(config), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    with Store(tmp_path / "out", write=False) as store:
        results = list(store.results().values())
    assert sorted((r.trial.style, r.outcome) for r in results) == [
        (style, "failure") for style in ("tabletop", "wood") for _ in range(2)
    ]
    videos = sorted((tmp_path / "out" / "media").glob("*.mp4"))  # one of each style
    for style, video in zip(("tabletop", "wood"), videos, strict=True):
        (frame, *_) = read(probe(video))
        raw, edit = frame[:, : frame.shape[1] // 2].astype(int), frame[:, frame.shape[1] // 2 :]
        far, width = np.abs(raw - edit).mean((0, 2)), raw.shape[1]
        assert far[: width // 2].mean() > 5
        assert (far[width // 2 + 2 :].mean() > 5) == (style == "tabletop")
    card = json.loads((folder / "2_wood" / "card.json").read_text())
    (folder / "2_wood" / "card.json").write_text(json.dumps({**card, "steps": 9}))
    capfd.readouterr()
    assert main(command) == 2
    assert "specialists.tabletop" in capfd.readouterr().err


def test_edits_without_a_mask_are_refused_before_anything_is_built(tmp_path):
    study = {
        "policies": {"right": {"kind": "python", "factory": "small_gym:Right"}},
        "suite": {"kind": "gym", "id": ID},
        "domains": ["edited"],
        "styles": ["gold"],
        "real": {"source": "none"},
    }
    (problem,), _ = find_problems(resolved(parse_config(StudyConfig, study, where="study")), tmp_path)
    assert "editor.composition: none" in problem
    study["editor"] = {"kind": "photograph"}
    (problem,), _ = find_problems(resolved(parse_config(StudyConfig, study, where="study")), tmp_path)
    assert problem.endswith("name a mask")


@pytest.mark.parametrize(
    ("answer", "outcome"), [(1, "success"), (0.9, "success"), (-1, "failure"), (9, "error")]
)
def test_a_number_of_the_discrete_ones_is_played_and_another_is_the_policys_error(answer, outcome):
    policy = SimpleNamespace(reset=lambda *_, **__: None, act=lambda _: answer)
    stage = Stage(suite(args={"discrete": True}).make, "frame")
    found = rollout(Trial("p", "task", "0", "raw", "", "", 0), stage, policy, max_steps=6)
    assert found.outcome == outcome
    assert ("outside" in found.message) == (outcome == "error")
