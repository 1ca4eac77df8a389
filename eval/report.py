"""The report: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from simedit.eval.compare import FEWEST_SITUATIONS
from simedit.eval.figures import look, mark, scatter
from simedit.eval.headline import DOMAINS, headline, number
from simedit.eval.trials import Trial

# Nothing runs and nothing is fetched, whatever a name or a message in a foreign store holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


@dataclass(frozen=True)
class Picture:
    """A recorded trial: the strip (PNG) or the video (MP4) at `path`, and what came of the trial."""

    path: Path
    trial: Trial
    outcome: str


def html(summary: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The whole page.

    Args:
        summary: from `simedit.eval.summary.summarise`.
        pictures: strips and videos to embed.
    """
    css = (Path(__file__).parent / "data" / "report.css").read_text(encoding="utf-8")
    truth = summary["real"]["name"]
    predicting = {domain: blocks for domain, blocks in summary["domains"].items() if _has_real(blocks)}
    parts = [
        '<p class="kicker">simedit evaluation report</p>',
        f"<h1>{escape(headline(summary))}</h1>",
        _warnings(summary["warnings"]),
        _metrics(summary, predicting),
        "<h2>Success rates</h2>",
        '<p class="note">Bar: simulated success rate. Line across it: its 95 % interval over situations. '
        f"Upright mark: the rate called {escape(truth)}. Trials that not every policy finished are left "
        "out.</p>",
        *(_rates(summary, domain) for domain in summary["domains"]),
        *_scatters(summary, predicting),
        _styles(summary),
        "<h2>Where each policy succeeds</h2>",
        '<p class="note">Successes of trials by drawer and robot pose: a, b and c stand side by side, '
        "0 is nearest to the cabinet.</p>",
        *_heat_maps(summary),
        *_pictures(pictures),
        "<h2>How to read this</h2>",
        *_how_to_read(summary),
        "<details><summary>The config of this study</summary>"
        f"<pre>{escape(json.dumps(summary['config'], indent=2))}</pre></details>",
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>simedit evaluation</title><style>\n{css}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    return page.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written


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
        "<p>Brackets hold 95 % intervals. What is uncertain is the situation, one task, drawer and pose: "
        "seeds, styles and variants that were played in it are one cluster, so repeats narrow nothing. Rates "
        "have Wilson's interval with the effective number of trials that the clusters show, and the mean of "
        "the open and the close rate the interval that follows from both. For MMRV and r situations are "
        "weighed anew, the same for all policies and domains (Bayesian bootstrap, with Jeffreys' prior on "
        f"each rate); with fewer than {FEWEST_SITUATIONS} situations a task they have none. A trial's result "
        "is the test at its last step.</p>"
    )
    source = real["source"].rstrip(".")
    if any(_has_real(blocks) for blocks in summary["domains"].values()):
        exact = ", ".join(real["exact"])
        counted = "; their counts enter the intervals of MMRV and r"
        source += f". Without counts, and so taken as exact: {exact}" if exact else counted
    yield f"<p>Rates called {escape(real['name'])}: {escape(source)}.</p>"


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings" role="note"><strong>Before the numbers</strong><ul>{items}</ul></div>'


def _metrics(summary: Mapping[str, Any], predicting: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["domains"].values())))
    rows = [
        [
            f"{label}, {escape(DOMAINS[domain])}",
            *(_with_interval(blocks[name], key) for name in names),
        ]
        for key, label in (("mmrv", "MMRV &darr;"), ("pearson_r", "r &uarr;"))
        for domain, blocks in predicting.items()
    ]
    counts = summary["trials"]
    done = f"{counts['finished']} of {counts['wanted']} trials finished, {counts['errors']} errors"
    done += f", {counts['absent']} absent." if counts["absent"] else "."
    table = _table(["", *names], rows) if rows else ""
    title = f"How well simulation predicts {escape(_truth(summary))}"
    return f'<h2>{title}</h2>{table}<p class="note">{done}</p>'


def _truth(summary: Mapping[str, Any]) -> str:
    real = summary["real"]
    return real["name"] if real["stand_in"] else "reality"


def _has_real(blocks: Mapping[str, Any]) -> bool:
    return any(entry["real"] is not None for block in blocks.values() for entry in block["policies"].values())


def _rates(summary: Mapping[str, Any], domain: str) -> str:
    blocks, truth = summary["domains"][domain], summary["real"]["name"]
    rows = [
        [
            f"{mark(index)} {escape(policy)}",
            *(_bar(block["policies"][policy], index, truth) for block in blocks.values()),
        ]
        for index, policy in enumerate(summary["config"]["policies"])
    ]
    return f"<h3>{escape(DOMAINS[domain])}</h3>" + _table(["policy", *blocks], rows)


def _scatters(summary: Mapping[str, Any], predicting: Mapping[str, Any]) -> Iterable[str]:
    if not predicting:
        return
    truth, name = escape(_truth(summary)), summary["real"]["name"]
    yield f"<h2>Simulated against {escape(name)}</h2>"
    yield (
        f'<p class="note">A policy on the dashed line succeeds as often in simulation as in {truth}. '
        "What counts is that the order from left to right is the order from bottom to top.</p>"
    )
    policies = enumerate(summary["config"]["policies"])
    legend = "".join(f"<span>{mark(index)} {escape(policy)}</span>" for index, policy in policies)
    yield f'<p class="legend">{legend}</p>'
    for domain, blocks in predicting.items():
        figures = "".join(
            f"<figure><figcaption>{task}</figcaption>"
            f"{scatter(block, real=name, name=f'{domain}-{task}')}</figure>"
            for task, block in blocks.items()
        )
        yield f'<h3>{escape(DOMAINS[domain])}</h3><div class="grid">{figures}</div>'


