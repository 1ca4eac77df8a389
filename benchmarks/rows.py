"""What benchmarks measure as lines of JSON, and those of a run of gpu.sh as tables.

    python benchmarks/rows.py runs/gpu/results.jsonl

A benchmark notes each figure as soon as it has it, in the file that SIMEDIT_ROWS names, if it is set, under
the name in SIMEDIT_STEP. gpu.sh adds a line where a step begins and one where it ends. Of a step that was
begun several times the one that ended well is shown, or the one that came farthest. Needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def note(**row: Any) -> None:
    """Append a row, at once and in one piece."""
    if file := os.environ.get("SIMEDIT_ROWS"):
        line = json.dumps({"step": os.environ.get("SIMEDIT_STEP", ""), **row})
        with open(file, "a", encoding="utf-8") as out:
            out.write(line + "\n")


def tables(lines: list[str]) -> str:
    """A heading and a table in Markdown for each step, in the order in which they were begun first."""
    steps: dict[str, list[list[dict[str, Any]]]] = {}
    for line in lines:
        try:
            row = json.loads(line)
            tries = steps.setdefault(row.pop("step"), [])
        except (ValueError, KeyError):  # a killed process left half of it
            continue
        if row.get("status") == "begun" or not tries:
            tries.append([])
        tries[-1].append(row)
    return "\n".join(_table(name, max(reversed(tries), key=_far)) for name, tries in steps.items())


def _far(rows: list[dict[str, Any]]) -> tuple[bool, int]:
    return any(row.get("status") == "done" for row in rows), len(rows)


def _table(name: str, rows: list[dict[str, Any]]) -> str:
    about = {key: value for row in rows if "status" in row for key, value in row.items()}
    said = [f"**{name}**"]
    if about:
        said.append("cut off" if about["status"] == "begun" else about["status"])
        said += [f"{about['seconds']} s"] if "seconds" in about else []
        said += [about[key] for key in ("device", "last") if about.get(key)]
        said += [f"`{about['command']}`"] if "command" in about else []
    found = [row for row in rows if "status" not in row]
    heads = list(dict.fromkeys(key for row in found for key in row))
    cells = [heads, ["---"] * len(heads), *[[_said(row.get(head)) for head in heads] for row in found]]
    lines = [f"| {' | '.join(line)} |\n" for line in cells] if found else []
    return ", ".join(said) + "\n\n" + "".join(lines) + "\n" * bool(lines)


def _said(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    print(tables(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()), end="")
