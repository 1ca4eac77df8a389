"""The report of a study: one HTML file that needs no other file and no network."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from simedit.eval.compare import FEWEST_SITUATIONS
from simedit.eval.episodes import Row, fitted, listed, section, study_columns
from simedit.eval.figures import colour, mark, scatter
from simedit.eval.headline import domain_name, headline, number
from simedit.eval.page import contents, link, page, table, warnings_box
from simedit.eval.recordings import LIMIT, Picture

Shows = dict[str, str]


def html(summary: Mapping[str, Any], rows: Sequence[Row], pictures: Sequence[Picture]) -> str:
    """The whole page, under 20 MB: what of the pictures has no room there is said.

    Args:
        summary: from `simedit.eval.summary.summarise`.
        rows: from `simedit.eval.episodes.study_rows`.
        pictures: strips and videos to embed, those first that matter most.
    """
    predicting = {domain: blocks for domain, blocks in summary["domains"].items() if _has_real(blocks)}
    # Rates are of these trials alone.
    counted = {"compared": "yes"} if summary["left_out"] else {}
    titles = {"predicts": "Prediction", "rates": "Success rates"}
    titles |= {"scatter": "Plots"} if predicting else {}
    titles |= {"styles": "By style"} if summary["styles"] else {}
    titles |= {"places": "Scenes", "reading": "How to read this", "trials": "Trials and episodes"}
    parts = [
        '<p class="kicker">simedit evaluation report</p>',
        f"<h1>{escape(headline(summary))}</h1>",
        contents(titles),
        warnings_box(summary["warnings"]),
        _metrics(summary, predicting),
        '<h2 id="rates">Success rates</h2>',
        '<p class="note">Bar: simulated success rate. Line across it: its 95 % interval over situations. '
        f"Upright mark: the rate called {escape(summary['real']['name'])}. Trials that not every policy "
        "finished are left out. A rate, a point and a cell each lead to their trials.</p>",
        *(_rates(summary, domain, counted) for domain in summary["domains"]),
        *_scatters(summary, predicting, counted),
        _styles(summary, counted),
        '<h2 id="places">Where each policy succeeds</h2>',
        f'<p class="note">Successes of trials by {escape(" and ".join(summary["config"]["scenes"]))}.</p>',
        *_heat_maps(summary),
        '<h2 id="reading">How to read this</h2>',
        *_how_to_read(summary),
    ]
    config = (
        "<details><summary>The config of this study</summary>"
        f"<pre>{escape(json.dumps(summary['config'], indent=2))}</pre></details>"
    )
    axes = list(summary["config"]["scenes"])
    rates = {"outcome": "success rate"}
    data = listed(study_columns(rows), rows, axes, rates, policies=summary["config"]["policies"])

    def build(found: Sequence[Picture]) -> str:
        return page("simedit evaluation", [*parts, section(rows, found), config], data=data)

    return fitted(build, pictures, LIMIT)


def _how_to_read(summary: Mapping[str, Any]) -> Iterable[str]:
    real = summary["real"]
    yield (
        "<p>MMRV (mean maximum rank violation): for each policy, the largest difference of real rates among "
        "the pairs that simulation ranks the other way, averaged over the policies; 0 is a perfect ranking. "
        "It is SIMPLER's (arXiv 2405.05941). r: Pearson correlation of simulated with real rates; 1 is best. "
        "It is undefined where all rates of one side are equal (SIMPLER's r, 0 there, is in report.json). "
        + (
            f"Real stands for {escape(real['name'])}, no robot, throughout.</p>"
            if real["stand_in"]
            else "</p>"
        )
    )
    yield (
        "<p>Brackets hold 95 % intervals. What is uncertain is the situation, one task and scene: "
        "seeds, styles and variants that were played in it are one cluster, so repeats narrow nothing. Rates "
        "have Wilson's interval with the effective number of trials that the clusters show, and the mean of "
        "the tasks' rates the interval that follows from both. For MMRV and r situations are "
        "weighed anew, the same for all policies and domains (Bayesian bootstrap, with Jeffreys' prior on "
        f"each rate); with fewer than {FEWEST_SITUATIONS} situations a task they have none. A trial's result "
        "is the test at its last step.</p>"
    )
    left_out = " Compared says whether every policy finished a trial; no other counts in the rates above."
    yield (
        "<p>The rate over the list of trials is of all that are shown, whatever policies and tasks they are "
        f"of, with the same interval.{left_out if summary['left_out'] else ''}</p>"
    )
    source = real["source"].rstrip(".")
    if any(_has_real(blocks) for blocks in summary["domains"].values()):
        exact = ", ".join(real["exact"])
        counted = "; their counts enter the intervals of MMRV and r"
        source += f". Without counts, and so taken as exact: {exact}" if exact else counted
    yield f"<p>Rates called {escape(real['name'])}: {escape(source)}.</p>"


def _metrics(summary: Mapping[str, Any], predicting: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["domains"].values())))
    rows = [
        [
            f"{label}, {escape(domain_name(domain))}",
            *(_with_interval(blocks[name], key) for name in names),
        ]
        for key, label in (("mmrv", "MMRV &darr;"), ("pearson_r", "r &uarr;"))
        for domain, blocks in predicting.items()
    ]
    counts = summary["trials"]
    done = f"{counts['finished']} of {counts['wanted']} trials finished, {counts['errors']} errors"
    done += f", {counts['absent']} absent." if counts["absent"] else "."
    title = f"How well simulation predicts {_truth(summary)}"
    found = table(title, ["", *map(escape, names)], rows) if rows else ""
    return f'<h2 id="predicts">{escape(title)}</h2>{found}<p class="note">{done}</p>'


def _truth(summary: Mapping[str, Any]) -> str:
    real = summary["real"]
    return real["name"] if real["stand_in"] else "reality"


def _has_real(blocks: Mapping[str, Any]) -> bool:
    return any(entry["real"] is not None for block in blocks.values() for entry in block["policies"].values())


def _rates(summary: Mapping[str, Any], domain: str, counted: Shows) -> str:
    blocks, truth = summary["domains"][domain], summary["real"]["name"]
    rows = [
        [
            f"{mark(index)} {escape(policy)}",
            *(
                _bar(block["policies"][policy], index, truth, _of(policy, domain, name) | counted)
                for name, block in blocks.items()
            ),
        ]
        for index, policy in enumerate(summary["config"]["policies"])
    ]
    name = domain_name(domain)
    return f"<h3>{escape(name)}</h3>" + table(
        f"Success rates, {name}", ["policy", *map(escape, blocks)], rows
    )


def _of(policy: str, domain: str, task: str) -> dict[str, str]:
    """The filters of these trials; an average is of all tasks."""
    return {"policy": policy, "domain": domain} | ({} if task == "average" else {"task": task})


def _scatters(summary: Mapping[str, Any], predicting: Mapping[str, Any], counted: Shows) -> Iterable[str]:
    if not predicting:
        return
    truth, name = escape(_truth(summary)), summary["real"]["name"]
    yield f'<h2 id="scatter">Simulated against {escape(name)}</h2>'
    yield (
        f'<p class="note">A policy on the dashed line succeeds as often in simulation as in {truth}. '
        "What counts is that the order from left to right is the order from bottom to top.</p>"
    )
    policies = enumerate(summary["config"]["policies"])
    legend = "".join(f"<span>{mark(index)} {escape(policy)}</span>" for index, policy in policies)
    yield f'<p class="legend">{legend}</p>'
    for domain, blocks in predicting.items():
        figures = "".join(
            f"<figure><figcaption>{escape(task)}</figcaption>"
            f"{scatter(block, real=name, shows=_domain(domain, task) | counted)}</figure>"
            for task, block in blocks.items()
        )
        yield f'<h3>{escape(domain_name(domain))}</h3><div class="grid">{figures}</div>'


def _domain(domain: str, task: str) -> dict[str, str]:
    return {"domain": domain} | ({} if task == "average" else {"task": task})


def _styles(summary: Mapping[str, Any], counted: Shows) -> str:
    styles, policies = summary["styles"], list(summary["config"]["policies"])
    if not styles:
        return ""
    tasks = list(dict.fromkeys(entry["task"] for entry in styles))
    counts = {(entry["style"], entry["policy"], entry["task"]): entry for entry in styles}
    rows = [
        [
            escape(style),
            *(
                " / ".join(_share(counts[style, policy, task], counted) for task in tasks)
                for policy in policies
            ),
        ]
        for style in dict.fromkeys(entry["style"] for entry in styles)
    ]
    note = f'<p class="note">Success rates, {escape(" / ".join(tasks))}.</p>'
    found = table("Success rates by style", ["style", *map(escape, policies)], rows)
    return f'<h2 id="styles">By style</h2>{note}{found}'


def _heat_maps(summary: Mapping[str, Any]) -> Iterable[str]:
    """The last axis of the scenes from left to right, the others from top to bottom."""
    config = summary["config"]
    *down, (_, across) = config["scenes"].items()
    lines = list(itertools.product(*(values for _, values in down)))
    axes = list(config["scenes"])
    cells = {tuple(c[k] for k in ("domain", "policy", "task", "scene")): c for c in summary["cells"]}
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in across)
    for index, domain in enumerate(summary["domains"]):
        figures = []
        for policy in config["policies"]:
            for task in config["tasks"]:
                body = "".join(
                    f'<tr><th scope="row">{escape(" ".join(line))}</th>'
                    + "".join(
                        _cell(cells[domain, policy, task, "/".join((*line, name))], axes) for name in across
                    )
                    + "</tr>"
                    for line in lines
                )
                figures.append(
                    f"<figure><figcaption>{escape(policy)}, {escape(task)}</figcaption>"
                    f'<table class="heat" style="max-width:{3.6 + 2.4 * len(across):.1f}rem">'
                    f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></figure>"
                )
        opened = " open" if index == 0 else ""
        yield (
            f"<details{opened}><summary>{escape(domain_name(domain))}</summary>"
            f'<div class="grid">{"".join(figures)}</div></details>'
        )


def _cell(count: Mapping[str, Any], axes: Sequence[str]) -> str:
    shows = {key: count[key] for key in ("domain", "policy", "task")}
    shows |= dict(zip(axes, count["scene"].split("/"), strict=True))
    place = ", ".join(shows.values())
    if not count["n"]:
        held = link("error", shows, f"error, {place}") if count["errors"] else "&ndash;"
        return f'<td class="none">{held}</td>'
    text = f"{count['successes']}/{count['n']}"
    rate = count["successes"] / count["n"]
    return f'<td style="--rate:{rate:.3f}">{link(text, shows, f"{text}, {place}")}</td>'


def _bar(entry: Mapping[str, Any], index: int, truth: str, shows: Shows) -> str:
    if entry["sim"] is None:
        return "&ndash;"
    parts = f'<i class="{colour(index)}" style="width:{entry["sim"]:.1%}"></i>'
    if entry["wilson"]:
        low, high = entry["wilson"]
        parts += f'<b style="left:{low:.1%};width:{high - low:.1%}"></b>'
    if entry["real"] is not None:
        parts += f'<u style="left:{entry["real"]:.1%}"></u>'
    interval = "[{:.2f}, {:.2f}], ".format(*entry["wilson"]) if entry["wilson"] else ""
    errors = f", {entry['errors']} errors" if entry["errors"] else ""
    real = "" if entry["real"] is None else f"<br>{escape(truth)} {entry['real']:.2f}"
    counts = f"{interval}n {entry['n']}{errors}{real}"
    rate = f"{entry['sim']:.2f}"
    shown = link(rate, shows, f"{rate}, {', '.join(shows.values())}")
    return f'<span class="bar" aria-hidden="true">{parts}</span>{shown} <small>{counts}</small>'


def _share(count: Mapping[str, Any], counted: Shows) -> str:
    if not count["n"]:
        return "&ndash;"
    rate = f"{count['successes'] / count['n']:.2f}"
    shows = {key: count[key] for key in ("style", "policy", "task")}
    return link(rate, shows | counted, f"{rate}, {', '.join(shows.values())}")


def _with_interval(block: Mapping[str, Any], key: str) -> str:
    if block["pearson_r_simpler"] is None:
        return "&ndash;"
    value, _, ci = number(block[key], block[f"{key}_ci"]).partition(" ")
    return value + (f" <small>{ci}</small>" if ci else "")
