from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from simedit.config import Config, check_set_once, load_config, parse_config
from simedit.errors import SimeditError


class Cat(Config):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Config):
    kind: Literal["dog"]
    tricks: list[str] = []


class Home(Config):
    seeds: list[int] = [0]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    favourite: Cat | None = None
    by_name: dict[str, Cat] = {}


def write(tmp_path, text: str):
    path = tmp_path / "home.yaml"
    path.write_text(text)
    return path


def test_settings_are_given_once() -> None:
    check_set_once(["run", "--set", "a=1", "b=2"])
    with pytest.raises(SimeditError, match="give --set once"):
        check_set_once(["run", "--set", "a=1", "--set", "b=2"])


def test_reads_and_freezes(tmp_path):
    home = load_config(Home, write(tmp_path, "seeds: [1, 2]\npets: [{kind: dog, tricks: [sit]}]"))
    assert home.pets == [Dog(kind="dog", tricks=["sit"])]
    with pytest.raises(ValueError, match="frozen"):
        home.seeds = [3]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [1]", "unknown key 'seed': did you mean 'seeds'?"),
        ("pets: [{kind: cat, live: 3}]", "pets.0.cat: unknown key 'live': did you mean 'lives'?"),
        ("favourite: {kind: cat, lifes: 3}", "did you mean 'lives'?"),
        ("by_name: {tom: {kind: cat, livs: 3}}", "by_name.tom: unknown key 'livs': did you mean 'lives'?"),
        ("pets: [{kind: cow}]", "pets.0"),
        ("pets: [{lives: 9}]", "pets.0"),
        ("favourite: {}", "favourite.kind: this key is required"),
        ("seeds: many", "seeds: Input should be a valid list"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, message):
    with pytest.raises(SimeditError) as error:
        load_config(Home, write(tmp_path, text))
    assert message in str(error.value)
    assert "home.yaml" in str(error.value)


def test_overrides_reach_into_mappings(tmp_path):
    path = write(tmp_path, "seeds: [1]\nfavourite: {kind: cat, lives: 1}")
    home = load_config(Home, path, ["seeds=[4, 5]", "favourite.lives=7"])
    assert (home.seeds, home.favourite) == ([4, 5], Cat(kind="cat", lives=7))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds", "KEY=VALUE"),
        ("favourite.lives=[1", r"'lives=\[1': '\[1' is not valid YAML"),
        ("sedes=[1]", "did you mean 'seeds'"),
        ("favourite.lifes=1", "did you mean 'lives'"),
    ],
)
def test_a_bad_override_is_named(tmp_path, override, message):
    path = write(tmp_path, "favourite: {kind: cat}")
    with pytest.raises(SimeditError, match=message):
        load_config(Home, path, [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SimeditError, match=r"cannot read config .*nowhere\.yaml"):
        load_config(Home, tmp_path / "nowhere.yaml")


def test_parse_config_names_where():
    with pytest.raises(SimeditError, match="card of gold: unknown key"):
        parse_config(Home, {"x": 1}, where="card of gold")
