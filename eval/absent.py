"""Variants that cannot be played because their files are absent, and the trials that this leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simedit.envs.drawer.assets import missing, resolve_asset_root, room_mesh
from simedit.envs.drawer.domains import scene
from simedit.eval.config import StudyConfig
from simedit.eval.trials import Trial

Absent = Mapping[str, Mapping[str, str]]
"""From domain and variant to the file that it lacks, relative to the asset root."""


def absent_variants(config: StudyConfig) -> dict[str, dict[str, str]]:
    """The variants that a study wants and whose room the asset root lacks, each with the room's file.

    Rooms alone may be absent; whatever else is missing keeps a study from starting.

    Raises:
        SimeditError: there is no asset root.
    """
    found: dict[str, dict[str, str]] = {}
    if config.env.primitive:
        return found
    for domain in config.domains:
        for variant in config.variants_of(domain):
            room = scene(domain, variant, over=config.editor.over).room
            if room and missing(resolve_asset_root(config.env.asset_root), [room_mesh(room)]):
                found.setdefault(domain, {})[variant] = room_mesh(room)
    return found


def is_absent(trial: Trial, absent: Absent) -> bool:
    """Whether a trial's variant is absent."""
    return trial.variant in absent.get(trial.domain, {})


def playable(wanted: Iterable[Trial], absent: Absent) -> list[Trial]:
    """The wanted trials whose variant is not absent, in order."""
    return [trial for trial in wanted if not is_absent(trial, absent)]


def describe(absent: Absent) -> str:
    """The absent variants in one line, each with its file; "" if there are none."""
    return ", ".join(
        f"{domain}/{variant} ({file})" for domain, files in absent.items() for variant, file in files.items()
    )
