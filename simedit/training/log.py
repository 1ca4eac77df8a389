"""What a training writes down of each step: metrics.jsonl, and TensorBoard scalars if that is installed."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simedit.errors import SimeditError
from simedit.files import whole

METRICS = "metrics.jsonl"
PHASES = ("sample", "score", "reference", "update")
"""Of a training step; a record has the seconds of each."""


class Log:
    """The records of a training, one JSON object for each step, in the folder's metrics.jsonl.

    Args:
        folder: made if it is not there.
        from_step: the step that comes next. Records of it and of later steps go: they are done again.

    Attributes:
        tensorboard: whether scalars also go to the folder's tensorboard/, for TensorBoard is installed.

    Raises:
        SimeditError: the folder cannot be written, or a line before the last one is broken, or a step is not
            above the one before it.
    """

    def __init__(self, folder: str | Path, from_step: int):
        self._path = Path(folder) / METRICS
        self._records = [record for record in _read(self._path) if record["step"] < from_step]
        self._save()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
        else:
            with _writing(self._path.parent / "tensorboard") as path:
                self._writer = SummaryWriter(str(path), purge_step=from_step)
        self.tensorboard = self._writer is not None

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records so far, those of earlier runs included; None where there was no number."""
        return list(self._records)

    def write(self, record: dict[str, Any]) -> None:
        """Add a step's record.

        Args:
            record: numbers, None, or dicts of these; NaN and infinities become None. Has the key "step".

        Raises:
            SimeditError: the folder cannot be written.
        """
        self._records.append(finite(record))
        self._save()
        if self._writer is not None:
            with _writing(self._path.parent / "tensorboard"):
                for name, value in _flat(self._records[-1]):
                    self._writer.add_scalar(name, value, record["step"])
                self._writer.flush()

    def _save(self) -> None:
        with whole(self._path) as draft:
            draft.write_text("".join(json.dumps(r) + "\n" for r in self._records), encoding="utf-8")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path]:
    try:
        yield path
    except OSError as error:
        raise SimeditError(f"cannot write {path}: {error.strerror or error}") from error


def finite(record: dict[str, Any]) -> dict[str, Any]:
    """The record with None for every number that is not finite."""
    return {
        key: finite(value) if isinstance(value, dict) else _number(value) for key, value in record.items()
    }


def _number(value: Any) -> float | int | None:
    return None if value is None or not math.isfinite(value) else value


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise SimeditError(f"cannot read {path}: {error}") from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = checked(json.loads(line))
        # OverflowError: of a whole number beyond all floats; RecursionError: of what is nested deeply.
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            if number == len(lines):
                break  # torn: the machine stopped while it was being written
            raise SimeditError(f"{path} is broken at line {number}: remove that line, or the file") from error
        if records and record["step"] <= records[-1]["step"]:
            raise SimeditError(
                f"{path} holds step {record['step']} at line {number} after step {records[-1]['step']}: "
                f"remove one of the lines, or the file"
            )
        records.append(record)
    return records


def checked(record: Any) -> dict[str, Any]:
    """A record that was read: a whole number as step, beside it numbers and None, whichever there are, and
    under "seconds" some more.

    Raises:
        ValueError, KeyError, TypeError, OverflowError: it is none.
    """
    if type(record["step"]) is not int or record["step"] < 1:
        raise TypeError
    if not isinstance(record.get("seconds", {}), dict):
        raise TypeError
    if any(isinstance(value, dict) for key, value in record.items() if key != "seconds"):
        raise TypeError
    return finite(record)


def _flat(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{inner}", number) for inner, number in _flat(value))
        elif value is not None and key != "step":
            yield key, value
