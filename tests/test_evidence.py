"""benchmarks/evidence.py: its parts, what it plays and refuses, its tables; what evidence_power.py claims."""

from __future__ import annotations

import importlib
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_arms import SKILL, play

from simedit.config import load_config
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.fingerprints import current_meaning
from simedit.eval.published import load_real
from simedit.eval.store import Store
from simedit.eval.trials import trials

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
EVIDENCE: Any = importlib.import_module("evidence")
POWER: Any = importlib.import_module("evidence_power")
CELL = 3 * 54
"""Trials of three policies in one domain, style and seed."""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The study with three policies, rates of their own, and in place of `simedit-eval run` one whose trials
    end as `small_arms` says; it is interrupted once it has `played` so many rounds."""
    if find_spec("mani_skill") is None:  # what keeps a study from being played is looked for
        pytest.skip("needs the extra: sim")
    for name, draws in (("DRAWS", 300), ("WORTH_DRAWS", 20), ("EVALUATIONS", 100)):
        monkeypatch.setattr(f"simedit.eval.evidence.{name}", draws)
    rates = tmp_path / "real.csv"
    rates.write_text("policy,open,close\n" + "".join(f"{name},{k}/27,{k}/27\n" for name, k in SKILL.items()))
    content = yaml.safe_load(EVIDENCE.CONFIG.read_text())
    content |= {"policies": {name: {"kind": "scripted"} for name in SKILL}, "real": {"source": str(rates)}}
    monkeypatch.setattr(EVIDENCE, "CONFIG", tmp_path / "evidence.yaml")
    EVIDENCE.CONFIG.write_text(yaml.safe_dump(content))

    class Small:
        played: list[tuple[str, int]] = []
        most = 99

        def run(self, given: list[str]) -> int:
            asked = dict(zip(given[1:7:2], given[2:8:2], strict=True))
            config = resolved(load_config(StudyConfig, asked["--config"], given[8:]))
            if len(self.played) == self.most:
                return 130
            folder, wanted = Path(asked["--out"]), set(trials(config))
            before = len(EVIDENCE.stored(folder))
            play(folder, config=config, real=load_real(config.real, config.suite, list(SKILL), config.tasks))
            specialists = config.editor.folders(config.styles, tmp_path)
            with Store(folder, write=True) as store:
                store.agree(current_meaning(config, specialists))
            self.played = [*self.played, (folder.name, len(wanted) - before)]
            return 0

        def set(self, **changes: Any) -> None:
            EVIDENCE.CONFIG.write_text(yaml.safe_dump(content | changes))

    found = Small()
    monkeypatch.setattr(EVIDENCE, "simedit_eval", found.run)
    return found


def test_the_parts_are_as_docs_evidence_says():
    studies = {name: EVIDENCE.study(name) for name in EVIDENCE.PARTS}
    counts = {name: len(list(trials(study))) for name, study in studies.items()}
    assert counts == {"main": 5346, "lit": 1188, "raw": 1188, "flat": 594}
    assert len(studies["main"].policies) == 11
    for place in EVIDENCE.ARMS.values():
        name, domain = place.split(":")
        assert domain in studies[name].domains
    assert {name for pair in EVIDENCE.CONTRASTS for name in pair} == set(EVIDENCE.ARMS)
    kinds = {name: (study.editor.kind, study.editor.over) for name, study in studies.items()}
    assert kinds["main"] == ("specialists", "vismatch")
    assert kinds["raw"] == ("specialists", "raw")
    assert kinds["lit"] == kinds["flat"] == ("photograph", "vismatch")
    assert (studies["lit"].editor.light, studies["flat"].editor.light) == (True, False)
    assert EVIDENCE.CONTRASTS[0] == ("edited", "photographs")


def test_the_main_comparison_is_played_first_seed_by_seed_and_nothing_twice(small, tmp_path):
    EVIDENCE.play(tmp_path / "out", "2")
    rounds = [("main", 3 * CELL)] * 3 + [("lit", 2 * CELL), ("raw", 2 * CELL), ("flat", CELL)]
    assert small.played == rounds
    EVIDENCE.play(tmp_path / "out", "2")
    assert small.played == rounds


def test_what_is_played_in_part_goes_on_from_its_results_alone(small, tmp_path, capsys):
    small.most = 1
    with pytest.raises(SystemExit) as stopped:
        EVIDENCE.play(tmp_path / "out", "1")
    assert stopped.value.code == 130
    copied = tmp_path / "copied" / "main"
    copied.mkdir(parents=True)
    shutil.copy(tmp_path / "out" / "main" / "results.sqlite", copied)
    EVIDENCE.table(tmp_path / "copied", tmp_path)
    shown = capsys.readouterr().out
    assert "not played, or not with any seed to its end: lit, flat, raw, edited_raw" in shown
    assert f"photographs is not finished: {CELL} of {3 * CELL} trials are." in shown
    assert "The test: not due, for these arms are not played to their end: edited, photographs." in shown
    small.most = 99
    EVIDENCE.play(copied.parent, "1")
    assert [part for part, _ in small.played] == ["main", "main", "main", "lit", "raw", "flat"]
    assert {count for part, count in small.played if part == "main"} == {3 * CELL}
    assert not list(copied.parent.rglob("*.mp4"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_steps": 50}, r"main holds results of other settings \(max_steps: 60 there, 50 now\)"),
        ({"seeds": [20, 21, 22]}, "main holds 486 trials that evidence.yaml does not ask for, such as able"),
        ({"styles": ["gold"]}, "main holds 324 trials that evidence.yaml does not ask for"),
    ],
)
def test_another_study_is_refused_before_anything_is_played(small, tmp_path, changes, said):
    small.most = 1
    with pytest.raises(SystemExit):
        EVIDENCE.play(tmp_path / "out", "1")
    small.set(**changes)
    small.most = 99
    for dry_run in (True, False):
        with pytest.raises(SimeditError, match=said) as refused:
            EVIDENCE.play(tmp_path / "out", "1", dry_run=dry_run)
        assert "\n" not in str(refused.value)
    assert len(small.played) == 1


def test_other_real_rates_and_absent_files_are_refused(small, tmp_path):
    EVIDENCE.play(tmp_path / "out", "1")
    rates = tmp_path / "real.csv"
    rates.write_text(rates.read_text().replace("fair,17/27", "fair,18/27"))
    with pytest.raises(SimeditError, match="main was begun with other real rates of fair"):
        EVIDENCE.play(tmp_path / "out", "1")
    small.set(styles=["glod"])
    with pytest.raises(SimeditError, match=r"cannot play .*main: .*'glod': did you mean 'gold'"):
        EVIDENCE.play(tmp_path / "new", "1")


def test_the_table_is_of_seeds_that_were_played_to_their_end(small, tmp_path, capsys):
    EVIDENCE.play(tmp_path / "out", "1")
    EVIDENCE.table(tmp_path / "out", tmp_path)
    shown = capsys.readouterr().out
    assert "not played" not in shown
    assert "The test: edited is not shown to predict better than photographs." in shown
    assert (tmp_path / "evidence.png").stat().st_size > 10_000
    assert (tmp_path / "evidence.json").is_file()

    def but_one(trial):
        return None if (trial.seed, trial.policy, trial.style) == (12, "poor", "wood") else "success"

    for part in ("main", "lit"):
        shutil.rmtree(tmp_path / "out" / part)
    real = load_real(
        EVIDENCE.study("main").real, EVIDENCE.study("main").suite, list(SKILL), ["open", "close"]
    )
    play(tmp_path / "out" / "main", but_one, config=EVIDENCE.study("main"), real=real)
    EVIDENCE.table(tmp_path / "out", tmp_path)
    shown = capsys.readouterr().out
    assert "with any seed to its end: lit" in shown
    assert f"edited is not finished: {4 * CELL} of {6 * CELL} trials are." in shown
    assert "not due, for these arms are not played to their end: edited." in shown
    with pytest.raises(SimeditError, match="has no arm of the study yet"):
        EVIDENCE.table(tmp_path / "empty", tmp_path)


def test_intervals_hold_the_truth_and_tests_claim_no_more_than_they_may():
    nothing = POWER.rates_of_claims(8, 54, (0.7, 0.7), 200, draws=400)
    much = POWER.rates_of_claims(12, 216, (0.3, 1.2), 60, draws=400)
    for metric in ("mmrv", "pearson_r"):
        assert nothing[metric]["true"] == pytest.approx(0, abs=0.01)
        assert nothing[metric]["held"] >= 0.93
        assert nothing[metric]["claimed"] <= 0.06
        assert much[metric]["true"] > 0.05
        assert much[metric]["held"] >= 0.85
        assert much[metric]["claimed"] >= 0.5
