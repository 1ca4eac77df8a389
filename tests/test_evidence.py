"""benchmarks/evidence.py: its parts, its tables, and whether its intervals and tests do what they say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from small_arms import SKILL, play, usual
from small_drawer import REAL

from simedit.config import load_config
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.trials import trials

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
EVIDENCE: Any = importlib.import_module("evidence")
THREE = "policies={" + ", ".join(f"{name}: {{kind: scripted}}" for name in SKILL) + "}"


def part(name, *settings):
    return resolved(load_config(StudyConfig, EVIDENCE.CONFIG, (*EVIDENCE.PARTS[name], *settings)))


def test_the_parts_are_as_docs_evidence_says():
    studies = {name: part(name) for name in EVIDENCE.PARTS}
    cells = {name: len(list(trials(study))) / len(study.policies) / 54 for name, study in studies.items()}
    assert cells == {"main": 12, "lit": 3, "raw": 3, "flat": 3}
    assert {place.split(":")[0] for place in EVIDENCE.ARMS.values()} == set(studies)
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


def test_the_table_is_of_what_is_there(tmp_path, capsys, monkeypatch):
    for name, draws in (("DRAWS", 300), ("WORTH_DRAWS", 20), ("EVALUATIONS", 100)):
        monkeypatch.setattr(f"simedit.eval.evidence.{name}", draws)
    for name in ("main", "raw"):
        play(tmp_path / name, usual, config=part(name, THREE), real=REAL)
    (tmp_path / "out").mkdir()
    EVIDENCE.table(tmp_path, tmp_path / "out")
    shown = capsys.readouterr().out
    assert "not played: flat, lit" in shown
    assert "The test: edited is not shown to predict better than photographs." in shown
    assert (tmp_path / "out" / "evidence.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "evidence.json").is_file()
    with pytest.raises(SimeditError, match="holds no part of the study"):
        EVIDENCE.table(tmp_path / "out", tmp_path)


def test_intervals_hold_the_truth_and_tests_claim_no_more_than_they_may():
    nothing = EVIDENCE.rates_of_claims(8, 54, (0.7, 0.7), 200, draws=400)
    much = EVIDENCE.rates_of_claims(12, 216, (0.3, 1.2), 60, draws=400)
    for metric in ("mmrv", "pearson_r"):
        assert nothing[metric]["true"] == pytest.approx(0, abs=0.01)
        assert nothing[metric]["held"] >= 0.93
        assert nothing[metric]["claimed"] <= 0.06
        assert much[metric]["true"] > 0.05
        assert much[metric]["held"] >= 0.85
        assert much[metric]["claimed"] >= 0.5
