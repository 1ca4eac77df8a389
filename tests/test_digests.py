"""Fingerprints of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from simedit.digests import digest
from simedit.errors import SimeditError


def test_a_digest_changes_with_names_and_contents_alone(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_text("one")
    first = digest(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "c")
    assert digest(tmp_path / "c") == first
    (tmp_path / "c" / "b" / "x").write_text("two")
    second = digest(tmp_path / "c")
    (tmp_path / "c" / "b" / "x").rename(tmp_path / "c" / "b" / "y")
    assert len({first, second, digest(tmp_path / "c")}) == 3


def test_a_file_and_a_choice_of_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one")
    (tmp_path / "y").write_text("two")
    assert digest(tmp_path / "x") != digest(tmp_path / "y")
    assert digest(tmp_path, [tmp_path / "x"]) != digest(tmp_path, [tmp_path / "y"])
    with pytest.raises(SimeditError, match="there is no"):
        digest(tmp_path / "z")
