"""Variants that cannot be played because their files are absent, and the trials that this leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simedit.eval.config import StudyConfig
from simedit.eval.trials import Trial

Absent = Mapping[str, Mapping[str, str]]
"""From domain and variant to the file that it lacks."""


def absent_variants(config: StudyConfig) -> dict[str, dict[str, str]]:
    """The variants that a study wants and whose files its suite lacks; what else is missing stops a study.

    Raises:
        SimeditError: the suite cannot tell.
    """
    lacking = config.suite.absent(config.places())
    found: dict[str, dict[str, str]] = {}
    for domain in config.domains:
        for variant in config.variants[domain]:
            place, kind = config.behind(domain, variant)
            if file := lacking.get(place, {}).get(kind):
                found.setdefault(domain, {})[variant] = file
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
