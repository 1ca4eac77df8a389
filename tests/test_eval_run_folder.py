from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import small_drawer
from small_drawer import CONFIG, FACTS, REAL

from simedit.errors import SimeditError
from simedit.eval.cli import main
from simedit.eval.run_folder import compose_report, keep, keep_player, kept, save_report
from simedit.eval.store import Store
from simedit.eval.trials import Result, trials

FIRST = next(trials(CONFIG))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, write=True) as store:
        yield store


def test_what_is_kept_comes_back(store):
    with pytest.raises(SimeditError, match="no study has begun"):
        kept(store)
    keep(store, CONFIG, REAL, FACTS)
    assert kept(store) == (CONFIG, REAL, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        lambda run: [],
        lambda run: 3,
        lambda run: {},
        lambda run: {**run, "config": None},
        lambda run: {**run, "config": {**run["config"], "policies": 3}},
        lambda run: {**run, "config": {**run["config"], "later": 3}},
        lambda run: {**run, "config": {**run["config"], "styles": ["../gold"]}},
        lambda run: {**run, "real": []},
        lambda run: {**run, "real": {"policies": {"able": {"open": "often"}}}},
        lambda run: {**run, "facts": {"blind": 3}},
        lambda run: {**run, "facts": {"absent": ["x"]}},
        lambda run: {key: value for key, value in run.items() if key != "facts"},
        lambda run: {**run, "more": {}},
    ],
)
def test_what_is_damaged_is_an_error_that_names_the_store(store, change):
    keep(store, CONFIG, REAL, FACTS)
    store.write("run", change(store.read("run")))
    with pytest.raises(SimeditError, match=r"results\.sqlite"):
        kept(store)


def test_trials_played_with_other_versions_stay_and_the_report_says_so(store):
    keep(store, CONFIG, REAL, FACTS)
    old, new = {"simedit": "0.1", "torch": "2"}, {"simedit": "0.2", "torch": "2"}
    assert keep_player(store, old) == ""
    assert keep_player(store, new) == ""  # nothing was played with the old one
    store.put(Result(FIRST, "error", message="died"))
    assert keep_player(store, old) == ""  # nor does an error count
    store.put(Result(FIRST, "success"))
    assert compose_report(store)[0]["played_with"] == [old]
    assert keep_player(store, new) == "simedit 0.1 and 0.2"
    assert keep_player(store, new) == keep_player(store, old)
    summary, page = compose_report(store)
    assert summary["played_with"] == [old, new]
    assert summary["warnings"][-1] == "Not all trials were played with the same: simedit 0.1 and 0.2."
    assert "simedit 0.1 and 0.2" in page


def test_a_folder_from_before_versions_were_kept_goes_on(store):
    store.put(Result(FIRST, "success"))
    assert "kept no record of itself and 0.2" in keep_player(store, {"simedit": "0.2"})


@pytest.mark.parametrize("players", [3, [3], [{"simedit": 3}], {"simedit": "0.1"}])
def test_damaged_versions_are_an_error(store, players):
    keep(store, CONFIG, REAL, FACTS)
    store.write("played_with", players)
    with pytest.raises(SimeditError, match="is damaged, or of another version"):
        compose_report(store)


def test_reports_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    save_report(tmp_path, {"n": 1}, "page")
    assert json.loads((tmp_path / "report.json").read_text()) == {"n": 1}

    def full(self, text, **_):
        with open(self, "w") as file:
            file.write(text[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(SimeditError, match=r"cannot write .*report.json: No space left"):
        save_report(tmp_path, {"n": 2}, "other")
    assert json.loads((tmp_path / "report.json").read_text()) == {"n": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_finished_run_is_read_where_nothing_can_be_written(tmp_path, monkeypatch, capsys):
    small_drawer.run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and access(path, mode))
    for command in (["status"], ["status", "--json"], ["report", "--json"], ["report"]):
        assert main([command[0], str(tmp_path), *command[1:]]) == 0
        shown = capsys.readouterr()
        assert shown.out
        assert ("cannot be written" in shown.err) == (command[0] == "report")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
