from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from simedit.config import load_config, parse_config
from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, meaning, resolved
from simedit.eval.run_folder import kept
from simedit.eval.store import Store
from simedit.eval.trials import trials

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, LAB = ROOT / "configs" / "eval", ROOT / "benchmarks" / "lab"
BASE = {"policies": {"a": {"kind": "scripted"}, "b": {"kind": "scripted", "noise": 0.1}}, "domains": ["raw"]}


def parsed(**changes):
    return resolved(parse_config(StudyConfig, {**BASE, **changes}, where="test"))


def problems(study):
    return " | ".join(study.suite.problems(study.places()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": ["raw"]}, "unknown key 'domain': did you mean 'domains'"),
        ({"policies": {"a": {"kind": "scripted", "nois": 1}}}, "did you mean 'noise'"),
        (
            {"policies": {"a": {"kind": "scriptd"}}},
            "a: unknown kind .scriptd.: did you mean .scripted",
        ),
        ({"policies": {"a": {"noise": 1}}}, "policies.a: the key .kind. is required"),
        ({"domains": ["aggregated"]}, "varagg"),
        ({"policies": {"a": {"kind": "cloned"}}}, "checkpoint"),
        ({"variants": {"varagg": ["darkr"]}}, "unknown variant of varagg 'darkr': did you mean 'darker'"),
        ({"variants": {"varagg": ["base", "base"]}}, "twice"),
        ({"variants": {"varagg": []}}, "variants.varagg: .*at least 1"),
        ({"editor": {"seeds": [1, 1]}}, "twice"),
        ({"suite": {"kind": "drawer", "denoiser": "magic"}}, "optix"),
        ({"domains": ["edited"]}, "needs styles"),
        ({"scenes": {"pose": ["a9"]}}, "unknown pose 'a9'"),
        ({"scenes": {"poses": ["a1"]}}, "unknown axis of scenes 'poses': did you mean 'pose'"),
        ({"scenes": {"pose": ["a1", "a1"]}}, "twice"),
        ({"tasks": ["shut"]}, "unknown task 'shut'"),
        ({"domains": ["raw"], "editor": {"over": "real"}}, "unknown domain 'real'"),
        ({"realities": ["kitchen"]}, "unknown domain 'kitchen'"),
        ({"suite": "drawr"}, "unknown kind .drawr.: did you mean .drawer"),
        ({"suite": "gym"}, "suite.*id"),
        ({"suite": {"skin": "simpler"}}, "suite: the key .kind. is required"),
        ({"poses": ["a1"]}, r"scenes\.pose"),
        ({"drawers": ["top"]}, r"scenes\.drawer"),
        ({"env": {"skin": "simpler"}}, "the key env is called suite now"),
        ({"seeds": [1, 1]}, "twice"),
        ({"tasks": []}, "at least 1"),
        ({"seeds": [2**63]}, "seeds.0"),
        ({"editor": {"seeds": [-(2**63) - 1]}}, "editor.specialists.seeds.0"),
        ({"editor": {"kind": "photo"}}, "editor: unknown kind .photo.: did you mean .photograph."),
        ({"editor": {"kind": "photograph", "steps": 3}}, "unknown key .steps."),
        ({"editor": {"kind": "photograph", "composition": "none"}}, "should be .mask."),
        ({"styles": ["gold/../../x"]}, "must not hold a slash"),
        ({"styles": ["../x"]}, "must not begin with a dot"),
        ({"styles": ["g" * 101]}, "at most 100 bytes"),
        ({"policies": {"a/b": {"kind": "scripted"}}}, "must not hold a slash"),
        ({"policies": {".a": {"kind": "scripted"}}}, "must not begin with a dot"),
        ({"timeouts": {"step": 0}}, "timeouts.step"),
        ({"resources": {"rollout": {"cpu": 0}}}, "takes no cpu and no gpu"),
        ({"timeouts": {"act": float("inf")}}, "timeouts.act"),
        ({"real": {"names": {"c": "RT-1-X"}}}, "unknown policy 'c'"),
        ({"suite": {"kind": "drawer", "skin": "gold"}}, "primitive"),
    ],
)
def test_mistakes_are_refused(changes, message):
    with pytest.raises(SimeditError, match=message):
        parsed(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"domains": ["proxy_real"], "suite": {"skin": "simpler"}},
            "proxy_real needs .* suite.skin: primitive",
        ),
        ({"domains": ["proxy_real"], "suite": {"simulator": "original"}}, "needs suite.simulator: twin"),
        ({"suite": {"photographs": "proxy_real", "skin": "simpler"}}, "photographs: proxy_real needs suite"),
        ({"domains": ["vismatch"]}, "vismatch needs suite.skin: simpler, for recolor_cabinet"),
    ],
)
def test_what_the_drawers_cannot_show_keeps_a_study_from_starting(changes, message):
    suite = {"kind": "drawer", **changes.pop("suite", {})}
    assert re.search(message, problems(parsed(suite=suite, **changes)))


