"""Names that become files."""

from __future__ import annotations

import pytest

from simedit.config import Config, parse_config
from simedit.errors import SimeditError
from simedit.names import Name, check_name


@pytest.mark.parametrize("name", ["gold", "white_marble", "pi0 v1", "RT-1 (15%)", "a$\\b$", "Gold-Ä", "a.b"])
def test_plain_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " gold",
        "gold ",
        "..",
        ".gold",
        "a/b",
        "/tmp/y",
        "../../x",
        "a\0b",
        "a\nb",
        "\ud800",
        "x" * 101,
        "ä" * 51,
    ],
)
def test_what_is_no_plain_component_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(SimeditError, match="the style"):
        check_name(name, "style")


def test_a_config_takes_names_only() -> None:
    class Some(Config):
        style: Name

    assert parse_config(Some, {"style": "gold"}, where="x").style == "gold"
    with pytest.raises(SimeditError, match="must not begin with a dot"):
        parse_config(Some, {"style": "../gold"}, where="x")
