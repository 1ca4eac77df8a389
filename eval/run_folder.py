"""What a run folder keeps beside its results, and the report written from both."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.eval.absent import playable
from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates
from simedit.eval.recording import chosen_trials, recorded, strip_path, video_path
from simedit.eval.report import Picture, html
from simedit.eval.store import Store
from simedit.eval.summary import Facts, summarise
from simedit.eval.trials import trials


def keep(store: Store, config: StudyConfig, real: Rates, facts: Facts) -> None:
    """Keep what a report needs beside the results, so that it can be written from the folder alone."""
    store.write("run", {"config": config.model_dump(), "real": real.model_dump(), "facts": asdict(facts)})


def kept(store: Store) -> tuple[StudyConfig, Rates, Facts]:
    """What `keep` kept last.

    Raises:
        SimeditError: nothing yet, or by another version of simedit.
    """
    run = store.read("run")
    if run is None:
        raise SimeditError(f"no study has begun in {store.folder}: `simedit-eval run` begins one")
    where = str(store.path)
    config = parse_config(StudyConfig, run["config"], where=where)
    return config, parse_config(Rates, run["real"], where=where), Facts(**run["facts"])


def write_report(store: Store) -> dict[str, Any]:
    """Write report.json and report.html from what is stored; returns the former's content.

    Raises:
        SimeditError: nothing is stored yet, or the folder cannot be written.
    """
    config, real, facts = kept(store)
    results = store.results()
    summary = summarise(config, results, real, facts)
    wanted = playable(trials(config), facts.absent)
    pictures = [
        Picture(place, trial, results[trial].outcome)
        for path, count in ((strip_path, config.report.strips), (video_path, config.report.videos))
        for trial in chosen_trials(wanted, count)
        if trial in results and (place := recorded(path(store.folder, trial), trial)).exists()
    ]
    _write(store.folder / "report.json", json.dumps(summary, indent=2) + "\n")
    _write(store.folder / "report.html", html(summary, pictures))
    return summary


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"draft-{path.name}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise SimeditError(f"cannot write {path}: {error.strerror}") from error