def test_overrides_from_the_command_line():
    config = load_config(StudyConfig, CONFIGS / "demo.yaml", ["seeds=[0,1]", "editor.steps=3"])
    assert (config.seeds, config.editor.steps) == ([0, 1], 3)


def test_meaning_follows_what_changes_a_trial_and_nothing_else():
    plain = meaning(parsed(), {})
    assert (
        meaning(
            parsed(
                seeds=[0, 1],
                scenes={"pose": ["a0"]},
                report={"videos": 0},
                suite={"kind": "drawer", "asset_root": "x"},
            ),
            {},
        )
        == plain
    )
    more = meaning(parsed(policies={**BASE["policies"], "c": {"kind": "scripted"}}), {})
    assert plain.items() < more.items()
    assert meaning(parsed(max_steps=5), {})["max_steps"] != plain["max_steps"]
    noisier = meaning(parsed(policies={"a": {"kind": "scripted", "noise": 0.2}}), {})
    assert noisier["policies.a"] != plain["policies.a"]
    edited = meaning(parsed(domains=["raw", "edited"], styles=["gold"]), {"specialists.gold": "12ab"})
    assert plain.items() < edited.items()
    assert edited["specialists.gold"] == "12ab"


def test_meaning_follows_the_files_of_rt1(tmp_path):
    def found(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        policy = {"kind": "rt1", "checkpoint": str(tmp_path / "model"), "embeddings": str(tmp_path / "table")}
        return meaning(parsed(policies={"x": policy}), {})

    one = found(model="one", table="one")
    assert found(model="one", table="one") == one
    differ = [
        {key for key, value in found(**files).items() if one[key] != value}
        for files in ({"model": "two"}, {"model": "one", "table": "two"})
    ]
    assert differ == [{"checkpoints.x"}, {"embeddings.x"}]


def test_runs_stored_before_still_mean_the_same():
    with Store(LAB, write=False) as store:
        stored, config = store.read("meaning"), store.read("run")["config"]
        study = kept(store)[0]
    edits = {key: stored[key] for key in ("base", *(f"specialists.{style}" for style in study.styles))}
    # Those that ship now were trained anew since.
    weights = {key: value for key, value in stored.items() if key.startswith("checkpoints.")}
    assert len(weights) == 4
    assert meaning(study, edits) | weights == stored
    assert json.dumps(study.model_dump()["policies"]) == json.dumps(config["policies"])


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"suite": {"skin": "simpler"}}, True),
        ({"domains": ["vismatch"], "variants": {"vismatch": ["plain"]}}, True),
        ({"domains": ["edited"], "styles": ["gold"], "editor": {"over": "vismatch"}}, True),
        ({"domains": ["edited"], "styles": ["gold"], "editor": {"over": "raw"}}, False),
        ({"suite": {"simulator": "original"}}, False),
        ({"suite": {"simulator": "original", "asset_root": "there"}}, True),
    ],
)
def test_which_studies_need_assets(changes, needed):
    study = parsed(**{**changes, "suite": {"kind": "drawer", **changes.get("suite", {})}})
    assert study.suite._needs_assets(study.places()) == needed


def test_variants_are_all_or_those_chosen():
    varied = {"domains": ["raw", "varagg"]}
    assert len(parsed(**varied).variants["varagg"]) == 7
    assert parsed(**varied, variants={"varagg": ["darker"]}).variants["varagg"] == ["darker"]
    # The plain robot under a photograph needs no asset of the robot.
    assert "skin" not in problems(parsed(domains=["vismatch"], variants={"vismatch": ["plain"]}))
    original = parsed(domains=["varagg"], suite={"kind": "drawer", "simulator": "original"})
    assert "skin" not in problems(original)
    # Primitives stand in for rooms and cabinets.
    assert "skin" not in problems(parsed(domains=["raw", "varagg", "proxy_real"]))


def test_the_paper_protocol():
    config = resolved(load_config(StudyConfig, CONFIGS / "paper.yaml"))
    counts = Counter(trial.domain for trial in trials(config))
    assert counts == {domain: 4 * count for domain, count in DrawerSuite().published_trials().items()}
    assert (config.editor.over, config.real.source, config.suite.shader) == ("vismatch", "published", "rt")
