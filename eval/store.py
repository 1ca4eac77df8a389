"""The run folder's database: every result is committed the moment it exists, keyed by its trial."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import FiniteFloat, Json, TypeAdapter, ValidationError

from simedit.envs import earlier
from simedit.errors import SimeditError, shortened
from simedit.eval.trials import Outcome, Result, Trial
from simedit.locks import locked

_SCHEMA = 3
_RESULTS = """
CREATE TABLE IF NOT EXISTS results (
    policy TEXT, task TEXT, scene TEXT, domain TEXT, variant TEXT, style TEXT, seed INTEGER,
    outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure', 'error')),
    steps INTEGER NOT NULL, progress REAL, start TEXT NOT NULL, measures TEXT NOT NULL,
    frame_hash TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (policy, task, scene, domain, variant, style, seed)
) WITHOUT ROWID;
"""
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
{_RESULTS}
INSERT OR IGNORE INTO meta VALUES ('schema', '{_SCHEMA}');
COMMIT;
"""
_COLUMNS = (
    "policy, task, scene, domain, variant, style, seed, "
    "outcome, steps, progress, start, measures, frame_hash, message"
)
_ROWS = TypeAdapter(list[tuple[
    str, str, str, str, str, str, int,
    Outcome, int, FiniteFloat | None, Json[tuple[FiniteFloat, ...] | None], Json[dict[str, FiniteFloat]],
    str, str,
]])  # fmt: skip
_LONGEST_MESSAGE = 2000


