from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from simedit.config import Config, check_set_once, load_config, load_json, parse_config, with_override
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
    name: str = ""
    weight: float = 1


class Walled(Config):
    width: int
    height: int

    @model_validator(mode="after")
    def _stands(self) -> Walled:
        raise ValueError("wider than high")


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
        ("favourite.lives=[1", r"'favourite.lives=\[1': '\[1' is not valid YAML"),
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


BOMB = "a: &a0 [lol,lol]\n" + "".join(f"b{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB + "seeds: *a8", "aliases repeat more than any config needs", id="bomb"),
        pytest.param(f"x: &x {'y' * 9999}\nseeds: [{'*x,' * 100}]", "aliases repeat more", id="long"),
        pytest.param("seeds: &a [*a]", "nested more than 30 deep", id="in itself"),
        pytest.param("<<: &a {<<: *a}", "nested more than 30 deep", id="merged with itself"),
        pytest.param("a: " + "[" * 900, "nested too deep", id="deep"),
        pytest.param("a: " + "[" * 40 + "]" * 40, "nested more than 30 deep", id="less deep"),
        pytest.param("seeds: [0x_]", "not valid YAML", id="int"),
        pytest.param("seeds: " + "9" * 4400, "not valid YAML", id="digits"),
        pytest.param("seeds: 0x" + "f" * 4400, "seeds: ", id="hexadecimal digits"),
        pytest.param("? 0x" + "f" * 4400 + "\n: 1", "home.yaml", id="hexadecimal key"),
        pytest.param("seeds: !!float x", "not valid YAML", id="float"),
        pytest.param("seeds: !!bool x", "not valid YAML", id="bool"),
        pytest.param("seeds: !!timestamp x", "not valid YAML", id="timestamp"),
        pytest.param("seeds: 2026-13-45", "not valid YAML", id="date"),
        pytest.param("seeds: !!python/object/apply:os.getcwd []", "not valid YAML", id="tag"),
        pytest.param("? [1]\n: 2", "not valid YAML", id="key of a kind"),
        pytest.param("1: 2", "Keys should be strings", id="number as key"),
        pytest.param("\tseeds: [1]", "line 1: ", id="tab"),
        pytest.param("seeds: [1]\n---\nseeds: [2]", "line 2: but found another document", id="documents"),
        pytest.param("", "is empty", id="empty"),
        pytest.param("# all\n", "is empty", id="comment"),
        pytest.param("seeds: [1]\0", "not valid YAML", id="nul"),
        pytest.param('name: "\\ud800"', "surrogates", id="half a character"),
        pytest.param("seeds: [1]\nname: a\nseeds: [2]", "line 3: the key 'seeds' is in line 1", id="twice"),
        pytest.param("by_name:\n  tom: {}\n  tom: {}", "line 3: the key 'tom' is in line 2", id="within"),
        pytest.param("by_name: {1: {kind: cat}, 0x1: {kind: cat}}", "the key 1 ", id="equal"),
        pytest.param("weight: .nan", "weight: Input should be a finite number", id="nan"),
        pytest.param("weight: -.inf", "weight: Input should be a finite number", id="infinite"),
        pytest.param("weight: true", "weight: must be a number, not true", id="true"),
        pytest.param("favourite: {kind: cat, lives: yes}", "favourite: lives: must be a number", id="yes"),
        pytest.param("seeds: [0, no]", "seeds: 1: must be a number, not false", id="no"),
        pytest.param("name: [" + "a," * 9999 + "]", "name: Input should be a valid string", id="long list"),
        pytest.param("seeds: [" + "a," * 9999 + "]", "and 9995 more", id="mistakes"),
        pytest.param("k" * 999 + ": 1", "unknown key 'kkkk", id="long key"),
        pytest.param("pets: [{kind: " + "k" * 9999 + "}]", "pets.0", id="long tag"),
        pytest.param("a: " + "b" * (1 << 17), "needs more than 128 KiB", id="large"),
    ],
)
def test_hostile_text_is_one_short_sentence(tmp_path, text, message):
    with pytest.raises(SimeditError) as error:
        load_config(Home, write(tmp_path, text))
    assert message in str(error.value)
    assert "home.yaml" in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("content", [b"seeds: [\xff]", "seeds: [1]".encode("utf-16")])
