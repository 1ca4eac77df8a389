from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from simedit.errors import SimeditError
from simedit.eval.config import RealConfig
from simedit.eval.published import load_real
from simedit.packaged import lab_data, library_folder, policy_folder, specialist_folder


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A package folder of the lab to fill."""
    monkeypatch.setattr(resources, "files", {"simedit.lab": tmp_path}.__getitem__)
    return tmp_path / "data"


def test_what_ships_with_the_lab_goes_by_name(lab):
    (lab / "policies" / "best").mkdir(parents=True)
    (lab / "specialists" / "gold").mkdir(parents=True)
    (lab / "real.yaml").write_text("source: the lab\npolicies: {best: {open: 0.9, close: 1}}\n")
    assert policy_folder("lab:best") == lab / "policies" / "best"
    assert specialist_folder("lab:gold") == lab / "specialists" / "gold"
    assert library_folder("lab") == lab / "specialists"
    assert load_real(RealConfig(source="lab"), ["best"], ["open"]).source == "the lab"
    with pytest.raises(SimeditError, match="'bst': did you mean 'best'"):
        policy_folder("lab:bst")
    with pytest.raises(SimeditError, match="'glod': did you mean 'gold'"):
        specialist_folder("lab:glod")
    with pytest.raises(SimeditError, match="must not hold a slash"):
        policy_folder("lab:best/../../specialists")


def test_a_package_without_the_lab_says_how_to_make_it(lab):
    for find in (
        lambda: policy_folder("lab:best"),
        lambda: library_folder("lab"),
        lambda: lab_data("real.yaml"),
    ):
        with pytest.raises(SimeditError, match=r"not in this package .*: run simedit-lab build"):
            find()


def test_other_folders_are_taken_as_they_are():
    for find in (policy_folder, specialist_folder, library_folder):
        assert find("mine") == Path("mine")