class Store:
    """Results of one run folder, in SQLite. Use as a context manager.

    With `write`, the folder is made if need be and locked: a second writer is refused, readers are not.
    A process killed at any moment loses at most the trial it was in. What ends well leaves one file, which
    can be read where nothing can be written.

    Args:
        folder: the run folder.
        write: make it, lock it, and write results.

    Raises:
        SimeditError: the folder cannot be written, is in use by another run, has no results (when reading),
            or its database is damaged or of another version.
    """

    def __init__(self, folder: str | Path, *, write: bool) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "results.sqlite"
        self._write = write
        with ExitStack() as stack:
            if write:
                stack.enter_context(locked(self.folder, "simedit-eval"))
            else:
                self._check_there()
            with self._explained():
                # Autocommit: a statement is durable when it returns.
                self._db = sqlite3.connect(
                    self.path if write else stack.enter_context(_readable(self.path)),
                    isolation_level=None,
                    timeout=30,
                )
                stack.callback(self._close)
                found = self._db.execute("PRAGMA quick_check").fetchone()[0]
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
                if write:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=FULL")
                    if self._layout() == earlier.LAYOUT:
                        earlier.upgrade(self._db, _SCHEMA, _RESULTS)
                    self._db.executescript(_TABLES)
                elif not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise self._without_results()  # killed before it had begun
                elif self._layout() == earlier.LAYOUT:
                    # Reading changes no folder: a copy of it is brought up to date.
                    before, self._db = self._db, sqlite3.connect(":memory:", isolation_level=None)
                    with closing(before):
                        before.backup(self._db)
                    earlier.upgrade(self._db, _SCHEMA, _RESULTS)
            schema = self.read("schema")
            if schema != _SCHEMA:
                raise SimeditError(
                    f"{self.path} has layout {shortened(schema)}, not this simedit's {_SCHEMA}: start anew"
                )
            self._opened = stack.pop_all()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _layout(self) -> Any:
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            return None
        return self.read("schema")

    def _close(self) -> None:
        if self._write:
            with suppress(sqlite3.Error):  # a reader has it open: it stays as it is
                self._db.execute("PRAGMA busy_timeout = 0")
                self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()

    def _check_there(self) -> None:
        try:
            there = stat.S_ISREG(self.path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError as error:
            raise SimeditError(f"cannot read {self.path}: {error.strerror}") from error
        if not there:
            raise self._without_results()

    def _without_results(self) -> SimeditError:
        return SimeditError(
            f"{self.folder} holds no results: `simedit-eval run --out {self.folder}` makes them"
        )

    def put(self, result: Result) -> None:
        """Store a result, in place of an earlier one of the same trial. Of a long message the start is kept.

        Raises:
            SimeditError: it cannot be written, for example because the disk is full.
        """
        t = result.trial
        message = result.message[:_LONGEST_MESSAGE].encode(errors="replace").decode()
        row = (t.policy, t.task, t.scene, t.domain, t.variant, t.style, t.seed)
        row += (result.outcome, result.steps, result.progress, json.dumps(result.start))
        row += (json.dumps(dict(result.measures)), result.frame_hash, message)
        with self._explained():
            self._db.execute(
                f"INSERT OR REPLACE INTO results ({_COLUMNS}) VALUES ({','.join('?' * 14)})", row
            )

    def results(self) -> dict[Trial, Result]:
        """Every stored result by its trial.

        Raises:
            SimeditError: a row does not hold what it should.
        """
        with self._explained():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM results").fetchall()
        try:
            return dict(map(_from_row, _ROWS.validate_python(rows, strict=True)))
        except ValidationError as error:
            first = error.errors()[0]
            column = _COLUMNS.split(", ")[int(first["loc"][1])]
            raise self._damaged(f"{column} of a result: {first['msg']}") from None

    def read(self, key: str) -> Any:
        """A value kept beside the results (any JSON value); None where there is none."""
        with self._explained():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        try:
            return None if row is None else json.loads(row[0])
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(f"{key}: {error}") from None

    def write(self, key: str, value: Any) -> None:
        """Keep a JSON value beside the results."""
        with self._explained():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def meaning(self) -> dict[str, Any]:
        """What the stored results mean, as `agree` kept it; {} where it has not been given.

        Raises:
            SimeditError: what is kept is no mapping.
        """
        stored = self.read("meaning") or {}
        if not isinstance(stored, dict):
            raise self._damaged("meaning is no mapping")
        return stored

    def check(self, meaning: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse a config under which the stored results would mean something else. Errors mean nothing.

        Args:
            meaning: from `simedit.eval.fingerprints.current_meaning`.

        Returns:
            what the results stored will mean.

        Raises:
            SimeditError: names the keys that differ.
        """
        stored = self.meaning()
        with self._explained():
            if not self._db.execute("SELECT 1 FROM results WHERE outcome != 'error' LIMIT 1").fetchone():
                return dict(meaning)
        differ = [key for key, value in meaning.items() if key in stored and stored[key] != value]
        if differ:
            changes = "; ".join(
                f"{key}: {shortened(stored[key])} there, {shortened(meaning[key])} now" for key in differ
            )
            raise SimeditError(
                f"{self.folder} holds results of other settings ({changes}): use another --out"
            )
        return {**stored, **meaning}

    def agree(self, meaning: Mapping[str, Any]) -> None:
        """As `check`, and remember what is new."""
        self.write("meaning", self.check(meaning))

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What is put and written inside is stored whole at the end, or, without a good end, not at all."""
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._explained():
                self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has undone it already
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if str(error).startswith(("no such", "Could not decode", "malformed", "SQL logic")):
                raise self._damaged(error) from error
            raise SimeditError(
                f"cannot use {self.path}: {error}. What is stored is safe; mend it and start the same command"
            ) from error
        except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
            raise self._damaged(error) from error
        except OSError as error:
            raise SimeditError(f"cannot use {self.path}: {error.strerror or error}") from error

    def _damaged(self, what: object) -> SimeditError:
        why = shortened(" ".join(str(what).split()), 300)  # SQLite may list every page
        return SimeditError(
            f"{self.path} is damaged, or not simedit's ({why}): move it away, or use another --out"
        )


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """The database, or a copy of it where SQLite could not keep its own files beside it."""
    if os.access(path.parent, os.W_OK):
        yield path
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # A run that was killed left its newest results in the log.
        for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))):
            if part is path or part.exists():
                shutil.copyfile(part, Path(folder) / part.name)
        yield Path(folder) / path.name


def _from_row(row: tuple[Any, ...]) -> tuple[Trial, Result]:
    trial = Trial(*row[:7])
    return trial, Result(trial, *row[7:])
