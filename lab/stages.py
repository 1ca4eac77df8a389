"""Stages that each leave their work on disk: what is done is not done again."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from simedit.config import Config
from simedit.drafts import whole
from simedit.errors import SimeditError


def keep_plan(folder: Path, plan: Config) -> None:
    """Have a folder remember the plan that it is begun with.

    Raises:
        SimeditError: it was begun with another.
    """
    kept = folder / "plan.json"
    if kept.exists() and read_json(kept) != plan.model_dump(mode="json"):
        raise SimeditError(f"{folder} was begun with other settings (see {kept}): choose another --out")
    write_json(kept, plan.model_dump(mode="json"))


def do(folder: Path, stages: Mapping[str, Callable[[], None]], tell: Callable[..., None]) -> None:
    """Do the stages, one after another, that have no record in the folder yet.

    Args:
        tell: hears (name) of each that begins, (name, minutes) when it has ended, and (name, minutes,
            before=True) of each that was done before.
    """
    for name, stage in stages.items():
        done, spent = record(folder, name), folder / f"{name}.spent"
        if done.exists():
            tell(name, read_json(done)["minutes"], before=True)
            continue
        tell(name)
        started, before = time.perf_counter(), float(read_json(spent)) if spent.exists() else 0.0
        try:
            stage()
        finally:
            seconds = before + time.perf_counter() - started
            write_json(spent, round(seconds, 1))
        write_json(done, {"minutes": round(seconds / 60, 1), "commit": _commit(), "ended": _now()})
        tell(name, seconds / 60)


def record(folder: Path, stage: str) -> Path:
    """The file that says that a stage is done."""
    return folder / f"{stage}.json"


def read_json(path: Path) -> Any:
    """What a file holds.

    Raises:
        SimeditError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimeditError(f"cannot read {path}: {error}. Delete it, or choose another folder") from error


def write_json(path: Path, content: Any) -> None:
    """Write a file, which appears whole."""
    with whole(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _commit() -> str:
    """Of the code that runs, with a + where files differ from it; empty outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
