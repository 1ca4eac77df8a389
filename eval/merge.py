"""Several run folders of one study put together, such as its shards."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from simedit.drafts import whole
from simedit.errors import SimeditError, shortened
from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates
from simedit.eval.recording import recorded, strip_path, video_path
from simedit.eval.run_folder import UNRECORDED, keep, keep_players, kept, players, write_report
from simedit.eval.store import Store
from simedit.eval.summary import Facts
from simedit.eval.trials import Result, Trial

_SHOWN = 5
"""Conflicts that an error names."""


@dataclass(frozen=True)
class _Part:
    """What a run folder holds."""

    folder: Path
    config: StudyConfig
    real: Rates
    facts: Facts
    meaning: Mapping[str, Any]
    players: list[dict[str, str]]
    results: Mapping[Trial, Result]


def merge(out: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Put the results and recordings of run folders into `out`, and write its report.

    All is checked before anything is written, and all results are stored at once or not at all. An error
    gives way to a result; otherwise what is in `out`, or in an earlier folder, stays.

    Args:
        out: a new folder or a run folder.
        folders: are only read.

    Returns:
        the content of `out`'s report.json.

    Raises:
        SimeditError: a folder is no run folder; folders are of different studies, settings or files; a trial
            ended differently in two of them; `out` holds other things, is in use or cannot be written.
    """
    if not folders:
        raise SimeditError(f"nothing to put into {out}: name the run folders after it")
    parts = []
    for folder in folders:
        with Store(folder, write=False) as store:
            parts.append(_read(store))
    _together(parts)
    if out.is_dir() and not (out / "results.sqlite").exists() and {p.name for p in out.iterdir()} - {"lock"}:
        raise SimeditError(f"{out} is no run folder and not empty: choose another")
    with Store(out, write=True) as store:
        if store.read("run") is not None:
            parts = [_read(store), *parts]
        found = _together(parts)
        for part in parts:
            _copy_recordings(part, out)
        with store.at_once():
            keep(store, found.config, found.real, found.facts)
            keep_players(store, found.players)
            store.write("meaning", found.meaning)
            stored = store.results()
            for trial, result in found.results.items():
                if stored.get(trial) != result:
                    store.put(result)
        return write_report(store)


def _read(store: Store) -> _Part:
    config, real, facts = kept(store)
    return _Part(store.folder, config, real, facts, store.meaning(), players(store), store.results())


def _together(parts: Sequence[_Part]) -> _Part:
    """What the parts hold together; what does not agree is refused."""
    first = parts[0]
    for other in parts[1:]:
        _check_same(first, _study(first), other, _study(other), "is of another study than")
    meaning: dict[str, Any] = {}
    results: dict[Trial, Result] = {}
    conflicts: list[str] = []
    where: dict[Trial, Path] = {}
    for number, part in enumerate(parts):
        for other in parts[:number]:  # each with each: not all have all keys
            _check_same(
                other, other.meaning, part, part.meaning, "was played with other settings or files than"
            )
        meaning |= part.meaning
        for trial, result in part.results.items():
            before = results.get(trial)
            if before is None or (before.outcome == "error" and result.outcome != "error"):
                results[trial], where[trial] = result, part.folder
            elif result.outcome != "error" and (differ := _differences(before, result)):
                conflicts.append(f"{trial} ({differ}; {where[trial]} and {part.folder})")
    if conflicts:
        more = f"\n  and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
        raise SimeditError(
            f"{len(conflicts)} trials ended differently in two folders, so they cannot be put together:"
            + "".join(f"\n  - {conflict}" for conflict in conflicts[:_SHOWN])
            + more
        )
    absent = {
        domain: {
            variant: file
            for variant, file in files.items()
            if all(variant in part.facts.absent.get(domain, {}) for part in parts)
        }
        for domain, files in first.facts.absent.items()
    }
    absent = {domain: files for domain, files in absent.items() if files}
    facts = replace(first.facts, absent=absent, shard="")
    return replace(first, facts=facts, meaning=meaning, players=_all_players(parts), results=results)


def _study(part: _Part) -> dict[str, Any]:
    """What makes studies the same beside their meaning: the trials wanted, and how they count."""
    # The rest is in the meaning, or makes no difference: where a library lies, how long is waited.
    config = part.config.model_dump(mode="json", exclude={"suite", "timeouts", "resources", "editor", "real"})
    config |= {"policies": list(part.config.policies), "editor.seeds": part.config.editor.seeds}
    return {**config, "real rates": part.real.model_dump(mode="json")}


def _check_same(
    one: _Part, its: Mapping[str, Any], other: _Part, others: Mapping[str, Any], differs: str
) -> None:
    keys = [key for key, value in others.items() if key in its and its[key] != value]
    if keys:
        changes = "; ".join(
            f"{key}: {shortened(others[key])} there, {shortened(its[key])} in the latter" for key in keys
        )
        raise SimeditError(f"{other.folder} {differs} {one.folder} ({changes}): leave one of them out")


def _differences(one: Result, other: Result) -> str:
    """Which fields of two results differ, and how; "" if none does."""
    return ", ".join(
        f"{field.name} {a} and {b}"
        for field in fields(Result)
        if (a := getattr(one, field.name)) != (b := getattr(other, field.name))
    )


def _all_players(parts: Sequence[_Part]) -> list[dict[str, str]]:
    """With what the trials of all were played, each once."""
    found: list[dict[str, str]] = []
    for part in parts:
        found += [player for player in part.players if player not in found]
    if found and any(not part.players and part.results for part in parts):
        unrecorded = found[0] | UNRECORDED
        found += [unrecorded] if unrecorded not in found else []
    return found


def _copy_recordings(part: _Part, out: Path) -> None:
    """Copy what `out` has not yet. What a link would fetch from outside of the folder is left there."""
    if not (part.folder / "media").is_dir():
        return
    inside = part.folder.resolve()
    for trial in part.results:
        for path in (strip_path, video_path):
            source, target = recorded(path(part.folder, trial), trial), path(out, trial)
            if target.exists() or not source.is_file() or not source.resolve().is_relative_to(inside):
                continue
            try:
                with whole(target) as draft:
                    shutil.copyfile(source, draft)
            except OSError as error:
                raise SimeditError(f"cannot copy {source}: {error.strerror or error}") from error
