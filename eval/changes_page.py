"""The page of two runs compared, made as the report is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.eval.changes import LEVEL, headline, signed
from simedit.eval.compare import FEWEST_SITUATIONS
from simedit.eval.episodes import OUTCOMES, Column, Row, fitted, listed, section
from simedit.eval.headline import domain_name
from simedit.eval.page import contents, link, page, table, warnings_box
from simedit.eval.recordings import LIMIT, Picture
from simedit.eval.trials import Trial
from simedit.eval.two_runs import Run

_TITLE = b" compared</title>"
_ABSENT = "not stored"
_CHANGES = ("gained", "lost", "same", "not compared")
_KINDS = {"settings": "Settings", "files": "Fingerprints of files", "versions": "Versions and machine"}


def changes_html(found: Mapping[str, Any], first: Run, second: Run) -> str:
    """The whole page, under 20 MB.

    Args:
        found: from `simedit.eval.changes.changes`, of the same runs.
    """
    titles = {"rates": "Success rates", "prediction": "Prediction", "differs": "What differs"}
    titles |= {"reading": "How to read this", "trials": "Trials and episodes"}
    names = [escape(run.name) for run in (first, second)]
    parts = [
        f'<p class="kicker">simedit: {names[0]} (first) and {names[1]} (second) compared</p>',
        f"<h1>{escape(headline(found))}</h1>",
        contents(titles),
        warnings_box(found["warnings"]),
        '<h2 id="rates">Success rates</h2>',
        f'<p class="note">Over the {found["shared"]} trials that both runs finished. A number of gained or '
        "lost trials leads to them. Unshared: trials that the first or the second alone finished.</p>",
        *_rates(found, names),
        *_prediction(found, names),
        *_differs(found, names),
        '<h2 id="reading">How to read this</h2>',
        _HOW,
    ]
    rows = _rows(first, second)
    data = listed(
        (
            Column("change", "change", order=_CHANGES, signs=True),
            Column("first", first.name, order=(*OUTCOMES, _ABSENT), signs=True),
            Column("second", second.name, order=(*OUTCOMES, _ABSENT), signs=True),
        ),
        rows,
        list(first.config.scenes),
        {"first": first.name, "second": second.name},
        start="change=gained&change=lost",
    )
    pictures = _interleaved(rows, first.pictures, second.pictures)

    def build(shown: Sequence[Picture]) -> str:
        title = f"{first.name} and {second.name} compared"
        return page(title, [*parts, section(rows, shown)], data=data)

    return fitted(build, pictures, LIMIT)


def save_page(path: Path, page: str) -> None:
    """Write the page, whole or not at all, in place of an earlier one.

    Raises:
        SimeditError: it cannot be written, or something else than a page lies there.
    """
    try:
        start = path.open("rb").read(2000) if path.is_file() else _TITLE
    except OSError as error:
        raise SimeditError(f"cannot read {path}: {error.strerror}") from error
    if _TITLE not in start:
        raise SimeditError(f"{path} is there and no page of this kind: give another --out")
    with whole(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _rows(first: Run, second: Run) -> list[Row]:
    rows = []
    for trial in dict.fromkeys([*first.outcomes, *second.outcomes]):
        one, two = (str(run.outcomes.get(trial, _ABSENT)) for run in (first, second))
        change = "same"
        if {one, two} & {"error", _ABSENT}:
            change = "not compared"
        elif one != two:
            change = "gained" if two == "success" else "lost"
        notes = [
            (run.name, run.results[trial].message)
            for run in (first, second)
            if trial in run.results and run.results[trial].message
        ]
        said = f"{one} in {first.name}, {two} in {second.name}"
        rows.append(Row(trial, {"change": change, "first": one, "second": two}, said, notes))
    return rows


def _interleaved(rows: Sequence[Row], first: Sequence[Picture], second: Sequence[Picture]) -> list[Picture]:
    """Those of flipped trials first, a trial's of both runs one after the other."""
    by_trial: dict[Trial, list[Picture]] = {}
    for picture in (*first, *second):
        by_trial.setdefault(picture.trial, []).append(picture)
    flipped = {row.trial for row in rows if row.more["change"] in ("gained", "lost")}
    order = sorted(by_trial, key=lambda trial: trial not in flipped)
    return [picture for trial in order for picture in by_trial[trial]]


