from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simedit.config import load_config, parse_config
from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.recipe import MOST_PASSES, Recipe, RecipeConfig, read_card, regions_of, specialists_of
from simedit.specialist import Specialist, specialists_in

PASSES = (
    {"region": "background", "prompt": "make it a table"},
    {"region": "block"},
    {"nouns": ["cupboard"]},
)


def config(root: Path, *styles: str, **changes: object) -> RecipeConfig:
    passes = [{"specialist": str(root / style), **one} for style, one in zip(styles, PASSES, strict=False)]
    return parse_config(RecipeConfig, {"name": "tabletop", "passes": passes, **changes}, where="config")


@pytest.fixture
def folder(tiny_root: Path, tmp_path: Path) -> Path:
    """A recipe's folder to break, beside a link to its base."""
    (tmp_path / "base").symlink_to(tiny_root / "base")
    Recipe.made(config(tiny_root, "gold", "wood")).save(tmp_path / "tabletop")
    return tmp_path / "tabletop"


def test_a_recipe_holds_copies_of_its_specialists(tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root, tmp_path / "there")
    made = Recipe.made(config(tmp_path / "there", "gold", "wood", "gold"))
    made.save(tmp_path / "there" / "recipes" / "tabletop")
    folder = tmp_path / "moved" / "recipes" / "tabletop"
    shutil.move(tmp_path / "there", tmp_path / "moved")
    assert sorted(path.name for path in folder.iterdir()) == ["1_gold", "2_wood", "recipe.json"]
    assert not [path for path in (tmp_path / "moved" / "recipes").iterdir() if path.name != "tabletop"]
    again = Recipe.load(folder)
    assert (again.name, again.regions) == ("tabletop", made.regions)
    for one, other, asked in zip(again.passes, made.passes, PASSES, strict=True):
        assert one.specialist.base == str(tmp_path / "moved" / "base")
        assert one.specialist.card.style == other.specialist.card.style
        assert (one.prompt, one.region) == (asked.get("prompt"), asked.get("region"))
        assert list(one.nouns) == asked.get("nouns", [])
    assert again.passes[0].specialist is again.passes[2].specialist
    assert regions_of(folder) == ("background", "block")
    assert [path.name for path in specialists_of(folder)] == ["1_gold", "2_wood", "1_gold"]


def test_of_a_specialist_the_region_is_the_callers_one_mask(tiny_root: Path) -> None:
    assert regions_of(tiny_root / "gold") == ("",)
    assert specialists_of(tiny_root / "gold") == [tiny_root / "gold"]


def test_a_copied_recipe_has_the_same_digest_and_another_pass_another(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    assert digest(tmp_path / "copy") == digest(folder)
    (tmp_path / "copy" / "2_wood" / "style_0.png").write_bytes(b"")
    assert digest(tmp_path / "copy") != digest(folder)


def test_saving_again_replaces_a_recipe_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    Recipe.load(folder).save(folder)
    assert len(Recipe.load(folder).passes) == 2
    Specialist.load(folder / "1_gold").save(tmp_path / "gold")
    with pytest.raises(SimeditError, match="gold exists and is not a recipe's folder"):
        Recipe.load(folder).save(tmp_path / "gold")
    with pytest.raises(SimeditError, match="tabletop exists and is not a specialist's folder"):
        Specialist.load(folder / "1_gold").save(folder)


def test_a_recipe_lies_in_a_library_beside_specialists(tiny_root: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root / "stone", tmp_path / "stone")
    assert specialists_in(tmp_path, recipes=True) == [tmp_path / "stone", folder]
    assert specialists_in(tmp_path) == [tmp_path / "stone"]
    assert SpecialistLibrary.load(tmp_path, device="cpu").styles == ("stone", "tabletop")
    assert SpecialistLibrary.load(folder, device="cpu").styles == ("tabletop",)


def test_a_recipe_is_no_specialist(folder: Path) -> None:
    for read in (Specialist.load, specialists_in):
        with pytest.raises(SimeditError, match="tabletop is a recipe, of several specialists"):
            read(folder)
    with pytest.raises(SimeditError, match="is a recipe, of several specialists"):
        Recipe.made(config(folder.parent, "tabletop"))


def test_a_recipe_has_one_base(tiny_root: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_root, tmp_path / "other")
    one = Recipe.made(config(tiny_root, "gold")).passes[0]
    two = Recipe.made(config(tmp_path / "other", "wood")).passes[0]
    with pytest.raises(SimeditError, match=r"'x' name \['.*/base', '.*/base'\]"):
        Recipe("x", (one, two))


def test_bounds_of_passes(tiny_root: Path) -> None:
    one = Recipe.made(config(tiny_root, "gold")).passes[0]
    for count in (0, MOST_PASSES + 1):
        with pytest.raises(SimeditError, match=f"has {count} passes, not 1 to {MOST_PASSES}"):
            Recipe("x", (one,) * count)


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ([], "passes"),
        ([{"specialist": "gold"}] * (MOST_PASSES + 1), "passes"),
        ([{"specialist": "gold", "promt": "x"}], r"passes.0: unknown key 'promt': did you mean 'prompt'"),
        ([{"specialist": "gold", "region": "a", "nouns": ["b"]}], "give one of them"),
        ([{"specialist": "gold", "region": "../a"}], "must not"),
        ([{"specialist": "gold", "prompt": " "}], "passes.0.prompt"),
        ([{"specialist": "gold", "nouns": [""]}], r"passes.0.nouns.0"),
        ([{"region": "block"}], "passes.0.specialist: this key is required"),
    ],
)
def test_a_config_that_cannot_be_is_refused(tmp_path: Path, passes: list, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"name": "x", "passes": passes}))
    with pytest.raises(SimeditError, match=message):
        load_config(RecipeConfig, path)


