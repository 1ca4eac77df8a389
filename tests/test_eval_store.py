from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from simedit.errors import SimeditError
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial

TRIAL = Trial("p", "open", "top/a0", "edited", "", "gold", 3)
RESULT = Result(TRIAL, "success", 7, 0.2, (0.644, -0.179, -0.03), {"extension": 0.2}, "ab12", "")


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
        store.put(RESULT)
        store.agree({"max_steps": 60, "policies.a": "x"})
        store.agree({"max_steps": 60, "policies.b": "y"})
        with pytest.raises(SimeditError, match="max_steps: 60 there, 113 now"):
            store.agree({"max_steps": 113})
        with pytest.raises(SimeditError, match=r"policies\.a"):
            store.agree({"policies.a": "z"})


def test_settings_of_a_folder_without_results_may_change(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.agree({"max_steps": 60})
        store.put(Result(TRIAL, "error", message="died"))
        store.agree({"max_steps": 113})
        store.put(RESULT)
        with pytest.raises(SimeditError, match="max_steps: 113 there, 60 now"):
            store.agree({"max_steps": 60})


def test_to_check_writes_nothing(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.put(RESULT)
        store.agree({"max_steps": 60})
    before = (tmp_path / "results.sqlite").read_bytes()
    with Store(tmp_path, write=False) as store:
        assert store.check({"max_steps": 60, "base": "ab"}) == {"max_steps": 60, "base": "ab"}
        with pytest.raises(SimeditError, match="of other settings"):
            store.check({"max_steps": 61})
    assert (tmp_path / "results.sqlite").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "results.sqlite"]


def unwritable(folder, monkeypatch):
    """As on a read-only mount: SQLite cannot make a file there, nor can anybody."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and Path(path) != folder)


def test_what_ended_well_is_one_file(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.put(RESULT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "results.sqlite"]
    with sqlite3.connect(f"file:{tmp_path}/results.sqlite?immutable=1", uri=True) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_killed_run_is_read_whole_where_nothing_can_be_written(tmp_path, monkeypatch):
    killed = f"""
import os, signal
from simedit.eval.store import Store
from simedit.eval.trials import Result, Trial
store = Store({str(tmp_path)!r}, write=True)
store.put({RESULT!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    (tmp_path / "results.sqlite-shm").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before["results.sqlite-wal"]
    unwritable(tmp_path, monkeypatch)
    with Store(tmp_path, write=False) as store:
        assert store.results() == {TRIAL: RESULT}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_killed_before_it_had_begun_holds_no_results(tmp_path):
    (tmp_path / "results.sqlite").touch()
    with pytest.raises(SimeditError, match="holds no results"):
        Store(tmp_path, write=False)
    with Store(tmp_path, write=True) as store:
        assert store.results() == {}


def test_a_failed_opening_gives_the_lock_back(tmp_path):
    (tmp_path / "results.sqlite").write_bytes(b"no database " * 1000)
    for _ in range(2):
        with pytest.raises(SimeditError, match="damaged"):
            Store(tmp_path, write=True)
    (tmp_path / "results.sqlite").unlink()
    with Store(tmp_path, write=True):
        pass


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE results SET seed = 'x'",
        "UPDATE results SET steps = 'many'",
        "UPDATE results SET steps = 1.5",
        "UPDATE results SET progress = 9e999",
        "UPDATE results SET progress = 'far'",
        "UPDATE results SET start = x'00'",
        "UPDATE results SET policy = x'ff'",
        "UPDATE results SET policy = CAST(x'ff' AS TEXT)",
        "UPDATE results SET message = CAST(x'c328' AS TEXT)",
        "ALTER TABLE results RENAME COLUMN steps TO stepz",
        "ALTER TABLE results RENAME TO others",
        "DROP TABLE meta",
        "UPDATE meta SET value = '{' WHERE key = 'schema'",
        "UPDATE meta SET value = x'00' WHERE key = 'schema'",
        "UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'schema'",
        "UPDATE meta SET value = '{' WHERE key = 'meaning'",
        "UPDATE meta SET value = '[1]' WHERE key = 'meaning'",
        f"UPDATE meta SET value = '{'[' * 100_000}' WHERE key = 'meaning'",
    ],
)
def test_what_a_store_cannot_hold_is_an_error_that_names_it(tmp_path, change):
    with Store(tmp_path, write=True) as store:
        store.put(RESULT)
        store.agree({"max_steps": 1})
    with sqlite3.connect(tmp_path / "results.sqlite") as db:
        db.execute(change)

    def use():
        with Store(tmp_path, write=False) as store:
            store.results()
            store.check({"max_steps": 1})

    with pytest.raises(SimeditError, match=r"results\.sqlite is damaged"):
        use()


def test_what_cannot_be_stored_as_it_is(tmp_path):
    with Store(tmp_path, write=True) as store:
        store.put(Result(TRIAL, "error", message="\udcff" + "x" * 10**6))
        message = store.results()[TRIAL].message
        assert message.startswith("?x")
        assert len(message) == 2000
        with pytest.raises(SimeditError, match="too large"):
            store.put(replace(RESULT, trial=replace(TRIAL, seed=2**63)))


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
    with pytest.raises(SimeditError, match="layout 1, not this simedit's 3: start anew"):
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
