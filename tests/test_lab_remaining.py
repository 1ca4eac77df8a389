"""How long a build still takes, from the card of the one that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simedit.lab import remaining
from simedit.lab.build import Plan
from simedit.lab.remaining import Remaining

CHAINS = (("base", "quality"), ("demonstrations", "real"))
MINUTES = {"base": 40, "quality": 20, "demonstrations": 30, "real": 60}


@pytest.fixture(autouse=True)
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stages = {name: {"minutes": minutes} for name, minutes in MINUTES.items()}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({"plan": Plan().model_dump(mode="json"), "stages": stages}))
    monkeypatch.setattr(remaining, "lab_data", lambda name: tmp_path / name)
    return path


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [0.0]
    monkeypatch.setattr(remaining, "monotonic", lambda: clock[0])
    return clock


def test_the_longer_chain_counts(now: list[float]) -> None:
    left = Remaining(Plan(), CHAINS)
    assert left.in_words() == "about 1.5 h left in all"
    left.begun("base")
    left.begun("demonstrations")
    now[0] = 600
    assert left.in_words() == "about 80 min left in all"


def test_what_was_done_says_how_fast_the_rest_goes() -> None:
    left = Remaining(Plan(), CHAINS)
    left.ended("base", 20)  # twice as fast
    assert left.in_words() == "about 54 min left in all"
    left.ended("demonstrations", 15)
    left.ended("real", 30)
    assert left.in_words() == "about 11 min left in all"
    left.ended("quality", 1)
    assert left.in_words() == ""


def test_a_tiny_stage_says_little() -> None:
    left = Remaining(Plan(base_steps=30), (("base", "quality"),))
    left.ended("base", 4)  # ten times as long, most of it to start
    assert left.in_words() == "about 27 min left in all"


def test_a_smaller_plan_takes_less() -> None:
    assert Remaining(Plan(base_steps=300), (("base",),)).in_words() == "about 4 min left in all"
    assert Remaining(Plan(styles=("gold",)), (("quality",),)).in_words() == "about 3 min left in all"


def test_without_a_card_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from simedit.packaged import lab_data

    monkeypatch.setattr(remaining, "lab_data", lambda name: lab_data("none/none"))
    assert Remaining(Plan(), CHAINS).in_words() == ""
