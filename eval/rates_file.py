"""How a file gives success rates: CSV, YAML or JSON, as counts, shares or percentages."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

from simedit.config import Config, load_config, parse_config
from simedit.errors import SimeditError

LAYOUT = (
    "CSV: the line policy,TASK,TASK, then one for each policy, such as A,22/27,0.5; "
    'YAML or JSON: {"source": "us", "policies": {"A": {"TASK": {"successes": 22, "n": 27}, "TASK": 0.5}}}'
)
_AS = 'write 0.815, "81.5%" or, better, counts: "22/27"'
MOST_TRIALS = 10**9

R = TypeVar("R", bound=Config)


class Counts(Config):
    """A success rate as counts, 0 <= successes <= n, n > 0."""

    successes: int
    n: int


def _counts(successes: Any, n: Any) -> Counts:
    for name, value in (("successes", successes), ("n", n)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, not {str(value)[:40]!r}")
    if not 0 < n <= MOST_TRIALS:
        raise ValueError(f"n must be from 1 to {MOST_TRIALS}")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials" if successes >= 0 else "successes below 0")
    return Counts(successes=successes, n=n)


def _read(value: Any) -> float | Counts | None:
    """A rate as a file may give it; a ValueError says in a sentence what is wrong with it."""
    if value is None or isinstance(value, Counts):
        return value
    if isinstance(value, Mapping):
        if set(value) != {"successes", "n"}:
            raise ValueError("counts are written {successes: 22, n: 27}, with these two keys and no other")
        return _counts(value["successes"], value["n"])
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{str(value)[:40]!r} is no rate: {_AS}")
    rate = _number(value) if isinstance(value, str) else value
    if isinstance(rate, Counts):
        return rate
    if not 0 <= rate <= 1:  # a NaN neither
        bare = 1 < rate <= 100 and "%" not in str(value)
        why = "it looks like a percentage" if bare else "a rate is between 0 and 1"
        raise ValueError(f"{str(value)[:40]} is no rate ({why}): {_AS}")
    return float(rate)


def _number(text: str) -> float | Counts:
    counted = re.fullmatch(r"\s*(\d{1,12})\s*/\s*(\d{1,12})\s*", text, re.ASCII)
    share = re.fullmatch(r"\s*(-?(\d+\.?\d*|\.\d+)(e-?\d{1,3})?)\s*(%?)\s*", text, re.ASCII | re.IGNORECASE)
    if counted is not None:
        return _counts(int(counted[1]), int(counted[2]))
    if share is None:
        raise ValueError(f"{text[:40]!r} is no rate: {_AS}")
    return float(share[1]) / (100 if share[4] else 1)


Rate = Annotated[float | Counts | None, BeforeValidator(_read)]
"""A success rate in a config: a float in [0, 1], counts, or None where it is unknown."""


def load_rates(cls: type[R], path: Path) -> R:
    """Read a file of rates, CSV by its ending (.csv, .tsv) and JSON by its (.json), else YAML.

    A CSV has no place for a source; its own name stands for that.

    Raises:
        SimeditError: no such file, or what in it is no rate; the message says how rates are laid out.
    """
    if not os.path.exists(path):
        raise SimeditError(
            f"real rates: no file {path.absolute()} "
            "(real.source is published, lab, none or a file; paths are relative to the working directory)"
        )
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            return parse_config(cls, {"source": path.name, "policies": _table(_text(path))}, where=str(path))
        if path.suffix.lower() == ".json":
            return parse_config(cls, _json(_text(path)), where=str(path))
        return load_config(cls, path)
    except (SimeditError, ValueError) as error:
        named = "" if isinstance(error, SimeditError) else f"{path}: "
        raise SimeditError(f"{named}{error}. Rates are laid out so. {LAYOUT}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets begin with a mark
    except UnicodeDecodeError:
        raise ValueError("it is not text in UTF-8") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands in it twice")
        return found

    try:
        found = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds no object, but {type(found).__name__}")
    return found


def _table(text: str) -> dict[str, dict[str, str | None]]:
    """From policy to task to the cell, None where that is empty."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=head.count)
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        ]
    except csv.Error as error:
        raise ValueError(f"it is not CSV: {error}") from None
    rows = [row for row in rows if any(row)]
    if not rows:
        raise ValueError("it is empty")
    names = [name.lower() for name in rows[0]]
    tasks = names[1:]
    if names[0] != "policy" or not all(tasks) or not tasks or len(set(tasks)) < len(tasks):
        raise ValueError(f"its first line is {', '.join(rows[0])[:100]!r}, not policy,TASK,TASK")
    found: dict[str, dict[str, str | None]] = {}
    for row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(
                f"the line of {row[0][:40]!r} has {len(row)} entries, the first line {len(names)}"
            )
        if not row[0]:
            raise ValueError("a line names no policy")
        if row[0] in found:
            raise ValueError(f"policy {row[0][:40]!r} stands in it twice")
        found[row[0]] = dict(zip(tasks, (cell or None for cell in row[1:]), strict=True))
    return found
