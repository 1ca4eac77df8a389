"""Two run folders read to be compared: what each holds, what they share, and in what they differ."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simedit.errors import SimeditError
from simedit.eval.absent import playable
from simedit.eval.compare import counted
from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates
from simedit.eval.recordings import Picture, pictures
from simedit.eval.run_folder import kept, players
from simedit.eval.store import Store
from simedit.eval.summary import Facts, summarise
from simedit.eval.trials import Outcome, Result, Trial, trials

_AXES = ("policies", "domains", "variants", "tasks", "scenes", "styles", "seeds")
# Of a store's meaning; the rest of it is settings, and those stand in the config.
_FILES = ("checkpoints.", "embeddings.", "specialists.", "base", "suite.assets", "suite.rooms.")


@dataclass(frozen=True)
class Run:
    """A run folder's content.

    Attributes:
        name: the folder's, or its path where the other run's folder has the same name.
        results: of wanted trials, in the study's order.
        outcomes: the same, as the study counts them.
        summary: the content of its report.json.
        files: fingerprints of what its results depend on, by name.
        players: what played its trials.
        pictures: its strips and videos.
    """

    name: str
    folder: Path
    config: StudyConfig
    real: Rates
    facts: Facts
    results: Mapping[Trial, Result]
    outcomes: Mapping[Trial, Outcome]
    summary: Mapping[str, Any]
    files: Mapping[str, str]
    players: Sequence[Mapping[str, str]]
    pictures: Sequence[Picture]


def read_runs(first: Path, second: Path) -> tuple[Run, Run]:
    """Both runs.

    Raises:
        SimeditError: one folder twice, a folder without a run, or runs without a trial that both finished.
    """
    if first.exists() and second.exists() and os.path.samefile(first, second):
        raise SimeditError(f"{first} and {second} are the same folder: give the folders of two runs")
    names = [folder.resolve().name for folder in (first, second)]
    if names[0] == names[1]:
        names = [str(first), str(second)]
    one, two = (_read(folder, name) for folder, name in zip((first, second), names, strict=True))
    if one.config.suite.kind != two.config.suite.kind:
        kinds = f"{one.config.suite.kind} and {two.config.suite.kind}"
        raise SimeditError(f"{first} and {second} are of different suites, {kinds}")
    if not shared(one, two):
        raise SimeditError(f"{first} and {second} have no trial that both finished{_apart(one, two)}")
    return one, two


def shared(first: Run, second: Run) -> list[Trial]:
    """The trials that both finished, in the first one's order."""
    return [
        trial
        for trial, outcome in first.outcomes.items()
        if outcome != "error" and second.outcomes.get(trial, "error") != "error"
    ]


def _read(folder: Path, name: str) -> Run:
    with Store(folder, write=False) as store:
        config, real, facts = kept(store)
        stored = store.results()
        meaning = store.read("meaning")
        played = players(store)
    results = {trial: stored[trial] for trial in trials(config) if trial in stored}
    return Run(
        name=name,
        folder=folder,
        config=config,
        real=real,
        facts=facts,
        results=results,
        outcomes={trial: counted(config, result) for trial, result in results.items()},
        summary=summarise(config, results, real, facts),
        files={
            key: str(value)
            for key, value in (meaning if isinstance(meaning, dict) else {}).items()
            if key.startswith(_FILES)
        },
        players=played,
        pictures=pictures(
            folder,
            playable(trials(config), facts.absent),
            stored=results,
            strips=config.report.strips,
            videos=config.report.videos,
            run=name,
        ),
    )


def _apart(first: Run, second: Run) -> str:
    """On which axis two studies share nothing, as the end of a sentence."""
    for axis in _AXES:
        one, two = ({str(getattr(t, _FIELDS[axis])) for t in trials(run.config)} for run in (first, second))
        if not one & two:
            listed = [", ".join(sorted(values))[:200] or "none" for values in (one, two)]
            return f": their {axis} are {listed[0]} there and {listed[1]} here"
    return ". Run more of either, or of both"


_FIELDS = dict(zip(_AXES, ("policy", "domain", "variant", "task", "scene", "style", "seed"), strict=True))


def differing(first: Run, second: Run) -> dict[str, list[list[str]]]:
    """In what two runs differ, each a name and both values: "settings", "files" and "versions"."""
    found = {
        "settings": _unlike(_settings(first), _settings(second)),
        "files": _unlike(first.files, second.files),
        "versions": _unlike(_versions(first.players), _versions(second.players)),
    }
    return {kind: rows for kind, rows in found.items() if rows}


def _settings(run: Run) -> dict[str, str]:
    flat: dict[str, str] = {}

    def flatten(key: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                flatten(f"{key}.{name}" if key else str(name), inner)
        else:
            flat[key] = json.dumps(value, ensure_ascii=False)

    flatten("", run.config.model_dump(mode="json"))
    flatten("real rates", run.real.model_dump(mode="json"))
    flatten("facts", asdict(run.facts))
    return flat


def _versions(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for player in found for name in player)
    return {name: " and ".join(dict.fromkeys(player.get(name, "none") for player in found)) for name in names}


def _unlike(first: Mapping[str, str], second: Mapping[str, str]) -> list[list[str]]:
    return [
        [key, first.get(key, "absent"), second.get(key, "absent")]
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]
