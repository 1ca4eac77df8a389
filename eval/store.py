"""The run folder's database: every result is committed the moment it exists, keyed by its trial."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from simedit.errors import SimeditError
from simedit.eval.trials import Result, Trial

_SCHEMA = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    policy TEXT, task TEXT, drawer TEXT, pose TEXT, domain TEXT, variant TEXT, style TEXT,
    seed INTEGER,
    outcome TEXT NOT NULL CHECK (outcome IN ('success', 'failure', 'error')),
    steps INTEGER NOT NULL, extension REAL, pose_x REAL, pose_y REAL, pose_yaw REAL,
    frame_hash TEXT NOT NULL, message TEXT NOT NULL,
    PRIMARY KEY (policy, task, drawer, pose, domain, variant, style, seed)
) WITHOUT ROWID;
"""


class Store:
    """Results of one run folder, in SQLite (write-ahead log). Use as a context manager.

    With `write`, the folder is made if need be and locked: a second writer is refused, readers are not.
    A process killed at any moment loses at most the trial it was in.

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
        self._lock = None
        if write:
            self._lock = _locked(self.folder)
        elif not self.path.is_file():
            raise SimeditError(
                f"{self.folder} holds no results: `simedit-eval run --out {self.folder}` makes them"
            )
        with self._explained():
            # Autocommit: a statement is durable when it returns.
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
            found = self._db.execute("PRAGMA quick_check").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if write:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                self._db.executescript(_TABLES)
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (json.dumps(_SCHEMA),))
            schema = self.read("schema")
        if schema != _SCHEMA:
            raise SimeditError(
                f"{self.path} has layout {schema}, not this simedit's {_SCHEMA}: start a new folder"
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def put(self, result: Result) -> None:
        """Store a result, in place of an earlier one of the same trial.

        Raises:
            SimeditError: it cannot be written, for example because the disk is full.
        """
        t = result.trial
        pose = result.pose or (None, None, None)
        row = (t.policy, t.task, t.drawer, t.pose, t.domain, t.variant, t.style, t.seed)
        row += (result.outcome, result.steps, result.extension, *pose, result.frame_hash, result.message)
        with self._explained():
            self._db.execute(f"INSERT OR REPLACE INTO results VALUES ({','.join('?' * len(row))})", row)

    def results(self) -> dict[Trial, Result]:
        """Every stored result by its trial."""
        with self._explained():
            rows = self._db.execute("SELECT * FROM results").fetchall()
        return dict(map(_from_row, rows))

    def read(self, key: str) -> Any:
        """A value kept beside the results (any JSON value); None where there is none."""
        with self._explained():
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def write(self, key: str, value: Any) -> None:
        """Keep a JSON value beside the results."""
        with self._explained():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def agree(self, meaning: Mapping[str, Any]) -> None:
        """Refuse a config under which the stored results would mean something else; remember what is new.

        Args:
            meaning: from `simedit.eval.config.meaning`.

        Raises:
            SimeditError: names the keys that differ.
        """
        stored: dict[str, Any] = self.read("meaning") or {}
        differ = [key for key, value in meaning.items() if key in stored and stored[key] != value]
        if differ:
            changes = "; ".join(f"{key}: {stored[key]} there, {meaning[key]} now" for key in differ)
            raise SimeditError(
                f"{self.folder} holds results of other settings ({changes}): use another --out"
            )
        self.write("meaning", {**stored, **meaning})

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SimeditError(
                f"cannot use {self.path}: {error}. What is stored is safe; mend it and start the same command"
            ) from error
        except sqlite3.DatabaseError as error:
            raise SimeditError(
                f"{self.path} is damaged, or not simedit's ({error}): move it away, or use another --out"
            ) from error


def _from_row(row: tuple[Any, ...]) -> tuple[Trial, Result]:
    trial = Trial(*row[:8])
    outcome, steps, extension, x, y, yaw, frame_hash, message = row[8:]
    pose = None if x is None else (x, y, yaw)
    return trial, Result(trial, outcome, steps, extension, pose, frame_hash, message)


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder's lock; the system frees it however the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise SimeditError(f"cannot write to {folder}: {error.strerror}. Choose another --out") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 20).decode() or "unknown"
        os.close(descriptor)
        raise SimeditError(
            f"another simedit-eval (process {owner}) writes to {folder}: wait for it, or use another --out"
        ) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor
