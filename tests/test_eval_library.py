from __future__ import annotations

import json
import shutil

import pytest
from small_recipes import make_recipe

from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.eval.library import base_of, find_specialists, is_untrained, models_of, problems_of
from simedit.tiny import make_tiny_library


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return make_tiny_library(tmp_path_factory.mktemp("library"), ["gold", "wood"])


def test_specialists_are_found_by_their_style(library):
    assert find_specialists(library, ["wood"]) == {"wood": library / "wood"}
    assert find_specialists(library / "gold", ["gold"]) == {"gold": library / "gold"}
    assert is_untrained(library / "gold")


def test_a_recipe_is_found_by_its_name_and_what_is_in_it_is_not(tmp_path):
    root = make_tiny_library(tmp_path, ["gold", "wood"])
    folder = make_recipe(root, "tabletop", {"specialist": "gold", "region": "a"}, {"specialist": "wood"})
    shutil.rmtree(root / "wood")
    assert find_specialists(root, ["tabletop", "gold"]) == {"tabletop": folder, "gold": root / "gold"}
    assert find_specialists(folder, ["tabletop"]) == {"tabletop": folder}
    with pytest.raises(SimeditError, match=r"unknown style 'wood'.*known: gold, tabletop"):
        find_specialists(root, ["wood"])
    assert base_of([folder, root / "gold"]) == str(root / "base")
    assert is_untrained(folder)
    assert problems_of(str(root), ["tabletop"]) == []
    (problem,) = problems_of(str(root), ["gold", "tabletop"], recipes=False)
    assert problem == "'tabletop' is a recipe, which only editor.kind: specialists takes"
    (folder / "recipe.json").write_text("{")
    with pytest.raises(SimeditError, match=r"recipe\.json is not valid JSON"):
        find_specialists(root, ["gold"])


def test_models_in_folders_that_look_for_nouns_are_part_of_a_recipe(tmp_path):
    root = make_tiny_library(tmp_path, ["gold"])
    (tmp_path / "sam").mkdir()
    finders = {"detector": "some/hub-id", "segmenter": str(tmp_path / "sam")}
    looks = make_recipe(root, "looks", {"specialist": "gold", "nouns": ["block"]}, regions=finders)
    told = make_recipe(root, "told", {"specialist": "gold", "region": "block"}, regions=finders)
    assert models_of(looks) == {"segmenter": tmp_path / "sam"}
    assert models_of(told) == models_of(root / "gold") == {}


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
    with pytest.raises(SimeditError, match=r"gold.*card\.json is not valid JSON"):
        find_specialists(tmp_path, ["gold"])


def test_two_specialists_of_one_style_are_refused_by_name(tmp_path):
    root = make_tiny_library(tmp_path, ["gold", "wood"])
    (root / "latest").symlink_to(root / "gold")
    shutil.copytree(root / "gold", root / ".backup")
    assert find_specialists(root, ["gold"])["gold"].resolve() == root / "gold"  # neither is another one
    shutil.copytree(root / "gold", root / "gold_old")
    with pytest.raises(SimeditError, match=r"several specialists of style 'gold' \(.*gold_old\): keep one"):
        find_specialists(root, ["gold"])
    assert find_specialists(root, ["wood"]) == {"wood": root / "wood"}


def test_the_base_is_the_one_that_all_name(library, tmp_path):
    assert base_of([library / "gold", library / "wood"]) == str(library / "base")
    for name, base in (("one", "some/hub-id"), ("two", "./base")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_text(json.dumps({"base": base}))
    assert base_of([tmp_path / "one"]) == "some/hub-id"
    with pytest.raises(SimeditError, match=r"name \['/.*/two/base', 'some/hub-id'\]: give editor.base"):
        base_of([tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize("card", ["[]", "3", "\udcff", "[" * 100_000])
def test_a_card_that_is_no_mapping_is_named(tmp_path, card):
    (tmp_path / "card.json").write_text(card, errors="surrogateescape")
    with pytest.raises(SimeditError, match=r"card\.json"):
        find_specialists(tmp_path, ["gold"])
