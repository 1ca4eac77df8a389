from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from simedit.envs import earlier
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig
from simedit.eval.merge import merge
from simedit.eval.run_folder import kept
from simedit.eval.store import Store

LAB = Path(__file__).parents[1] / "benchmarks" / "lab"


@pytest.fixture
def folder(tmp_path) -> Path:
    shutil.copyfile(LAB / "results.sqlite", tmp_path / "results.sqlite")
    return tmp_path


def rows(folder: Path, query: str):
    with closing(sqlite3.connect(folder / "results.sqlite")) as db:
        return db.execute(query).fetchall()


def change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "results.sqlite")) as db:
        db.execute(statement)
        db.commit()


def test_nothing_of_an_earlier_run_is_lost_or_doubled(folder):
    before = rows(folder, "SELECT policy, task, drawer, pose, domain, outcome, steps, extension FROM results")
    with Store(folder, write=True) as store:
        results = store.results()
        run = store.read("run")
    assert Counter(
        (t.policy, t.task, *t.scene.split("/"), t.domain, r.outcome, r.steps, r.measures.get("extension"))
        for t, r in results.items()
    ) == Counter(before)
    assert all(r.progress is None or 0 <= r.progress <= 1 for r in results.values())
    assert all(r.progress == 1 for r in results.values() if r.outcome == "success" and r.trial.task == "open")
    assert StudyConfig.model_validate(run["config"]).suite.kind == "drawer"
    with Store(folder, write=True) as store:  # it is of today's layout by now
        assert store.results() == results


def test_to_read_it_changes_nothing(folder):
    before = (folder / "results.sqlite").read_bytes()
    with Store(folder, write=False) as store:
        seen = store.results()
    assert (folder / "results.sqlite").read_bytes() == before
    with Store(folder, write=True) as store:
        assert store.results() == seen


def test_one_that_was_cut_off_is_as_it_was_and_goes_through_the_next_time(folder, monkeypatch):
    def cut(value):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(earlier, "_meaning", cut)
        with pytest.raises(KeyboardInterrupt):
            Store(folder, write=True)
    assert rows(folder, "SELECT value FROM meta WHERE key = 'schema'") == [("2",)]
    count = rows(folder, "SELECT count(*) FROM results")[0][0]
    assert rows(folder, "SELECT count(drawer) FROM results") == [(count,)]
    with Store(folder, write=True) as store:
        assert len(store.results()) == count


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE meta SET value = '[1' WHERE key = 'run'",
        "UPDATE meta SET value = '[1]' WHERE key = 'run'",
        "UPDATE meta SET value = '{}' WHERE key = 'run'",
        "UPDATE meta SET value = 'null' WHERE key = 'meaning'",
        "UPDATE results SET extension = 'far'",
        "ALTER TABLE results RENAME COLUMN pose_x TO pose_w",
        "DROP TABLE results",
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_one_that_is_damaged_is_refused_and_left_as_it_is(folder, damage, write):
    change(folder, damage)
    before = rows(folder, "SELECT * FROM meta")
    with pytest.raises(SimeditError, match="is damaged, or not simedit's"):
        Store(folder, write=write)
    assert rows(folder, "SELECT * FROM meta") == before


@pytest.mark.parametrize("write", [True, False])
@pytest.mark.parametrize("layout", [1, 4, "x"])
def test_another_layout_is_refused(folder, layout, write):
    change(folder, f"UPDATE meta SET value = '{json.dumps(layout)}' WHERE key = 'schema'")
    with pytest.raises(SimeditError, match=f"has layout {layout}, not this simedit's 3"):
        Store(folder, write=write)


def test_one_can_be_merged_and_stays_as_it_was(folder, tmp_path):
    before = (folder / "results.sqlite").read_bytes()
    merge(tmp_path / "merged", [folder])
    with Store(folder, write=False) as store, Store(tmp_path / "merged", write=False) as merged:
        assert merged.results() == store.results()
        assert merged.meaning() == store.meaning()
        assert kept(merged) == kept(store)
    assert (folder / "results.sqlite").read_bytes() == before
