"""What a run folder keeps beside its results, and the report written from both."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.eval.absent import playable
from simedit.eval.config import StudyConfig
from simedit.eval.episodes import study_rows
from simedit.eval.fingerprints import differences
from simedit.eval.published import Rates
from simedit.eval.recordings import pictures
from simedit.eval.report import html
from simedit.eval.shards import Shard
from simedit.eval.store import Store
from simedit.eval.summary import Facts, summarise
from simedit.eval.trials import trials
from simedit.files import whole

T = TypeVar("T")
_PLAYERS = "played_with"
UNRECORDED = {"simedit": "a version that kept no record of itself"}


def keep(store: Store, config: StudyConfig, real: Rates, facts: Facts) -> None:
    """Keep what a report needs beside the results, so that it can be written from the folder alone."""
    store.write("run", {"config": config.model_dump(), "real": real.model_dump(), "facts": asdict(facts)})


def check_shard(store: Store, shard: Shard) -> None:
    """Refuse a folder that is for another shard, or for a whole study.

    Raises:
        SimeditError: it is.
    """
    if store.read("run") is None:
        return
    kept_for = kept(store)[2].shard
    if kept_for != str(shard):
        what = f"shard {kept_for}" if kept_for else "a whole study"
        raise SimeditError(
            f"{store.folder} is the folder of {what}: give shard {shard} an --out of its own, such as "
            f"{store.folder}-{shard.number}-of-{shard.count}"
        )


def keep_player(store: Store, player: dict[str, str]) -> str:
    """Keep with what the trials to come are played: `simedit.eval.fingerprints.played_with`.

    Returns:
        in what it differs from that of the trials stored; "" if in nothing.
    """
    earlier = players(store)
    if not any(result.outcome != "error" for result in store.results().values()):
        earlier = []
    elif not earlier:
        earlier = [player | UNRECORDED]
    if player not in earlier:
        earlier.append(player)
    keep_players(store, earlier)
    return differences(earlier)


def keep_players(store: Store, found: list[dict[str, str]]) -> None:
    """Keep with what all stored trials were played."""
    store.write(_PLAYERS, found)


def players(store: Store) -> list[dict[str, str]]:
    """With what the stored trials were played; [] where an older simedit kept no record."""
    return _parsed(TypeAdapter(list[dict[str, str]]), store.read(_PLAYERS) or [], store)


def kept(store: Store) -> tuple[StudyConfig, Rates, Facts]:
    """What `keep` kept last.

    Raises:
        SimeditError: nothing yet, something damaged, or by another version of simedit.
    """
    run = store.read("run")
    if run is None:
        raise SimeditError(f"no study has begun in {store.folder}: `simedit-eval run` begins one")
    parts = _parsed(TypeAdapter(dict[Literal["config", "real", "facts"], dict[str, Any]]), run, store)
    where = str(store.path)
    if isinstance(parts.get("config"), dict):  # how long was waited, by its earlier name
        parts["config"].pop("deadlines", None)
    config = parse_config(StudyConfig, parts.get("config"), where=where)
    real = parse_config(Rates, parts.get("real"), where=where)
    return config, real, _parsed(TypeAdapter(Facts), parts.get("facts"), store)


def _parsed(kind: TypeAdapter[T], value: Any, store: Store) -> T:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise SimeditError(
            f"{store.path} is damaged, or of another version of simedit ({place}: {first['msg']}): "
            "give the run's command again, or use another --out"
        ) from None


def compose_report(store: Store) -> tuple[dict[str, Any], str]:
    """The content of report.json and of report.html, from what is stored.

    Raises:
        SimeditError: nothing is stored yet, or what is stored is damaged.
    """
    config, real, facts = kept(store)
    results = store.results()
    summary = summarise(config, results, real, facts)
    summary["played_with"] = players(store)
    if differ := differences(summary["played_with"]):
        summary["warnings"].append(f"Not all trials were played with the same: {differ}.")
    rows = study_rows(config, results)
    wanted = playable(trials(config), facts.absent)
    found = pictures(
        store.folder, wanted, stored=results, strips=config.report.strips, videos=config.report.videos
    )
    return summary, html(summary, rows, found)


def write_report(store: Store) -> dict[str, Any]:
    """Write report.json and report.html from what is stored; returns the former's content.

    Raises:
        SimeditError: as `compose_report`, or the folder cannot be written.
    """
    summary, page = compose_report(store)
    save_report(store.folder, summary, page)
    return summary


def save_report(folder: Path, summary: dict[str, Any], page: str) -> None:
    """Write what `compose_report` gave; each file appears whole or not at all.

    Raises:
        SimeditError: the folder cannot be written.
    """
    for name, text in (("report.json", json.dumps(summary, indent=2) + "\n"), ("report.html", page)):
        with whole(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