def test_other_encodings_are_refused(tmp_path, content):
    (tmp_path / "home.yaml").write_bytes(content)
    with pytest.raises(SimeditError, match=r"cannot read .*home\.yaml.*utf-8"):
        load_config(Home, tmp_path / "home.yaml")


def test_what_editors_add_is_read(tmp_path):
    (tmp_path / "home.yaml").write_bytes(b"\xef\xbb\xbfseeds: [1]\r\nby_name:\r\n  &t tom: {kind: cat}\r\n")
    assert load_config(Home, tmp_path / "home.yaml").seeds == [1]


def test_aliases_and_merges_are_read(tmp_path):
    text = "by_name: {tom: &tom {kind: cat, lives: 3}, tim: {<<: *tom, lives: 2}}\nfavourite: *tom"
    home = load_config(Home, write(tmp_path, text))
    assert home.by_name["tim"].lives == 2
    assert home.favourite == home.by_name["tom"] == Cat(kind="cat", lives=3)


@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "."])
def test_impossible_paths(path):
    with pytest.raises(SimeditError, match="cannot read"):
        load_config(Home, path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds.x=1", "seeds is [0], which holds no settings"),
        ("favourite.lives.x=1", "favourite.lives is 2, which holds no settings"),
        ("favourite..lives=1", "must read KEY=VALUE"),
        (".seeds=1", "must read KEY=VALUE"),
        ("seeds.=1", "must read KEY=VALUE"),
        ("=1", "must read KEY=VALUE"),
        ("a." * 5000 + "b=1", "no setting lies that deep"),
        ("favourite={kind: cat, kind: cat}", "the key 'kind' is in line 1 already"),
        ("favourite.lives=0x_", "'0x_' is not valid YAML"),
        ("favourite.lives=" + "[" * 5000, "nested too deep"),
    ],
)
def test_hostile_overrides(override, message):
    with pytest.raises(SimeditError) as error:
        with_override({"seeds": [0], "favourite": {"lives": 2}}, override)
    assert message in str(error.value)
    assert len(str(error.value)) < 1000


def test_an_override_of_nothing_and_of_what_is_null():
    data = {"favourite": None}
    assert with_override(data, "favourite.lives=7") == {"favourite": {"lives": 7}}
    assert with_override(data, "by_name.tom.lives=7")["by_name"] == {"tom": {"lives": 7}}
    assert data == {"favourite": None}


def test_a_section_that_is_wrong_is_not_printed():
    with pytest.raises(SimeditError) as error:
        parse_config(Walled, {"width": 1, "height": 2}, where="house")
    assert str(error.value) == "house: wider than high"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' stands in it twice"),
        ('{"a": [{"b": 1, "b": 2}]}', "the key 'b' stands in it twice"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": "\\ud800"}', "surrogates not allowed"),
        ('{"a": ' + "9" * 4400 + "}", "not valid JSON"),
        ('{"a": ' + "[" * 100_000, "not valid JSON"),
        ("[1]", "must hold a JSON object, not a list"),
        (" " * (1 << 24) + "1", "needs more than 16384 KiB"),
        ("null", "must hold a JSON object"),
        ("", "not valid JSON"),
    ],
)
def test_json_is_read_strictly(tmp_path, text, message):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(SimeditError) as error:
        load_json(tmp_path / "card.json")
    assert message in str(error.value)
    assert "card.json" in str(error.value)


def test_json_is_read(tmp_path):
    (tmp_path / "card.json").write_bytes(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\\ud83d\\ude00"]}')
    assert load_json(tmp_path / "card.json") == {"a": [1, 2.5, None, "\N{GRINNING FACE}"]}
