from __future__ import annotations

from pathlib import Path

import pytest

from simedit import jsonfile
from simedit.errors import SimeditError
from simedit.jsonfile import read_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is given twice"),
        ("[1, 2]", "must hold an object of settings, not list"),
        ("3", "not int"),
        ("", "is not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"a": "\\xff', "is not valid JSON"),
    ],
)
def test_what_is_no_object_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "card.json").write_text(text, encoding="latin-1")
    with pytest.raises(SimeditError, match=message) as caught:
        read_object(tmp_path / "card.json")
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_not_there_or_far_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimeditError, match="cannot read"):
        read_object(tmp_path / "card.json")
    (tmp_path / "card.json").write_text('{"a": 1}')
    assert read_object(tmp_path / "card.json") == {"a": 1}
    monkeypatch.setattr(jsonfile, "LARGEST", 4)
    with pytest.raises(SimeditError, match="is larger than"):
        read_object(tmp_path / "card.json")
