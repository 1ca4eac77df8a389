from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest

from simedit.errors import SimeditError
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial

TRIAL = Trial("p", "open", "top", "a0", "edited", "", "gold", 3)
RESULT = Result(TRIAL, "success", 7, 0.2, (0.644, -0.179, -0.03), "ab12", "")


def test_results_come_back_as_they_went_in(tmp_path):
    error = Result(replace(TRIAL, domain="vismatch", variant="plain"), "error", message="died")
    with Store(tmp_path / "run", write=True) as store:
        store.put(RESULT)
        store.put(error)
        other = replace(error, trial=replace(error.trial, variant="recolor_tabletop_visual_matching_1"))
        store.put(other)
    with Store(tmp_path / "run", write=False) as store:
        assert store.results() == {TRIAL: RESULT, error.trial: error, other.trial: other}


def test_a_later_result_replaces_an_earlier_one(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.put(Result(TRIAL, "error", message="died"))
        store.put(RESULT)
        assert store.results() == {TRIAL: RESULT}


def test_a_changed_meaning_is_refused_and_an_added_one_kept(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.agree({"max_steps": 60, "policies.a": "x"})
        store.agree({"max_steps": 60, "policies.b": "y"})
        with pytest.raises(SimeditError, match="max_steps: 60 there, 113 now"):
            store.agree({"max_steps": 113})
        with pytest.raises(SimeditError, match=r"policies\.a"):
            store.agree({"policies.a": "z"})


def test_a_second_process_is_locked_out_and_a_reader_is_not(tmp_path):
    attempt = f"from simedit.eval.store import Store\nStore({str(tmp_path)!r}, write=True)"
    with Store(tmp_path, write=True) as store:
        store.put(RESULT)
        second = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True)
        assert second.returncode != 0
        assert "another simedit-eval" in second.stderr
        with Store(tmp_path, write=False) as reader:
            assert reader.results() == {TRIAL: RESULT}
    assert subprocess.run([sys.executable, "-c", attempt]).returncode == 0


@pytest.mark.parametrize("damage", ["text", "middle"])
@pytest.mark.parametrize("write", [True, False])
def test_a_damaged_database_is_named(tmp_path, damage, write):
    with Store(tmp_path, write=True) as store:
        for seed in range(500):
            store.put(Result(replace(TRIAL, seed=seed), "failure", message="x" * 50))
    path = tmp_path / "results.sqlite"
    content = bytearray(path.read_bytes())
    content[: len(content) if damage == "text" else 0] = b"no database " * 100 if damage == "text" else b""
    if damage == "middle":
        content[4096:12288] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(SimeditError, match=r"results\.sqlite is damaged"):
        Store(tmp_path, write=write)


@pytest.mark.parametrize("write", [True, False])
def test_a_folder_of_another_layout_is_refused(tmp_path, write):
    with sqlite3.connect(tmp_path / "results.sqlite") as db:
        # As it was before trials had a variant.
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO meta VALUES ('schema', '1')")
        db.execute("CREATE TABLE results (policy TEXT, domain TEXT, style TEXT, seed INTEGER)")
    with pytest.raises(SimeditError, match="layout 1, not this simedit's 2: start a new folder"):
        Store(tmp_path, write=write)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SimeditError, match=r"cannot write to .*file"):
        Store(tmp_path / "file", write=True)
    with pytest.raises(SimeditError, match=r"cannot write to .*run"):
        Store(tmp_path / "file" / "run", write=True)


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.put(RESULT)
        # SQLite's own limit gives the very error of a full disk.
        store._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(SimeditError, match="full"):
            store.put(Result(TRIAL, "error", message="x" * 100_000))
        assert store.results()[TRIAL] == RESULT


def test_reading_where_nothing_ran(tmp_path):
    with pytest.raises(SimeditError, match="holds no results"):
        Store(tmp_path, write=False)