def _card(folder: Path, change: Callable[[dict], object]) -> None:
    card = json.loads((folder / "recipe.json").read_text())
    change(card)
    (folder / "recipe.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "recipe.json").unlink(), "is not a recipe's folder: it has no recipe.json"),
        (lambda f: (f / "recipe.json").write_text("{"), "is not valid JSON"),
        (lambda f: (f / "recipe.json").write_text('{"name": "a", "name": "b"}'), "stands in it twice"),
        (lambda f: _card(f, lambda c: c.update(schema_version=2)), "schema_version"),
        (lambda f: _card(f, lambda c: c.update(nam="x")), "unknown key 'nam': did you mean 'name'"),
        (lambda f: _card(f, lambda c: c["passes"][0].update(specialist="../gold")), "must not"),
        (lambda f: _card(f, lambda c: c["passes"][0].update(specialist="/tmp")), "must not hold a slash"),
        (lambda f: _card(f, lambda c: c["passes"][0].update(specialist="gone")), "but gone is missing"),
        (lambda f: (f / "1_gold" / "card.json").unlink(), "is not a specialist's folder"),
    ],
)
def test_a_broken_folder_is_one_clear_error(folder: Path, damage: Callable, message: str) -> None:
    damage(folder)
    with pytest.raises(SimeditError, match=message):
        Recipe.load(folder)


def test_a_linked_specialist_is_refused(folder: Path, tiny_root: Path) -> None:
    shutil.rmtree(folder / "1_gold")
    (folder / "1_gold").symlink_to(tiny_root / "gold")
    for read in (Recipe.load, specialists_of):
        with pytest.raises(SimeditError, match="holds its specialists itself, but 1_gold is a link"):
            read(folder)


def test_a_prompt_replaces_the_instruction(tiny_root: Path, folder: Path) -> None:
    first, second = Recipe.load(folder).passes
    assert first.prompted.card.instruction == "make it a table"
    assert second.prompted is second.specialist
    assert read_card(folder).passes[1].prompt is None
    frames = np.full((1, 32, 32, 3), 120, np.uint8)

    def edited(prompt: str | None) -> np.ndarray:
        recipe = config(tiny_root, "gold")
        one = recipe.passes[0].model_copy(update={"prompt": prompt, "region": None})
        library = SpecialistLibrary.load(tiny_root / "stone", device="cpu", steps=2)
        library.add(Recipe.made(recipe.model_copy(update={"passes": (one,)})))
        return library.edit(frames, styles=["tabletop"], seeds=[0])

    own = edited(None)
    assert np.array_equal(own, edited(Specialist.load(tiny_root / "gold").card.instruction))
    assert not np.array_equal(own, edited("a wall of bricks"))
