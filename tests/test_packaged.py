from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.eval.config import RealConfig
from simedit.eval.published import load_real
from simedit.packaged import (
    CONFIGS,
    config_file,
    lab_data,
    library_folder,
    packaged_configs,
    policy_folder,
    specialist_folder,
)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A package folder of the lab to fill."""
    monkeypatch.setattr(resources, "files", {"simedit.lab": tmp_path}.__getitem__)
    return tmp_path / "data"


def test_what_ships_with_the_lab_goes_by_name(lab):
    (lab / "policies" / "best").mkdir(parents=True)
    (lab / "specialists" / "gold").mkdir(parents=True)
    (lab / "specialists" / "gold" / "card.json").touch()
    (lab / "real.yaml").write_text("source: the lab\npolicies: {best: {open: 0.9, close: 1}}\n")
    assert policy_folder("lab:best") == lab / "policies" / "best"
    assert specialist_folder("lab:gold") == lab / "specialists" / "gold"
    assert library_folder("lab") == lab / "specialists"
    (lab / "distilled" / "gold").mkdir(parents=True)
    (lab / "distilled" / "gold" / "card.json").touch()
    assert library_folder("lab-distilled") == lab / "distilled"
    assert specialist_folder("lab-distilled:gold") == lab / "distilled" / "gold"
    assert load_real(RealConfig(source="lab"), DrawerSuite(), ["best"], ["open"]).source == "the lab"
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
    for find in (policy_folder, library_folder):
        assert find("mine") == Path("mine")


def test_a_specialist_goes_by_its_path_or_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SimeditError, match=r"no specialist at teak or specialists/teak"):
        specialist_folder("teak")
    for folder in (Path("mine/oak"), Path("specialists/teak")):
        folder.mkdir(parents=True)
        (folder / "card.json").touch()
    assert specialist_folder("mine/oak") == Path("mine/oak")
    assert specialist_folder("teak") == Path("specialists/teak")
    with pytest.raises(SimeditError, match="'taek': did you mean 'teak'"):
        specialist_folder("taek")


def test_a_config_goes_by_its_name_or_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file("eval", "demo") == packaged_configs("eval")["demo"]
    assert config_file("eval", "demo").is_file()
    for path in ("demo.yaml", "mine/demo", "/nowhere/demo"):
        assert config_file("eval", path) == Path(path)
    Path("demo").write_text("policies: {}")  # a file of one's own comes first
    assert config_file("eval", "demo") == Path("demo")
    for kind, name, near in (("eval", "dmo", "demo"), ("train", "cany", "canny"), ("styles", "snad", "sand")):
        with pytest.raises(SimeditError, match=f"did you mean '{near}'.*goes by its path"):
            config_file(kind, name)


def test_no_two_configs_share_a_name_and_each_says_what_it_is():
    files = [file for kind in CONFIGS for file in packaged_configs(kind).values()]
    assert len({file.stem for file in files}) == len(files) >= 26
    for file in files:
        first = file.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# ")
        assert first.endswith(".")