def _rates(found: Mapping[str, Any], names: Sequence[str]) -> Iterable[str]:
    head = [
        *("trials", *names, "difference", "gained", "lost", "p (Holm's)"),
        "McNemar's (Holm's)",
        "unshared",
    ]
    tasks = {row["task"] for row in found["by_task"]}
    families = [("rates", "By policy and domain"), ("by_task", "By policy, domain and task")]
    for key, title in families if len(tasks) > 1 else families[1:]:
        rows = []
        for row in found[key]:
            of = {name: row[name] for name in ("policy", "domain", "task") if name in row}
            p, alone = (f"{_p(row[key])} ({_p(row[f'{key}_holm'])})" for key in ("p", "p_trials"))
            rows.append(
                [
                    escape(", ".join(of.values())),
                    f"{row['n']}",
                    *(_interval(rate, ci) for rate, ci in zip(row["rates"], row["wilson"], strict=True)),
                    _interval(row["difference"], row["difference_ci"], signed),
                    *(_count(row[change], change, of) for change in ("gained", "lost")),
                    f"<strong>{p}</strong>" if row["p_holm"] < LEVEL else p,
                    alone,
                    " / ".join(map(str, row["only"])),
                ]
            )
        yield f"<h3>{title}</h3>" + table(f"Success rates of both runs, {title}", ["", *head], rows)


def _prediction(found: Mapping[str, Any], names: Sequence[str]) -> Iterable[str]:
    yield '<h2 id="prediction">How well each predicts</h2>'
    rows = [
        [
            f"{label}, {escape(domain_name(block['domain']))}, {block['task']}",
            *(_interval(value, None, "{:.3f}".format) for value in block[key]),
            _interval(block[f"{key}_difference"], block[f"{key}_difference_ci"], _finely),
            f"{block['n']}",
        ]
        for key, label in (("mmrv", "MMRV &darr;"), ("pearson_r", "r &uarr;"))
        for block in found["metrics"]
    ]
    if rows:
        yield (
            '<p class="note">Over the trials that every policy of both runs finished in both, so that values '
            "may differ from each run's own report.</p>"
        )
        head = ["", *names, "difference", "trials a policy"]
        yield table("MMRV and r of both runs", head, rows)
    else:
        yield '<p class="note">It takes two policies or more that both runs have, with real rates.</p>'


def _differs(found: Mapping[str, Any], names: Sequence[str]) -> Iterable[str]:
    yield '<h2 id="differs">What differs</h2>'
    if not found["differs"]:
        yield "<p>Settings, fingerprints and versions that the run folders keep are the same.</p>"
    for kind, rows in found["differs"].items():
        yield f"<h3>{_KINDS[kind]}</h3>" + table(
            f"{_KINDS[kind]} that differ",
            ["", *names],
            [[escape(key), *map(_value, pair)] for key, *pair in rows],
        )


def _value(text: str) -> str:
    return f'<span class="value">{escape(text)}</span>'


def _count(count: int, change: str, of: Mapping[str, str]) -> str:
    name = f"{count} {change}, {', '.join(of.values())}"
    return link(str(count), {**of, "change": change}, name) if count else "0"


def _interval(
    value: float | None, ci: Sequence[float] | None, shown: Callable[[float], str] = "{:.2f}".format
) -> str:
    if value is None:
        return "undefined"
    return shown(value) + (f" <small>[{shown(ci[0])}, {shown(ci[1])}]</small>" if ci else "")


def _finely(value: float) -> str:
    return signed(value, 3)


def _p(p: float) -> str:
    return "&lt; 0.001" if p < 0.001 else f"{p:.3f}"


_HOW = f"""\
<p>Only trials that both runs finished are compared, each with itself: gained are those that failed in the
first and succeeded in the second, lost the other way round. Rates have Wilson's interval over situations, as
in the report; the difference's is the Bayesian bootstrap over situations (Jeffreys' prior on the four ends of
a pair), and has none below {FEWEST_SITUATIONS} situations.</p>
<p>p is of the exact randomisation test over situations, one task and scene: how often would signs
alone, drawn anew for each situation's change, give so large a sum? Where no situation changes by more than
one trial it is McNemar's exact test. Beside it stands McNemar's own, the sign test of all gained and lost
trials; it takes seeds, styles and variants of a situation for independent, which they are not. In parentheses
each stands after Holm's correction for the rows of its table; strong where that is below {LEVEL}.</p>
<p>MMRV and r: each draw weighs the situations anew, the same for both runs and all policies, and draws the
same real rates where these are the same; the interval is of the second value less the first.</p>"""
