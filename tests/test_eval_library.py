from __future__ import annotations

import json

import pytest

from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.eval.library import find_specialists, is_untrained
from simedit.tiny import make_tiny_library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_tiny_library(tmp_path_factory.mktemp("library"), ["gold", "wood"])


def test_specialists_are_found_by_their_style(library):
    assert find_specialists(library, ["wood"]) == {"wood": library / "wood"}
    assert find_specialists(library / "gold", ["gold"]) == {"gold": library / "gold"}
    assert is_untrained(library / "gold")


def test_unknown_styles_are_all_named(library):
    with pytest.raises(SimeditError, match=r"'gld': did you mean 'gold'.*unknown style 'steel'"):
        find_specialists(library, ["gld", "wood", "steel"])


def test_an_empty_library_is_named(tmp_path):
    with pytest.raises(SimeditError, match=r"no specialists in .*wanted: gold"):
        find_specialists(tmp_path, ["gold"])


def test_a_digest_follows_the_files_alone(library, tmp_path):
    again = make_tiny_library(tmp_path, ["gold", "wood"])
    assert digest(again / "gold") == digest(library / "gold") != digest(library / "wood")
    card = json.loads((again / "gold" / "card.json").read_text())
    (again / "gold" / "card.json").write_text(json.dumps({**card, "steps": card["steps"] + 1}))
    assert digest(again / "gold") != digest(library / "gold")


def test_a_broken_card_is_named(tmp_path):
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold" / "card.json").write_text("{")
    with pytest.raises(SimeditError, match=r"cannot read the specialist's card in .*gold"):
        find_specialists(tmp_path, ["gold"])
