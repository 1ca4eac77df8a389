"""Run folders from before there were suites: all of them are of drawers."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from simedit.envs.drawer.domains import VARIANTS
from simedit.envs.drawer.poses import DRAWERS, POSES, TASKS
from simedit.envs.drawer.suite import progress

MOVED = {"env": "suite", "drawers": "scenes.drawer", "poses": "scenes.pose", "deadlines": "timeouts"}
"""Keys of a study's config that had other names, and where they are now."""
LAYOUT = 2
"""Of a run folder's database then."""


def upgrade(db: sqlite3.Connection, layout: int, results: str) -> None:
    """Give a database of LAYOUT the one of today, in one transaction: all of it or nothing.

    Args:
        layout: today's.
        results: the statement that makes today's table of results.

    Raises:
        sqlite3.Error: it is damaged, or cannot be written.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if json.loads(_meta(db, "schema") or "null") == LAYOUT:  # no other process was here first
            db.execute("ALTER TABLE results RENAME TO earlier")
            db.execute(results)
            rows = db.execute(
                "SELECT policy, task, drawer, pose, domain, variant, style, seed, outcome, steps, extension,"
                " pose_x, pose_y, pose_yaw, frame_hash, message FROM earlier"
            ).fetchall()
            db.executemany(f"INSERT INTO results VALUES ({','.join('?' * 14)})", map(_row, rows))
            db.execute("DROP TABLE earlier")
            for key, change in (("run", _run), ("meaning", _meaning)):
                if (value := _meta(db, key)) is not None:
                    db.execute(
                        "UPDATE meta SET value = ? WHERE key = ?",
                        (json.dumps(change(json.loads(value))), key),
                    )
            db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(layout),))
        db.execute("COMMIT")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:  # of what lies in it
        db.execute("ROLLBACK")
        raise sqlite3.DatabaseError(f"{type(error).__name__}: {error}") from error
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _meta(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    policy, task, drawer, pose, domain, variant, style, seed, outcome, steps, extension, *start = row[:14]
    done = None if extension is None else progress(task, extension)
    measures = {} if extension is None else {"extension": extension}
    return (
        *(policy, task, f"{drawer}/{pose}", domain, variant, style, seed, outcome, steps, done),
        *(json.dumps(None if start[0] is None else start), json.dumps(measures), *row[14:]),
    )


def _run(run: dict[str, Any]) -> dict[str, Any]:
    """What a report needs, with the study's config as it would be today."""
    config = {key: value for key, value in run["config"].items() if key != "deadlines"}
    variants = config.get("variants") or {}
    scenes = {"drawer": config.pop("drawers", DRAWERS), "pose": config.pop("poses", list(POSES))}
    return run | {
        "config": config
        | {
            "suite": {"kind": "drawer", **config.pop("env", {})},
            "scenes": scenes,
            "variants": {
                domain: variants.get(domain) or list(VARIANTS.get(domain, ("",)))
                for domain in config["domains"]
            },
            "tasks": config.get("tasks", TASKS),
            "max_steps": config.get("max_steps", 113),
            "realities": ["proxy_real"],
        }
    }


def _meaning(meaning: dict[str, Any]) -> dict[str, Any]:
    """What the results depend on, by today's keys."""
    found: dict[str, Any] = {}
    for key, value in meaning.items():
        group, _, rest = key.partition(".")
        if group == "env":
            found[f"suite.{rest}"] = value
        else:
            found[f"suite.{key}" if group in ("assets", "rooms") else key] = value
    return found | {"suite.kind": "drawer"}