def _styles(summary: Mapping[str, Any]) -> str:
    styles, policies = summary["styles"], list(summary["config"]["policies"])
    if not styles:
        return ""
    tasks = list(dict.fromkeys(entry["task"] for entry in styles))
    counts = {(entry["style"], entry["policy"], entry["task"]): entry for entry in styles}
    rows = [
        [
            escape(style),
            *(" / ".join(_share(counts[style, policy, task]) for task in tasks) for policy in policies),
        ]
        for style in dict.fromkeys(entry["style"] for entry in styles)
    ]
    note = f'<p class="note">Success rates, {" / ".join(tasks)}.</p>'
    return "<h2>By style</h2>" + note + _table(["style", *map(escape, policies)], rows)


def _heat_maps(summary: Mapping[str, Any]) -> Iterable[str]:
    config = summary["config"]
    cells = {tuple(c[k] for k in ("domain", "policy", "task", "drawer", "pose")): c for c in summary["cells"]}
    for index, domain in enumerate(summary["domains"]):
        figures = []
        for policy in config["policies"]:
            for task in config["tasks"]:
                head = "".join(f"<th>{escape(pose)}</th>" for pose in config["poses"])
                body = "".join(
                    f"<tr><th>{drawer}</th>"
                    + "".join(_cell(cells[domain, policy, task, drawer, pose]) for pose in config["poses"])
                    + "</tr>"
                    for drawer in config["drawers"]
                )
                figures.append(
                    f"<figure><figcaption>{escape(policy)}, {task}</figcaption>"
                    f'<table class="heat" style="max-width:{3.6 + 2.4 * len(config["poses"]):.1f}rem">'
                    f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></figure>"
                )
        opened = " open" if index == 0 else ""
        yield (
            f"<details{opened}><summary>{escape(DOMAINS[domain])}</summary>"
            f'<div class="grid">{"".join(figures)}</div></details>'
        )


def _cell(count: Mapping[str, Any]) -> str:
    if not count["n"]:
        return f'<td class="none">{"error" if count["errors"] else "&ndash;"}</td>'
    return f'<td style="--rate:{count["successes"] / count["n"]:.3f}">{count["successes"]}/{count["n"]}</td>'


def _pictures(pictures: Sequence[Picture]) -> Iterable[str]:
    strips = [picture for picture in pictures if picture.path.suffix == ".png"]
    videos = [picture for picture in pictures if picture.path.suffix == ".mp4"]
    if strips:
        yield "<h2>Before and after</h2>"
        if any(picture.trial.style for picture in strips):
            yield '<p class="note">Above what the simulator renders, below what the policy sees.</p>'
    for picture in strips:
        shown = _embedded(picture, '<img alt="{alt}" src="data:image/png;base64,{data}">')
        yield f'<figure class="strip">{shown}</figure>'
    if videos:
        yield '<h2>Videos</h2><div class="grid">'
        for picture in videos:
            tag = (
                '<video controls muted loop playsinline preload="metadata" '
                'src="data:video/mp4;base64,{data}"></video>'
            )
            yield f"<figure>{_embedded(picture, tag)}</figure>"
        yield "</div>"


def _embedded(picture: Picture, tag: str) -> str:
    """The picture and its caption, or the caption and why there is none."""
    caption, shown = f"{picture.trial}: {picture.outcome}", ""
    try:
        # A run folder from elsewhere must not carry this machine's files into a page that is passed on.
        if not picture.path.resolve().is_relative_to(picture.path.parent.parent.resolve()):
            caption += " (not shown: a link that leaves the run folder)"
        elif not picture.path.is_file():
            caption += " (not shown: no file)"
        else:
            data = base64.b64encode(picture.path.read_bytes()).decode()
            shown = tag.format(alt=escape(str(picture.trial)), data=data)
    except (OSError, RuntimeError) as error:  # before Python 3.13 links in a circle are a RuntimeError
        caption += f" (not shown: {getattr(error, 'strerror', None) or error})"
    return f"{shown}<figcaption>{escape(caption)}</figcaption>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; on a narrow page each row becomes a block that repeats the headings."""
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr><th>{row[0]}</th>"
        + "".join(f'<td data-of="{name}">{cell}</td>' for name, cell in zip(head[1:], row[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _bar(entry: Mapping[str, Any], index: int, truth: str) -> str:
    if entry["sim"] is None:
        return "&ndash;"
    parts = f'<i style="width:{entry["sim"]:.1%};background:{look(index)[0]}"></i>'
    if entry["wilson"]:
        low, high = entry["wilson"]
        parts += f'<b style="left:{low:.1%};width:{high - low:.1%}"></b>'
    if entry["real"] is not None:
        parts += f'<u style="left:{entry["real"]:.1%}"></u>'
    interval = "[{:.2f}, {:.2f}], ".format(*entry["wilson"]) if entry["wilson"] else ""
    errors = f", {entry['errors']} errors" if entry["errors"] else ""
    real = "" if entry["real"] is None else f"<br>{escape(truth)} {entry['real']:.2f}"
    counts = f"{interval}n {entry['n']}{errors}{real}"
    return f'<span class="bar">{parts}</span>{entry["sim"]:.2f} <small>{counts}</small>'


def _share(count: Mapping[str, Any]) -> str:
    return f"{count['successes'] / count['n']:.2f}" if count["n"] else "&ndash;"


def _with_interval(block: Mapping[str, Any], key: str) -> str:
    if block["pearson_r_simpler"] is None:
        return "&ndash;"
    value, _, ci = number(block[key], block[f"{key}_ci"]).partition(" ")
    return value + (f" <small>{ci}</small>" if ci else "")
