"""The page's list of trials, what it knows of each, and the episodes that were recorded.

A filter is a column's key and one of its values, as in the address `report.html#policy=A&seed=0&seed=1`:
trials with any of a column's wanted values, in every column that is filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from scipy.stats import norm, t

from simedit.eval.compare import comparable, counted
from simedit.eval.config import StudyConfig
from simedit.eval.metrics import LEVEL
from simedit.eval.recordings import Picture, embedded, figure, left_out
from simedit.eval.trials import Outcome, Result, Trial, trials

_PER, _DEGREES = 8, 64
"""Steps of the table of Student's quantiles for each degree of freedom, and how many of those it has."""
OUTCOMES = ("success", "failure", "error")


@dataclass(frozen=True)
class Column:
    """A column of the list.

    Attributes:
        choice: whether its values are names to filter by, else numbers; None is an unknown number.
        order: of the names, where not that in which they come.
        signs: whether the names are outcomes, which have a sign each.
        digits: of a number behind the point.
    """

    key: str
    label: str
    choice: bool = True
    order: Sequence[str] = ()
    signs: bool = False
    digits: int = 0


@dataclass(frozen=True)
class Row:
    """A trial in the list.

    Attributes:
        more: of the columns that say what came of it, by key.
        notes: what else is told of it, each a label and a text, such as an error's message.
        outcome: in a word or a few, for captions.
    """

    trial: Trial
    more: Mapping[str, Any]
    outcome: str
    notes: Sequence[tuple[str, str]] = field(default=())

    def of_trial(self, axes: Sequence[str]) -> dict[str, Any]:
        """What a trial is, by column; its scene as the value of each axis."""
        found: dict[str, Any] = {}
        for key, value in vars(self.trial).items():
            found |= dict(zip(axes, value.split("/"), strict=True)) if key == "scene" else {key: value}
        return found


def study_rows(config: StudyConfig, results: Mapping[Trial, Result]) -> list[Row]:
    """The trials of a study that are stored, in its order, with outcomes as it counts them."""
    stored = {trial: results[trial] for trial in trials(config) if trial in results}
    outcomes: dict[Trial, Outcome] = {trial: counted(config, result) for trial, result in stored.items()}
    same, _ = comparable(config, outcomes)
    return [
        Row(
            trial,
            {
                "outcome": outcomes[trial],
                "compared": "yes" if trial in same else "no",
                "steps": result.steps,
                "progress": result.progress,
                **result.measures,
            },
            outcomes[trial],
            [("message", result.message)] if result.message else [],
        )
        for trial, result in stored.items()
    ]


def study_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a study's list, beside those of the trial itself."""
    found = [
        Column("outcome", "outcome", order=OUTCOMES, signs=True),
        Column("compared", "compared", order=("yes", "no")),
        Column("steps", "steps", choice=False),
        Column("progress", "progress", choice=False, digits=2),
    ]
    measures = dict.fromkeys(key for row in rows for key in row.more)
    known = {column.key for column in found}
    return found + [Column(key, key, choice=False, digits=3) for key in measures if key not in known]


def listed(
    columns: Sequence[Column], rows: Sequence[Row], axes: Sequence[str], rates: Mapping[str, str], **more: Any
) -> dict[str, Any]:
    """What `data/report.js` shows of the trials, as plain JSON.

    Args:
        columns: beside those of the trial itself.
        axes: of the scenes, a column each.
        rates: from a column of outcomes to what its success rate is called.
        more: for the script as it is: "start", the filters of a page without any in its address; "policies",
            their settings by name, for the command that plays a trial again.
    """
    found = []
    cells = []
    lines = [{**row.of_trial(axes), **row.more} for row in rows]
    trial = [key for f in fields(Trial) for key in (axes if f.name == "scene" else [f.name])]
    for column in (*(Column(key, key) for key in trial), *columns):
        values = [line.get(column.key) for line in lines]
        about: dict[str, Any] = {"key": column.key, "label": column.label}
        if column.choice:
            values = [str(value) for value in values]  # a seed may be larger than the script's numbers
            there = set(values)
            order = [name for name in column.order if name in there] or list(dict.fromkeys(values))
            about |= {"values": order, "signs": column.signs}
            place = {name: index for index, name in enumerate(order)}
            values = [place[value] for value in values]
        else:
            about["digits"] = column.digits
            values = [None if value is None else round(value, column.digits) for value in values]
        found.append(about)
        cells.append(values)
    return {
        "columns": found,
        "rows": [
            [*line, row.notes] if row.notes else list(line)
            for row, line in zip(rows, zip(*cells, strict=True), strict=True)
        ],
        "trial": trial,
        "axes": axes,
        "situation": ("task", *axes),
        "rates": [{"key": key, "label": label} for key, label in rates.items()],
        "z": norm.ppf((1 + LEVEL) / 2),
        "few": {"per": _PER, "values": _few()},
        **more,
    }


@cache
def _few() -> tuple[float, ...]:
    """The normal quantile over Student's, from no degree of freedom on."""
    level = (1 + LEVEL) / 2
    degrees = [step / _PER for step in range(1, _PER * _DEGREES + 1)]
    return (0.0, *(round(float(norm.ppf(level) / t.ppf(level, one)), 5) for one in degrees))


def section(rows: Sequence[Row], found: Sequence[Picture]) -> str:
    """The list's place in the page, which the script fills, and the recorded episodes.

    Args:
        found: pictures from `simedit.eval.recordings.embedded`.
    """
    index = {row.trial: number for number, row in enumerate(rows)}
    groups: dict[tuple[str, Trial], list[Picture]] = {}
    for picture in found:
        groups.setdefault((picture.run, picture.trial), []).append(picture)
    figures = "".join(
        figure(group, index.get(trial), rows[index[trial]].outcome if trial in index else "")
        for (_, trial), group in groups.items()
    )
    recordings = ""
    if figures:
        recordings = (
            '<h3 id="recorded">Recorded episodes</h3>'
            '<p class="note">Left or above what the simulator renders, right or below what the policy sees, '
            "where that is edited.</p>"
            f"{left_out(found)}"
            '<p id="unrecorded" hidden>None of these trials is recorded here; the details of each in the '
            "list above say how to record it.</p>"
            f'<div class="grid episodes">{figures}</div>'
        )
    return (
        '<h2 id="trials" tabindex="-1">Trials and episodes</h2>'
        "<noscript><p>The list of all trials, its filters and what a link in a table or drawing shows need "
        "JavaScript. Everything else stands here without it.</p></noscript>"
        '<div id="controls" hidden><div id="facets"></div></div>'
        '<div id="status"><p id="count" role="status" aria-live="polite" tabindex="-1"></p>'
        '<button type="button" id="clear" hidden>Clear filters</button></div>'
        '<div id="listing" hidden><div class="scroll"><table id="list">'
        '<caption class="unseen">Trials; a heading sorts them</caption><thead></thead><tbody></tbody>'
        "</table></div>"
        '<div id="pages"><button type="button" id="before">Previous</button><span id="where"></span>'
        f'<button type="button" id="after">Next</button></div></div>{recordings}'
    )


def fitted(build: Callable[[Sequence[Picture]], str], found: Sequence[Picture], limit: int) -> str:
    """The page that `build` makes of pictures, with as many of them as keep it under `limit` bytes."""
    bare = build([])
    return build(embedded(found, limit - len(bare.encode()))) if found else bare
