from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from simedit.config import load_config, parse_config
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, meaning
from simedit.eval.published import protocol_counts
from simedit.eval.store import Store
from simedit.eval.trials import trials

ROOT = Path(__file__).resolve().parents[1]
CONFIGS, LAB = ROOT / "configs" / "eval", ROOT / "benchmarks" / "lab"
BASE = {"policies": {"a": {"kind": "scripted"}, "b": {"kind": "scripted", "noise": 0.1}}, "domains": ["raw"]}


def parsed(**changes):
    return parse_config(StudyConfig, {**BASE, **changes}, where="test")


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
        ({"domains": ["proxy_real"], "env": {"skin": "simpler"}}, "proxy_real needs .* env.skin: primitive"),
        ({"domains": ["proxy_real"], "env": {"simulator": "original"}}, "needs env.simulator: twin"),
        ({"env": {"photographs": "proxy_real", "skin": "simpler"}}, "photographs: proxy_real needs env.sim"),
        ({"policies": {"a": {"kind": "cloned"}}}, "checkpoint"),
        ({"domains": ["vismatch"]}, "vismatch needs env.skin: simpler, for recolor_cabinet"),
        ({"variants": {"varagg": ["darkr"]}}, "unknown variant of varagg 'darkr': did you mean 'darker'"),
        ({"variants": {"varagg": ["base", "base"]}}, "twice"),
        ({"variants": {"varagg": []}}, "varagg needs one variant or more"),
        ({"editor": {"seeds": [1, 1]}}, "twice"),
        ({"env": {"denoiser": "magic"}}, "optix"),
        ({"domains": ["edited"]}, "needs styles"),
        ({"poses": ["a9"]}, "unknown pose 'a9'"),
        ({"seeds": [1, 1]}, "twice"),
        ({"tasks": []}, "at least 1"),
        ({"seeds": [2**63]}, "seeds.0"),
        ({"editor": {"seeds": [-(2**63) - 1]}}, "editor.seeds.0"),
        ({"styles": ["gold/../../x"]}, "must not hold a slash"),
        ({"styles": ["../x"]}, "must not begin with a dot"),
        ({"styles": ["g" * 101]}, "at most 100 bytes"),
        ({"policies": {"a/b": {"kind": "scripted"}}}, "must not hold a slash"),
        ({"policies": {".a": {"kind": "scripted"}}}, "must not begin with a dot"),
        ({"deadlines": {"call": 0}}, "deadlines.call"),
        ({"deadlines": {"start": float("inf")}}, "deadlines.start"),
        ({"real": {"names": {"c": "RT-1-X"}}}, "unknown policy 'c'"),
        ({"env": {"skin": "gold"}}, "primitive"),
    ],
)
def test_mistakes_are_refused(changes, message):
    with pytest.raises(SimeditError, match=message):
        parsed(**changes)


def test_overrides_from_the_command_line():
    config = load_config(StudyConfig, CONFIGS / "demo.yaml", ["seeds=[0,1]", "editor.steps=3"])
    assert (config.seeds, config.editor.steps) == ([0, 1], 3)


def test_meaning_follows_what_changes_a_trial_and_nothing_else():
    plain = meaning(parsed(), {})
    assert (
        meaning(parsed(seeds=[0, 1], poses=["a0"], report={"videos": 0}, env={"asset_root": "x"}), {})
        == plain
    )
    more = meaning(parsed(policies={**BASE["policies"], "c": {"kind": "scripted"}}), {})
    assert plain.items() < more.items()
    assert meaning(parsed(max_steps=5), {})["max_steps"] != plain["max_steps"]
    noisier = meaning(parsed(policies={"a": {"kind": "scripted", "noise": 0.2}}), {})
    assert noisier["policies.a"] != plain["policies.a"]
    edited = meaning(parsed(domains=["raw", "edited"], styles=["gold"]), {"gold": "12ab"})
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
    study = parse_config(StudyConfig, config, where="test")
    styles = {style: stored[f"specialists.{style}"] for style in study.styles}
    del stored["base"]  # which `simedit.eval.fingerprints` adds
    assert meaning(study, styles) == stored
    assert json.dumps(study.model_dump()["policies"]) == json.dumps(config["policies"])


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, False),
        ({"env": {"skin": "simpler"}}, True),
        ({"domains": ["vismatch"], "variants": {"vismatch": ["plain"]}}, True),
        ({"domains": ["edited"], "styles": ["gold"], "editor": {"over": "vismatch"}}, True),
        ({"domains": ["edited"], "styles": ["gold"], "editor": {"over": "raw"}}, False),
        ({"env": {"simulator": "original"}}, False),
        ({"env": {"simulator": "original", "asset_root": "there"}}, True),
    ],
)
def test_which_studies_need_assets(changes, needed):
    assert parsed(**changes).needs_assets == needed


def test_variants_are_all_or_those_chosen():
    assert len(parsed().variants_of("varagg")) == 7
    assert parsed(variants={"varagg": ["darker"]}).variants_of("varagg") == ["darker"]
    # The plain robot under a photograph needs no asset of the robot.
    parsed(domains=["vismatch"], variants={"vismatch": ["plain"]})
    parsed(domains=["varagg"], env={"simulator": "original"})
    # Primitives stand in for rooms and cabinets.
    parsed(domains=["raw", "varagg", "proxy_real"])


def test_the_paper_protocol():
    config = load_config(StudyConfig, CONFIGS / "paper.yaml")
    counts = Counter(trial.domain for trial in trials(config))
    assert counts == {domain: 4 * count for domain, count in protocol_counts().items()}
    assert (config.editor.over, config.real.source, config.env.shader) == ("vismatch", "published", "rt")
