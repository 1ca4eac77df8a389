"""The report: one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from simedit.eval.figures import PALETTE, scatter
from simedit.eval.trials import Trial

_DOMAINS = {
    "raw": "raw renders",
    "vismatch": "Visual Matching frames",
    "varagg": "Variant Aggregation frames",
    "edited": "edited frames",
    "proxy_real": "proxy-real photographs",
}
_SCATTERS = (
    "<h2>Simulated against real</h2>"
    '<p class="note">A policy on the dashed line succeeds as often in simulation as in reality. '
    "What counts is that the order from left to right is the order from bottom to top.</p>"
)


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
    policies = list(summary["config"]["policies"])
    predicting = {domain: blocks for domain, blocks in summary["domains"].items() if _has_real(blocks)}
    colours = {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(policies)}
    parts = [
        '<p class="kicker">simedit evaluation report</p>',
        f"<h1>{escape(headline(summary))}</h1>",
        _warnings(summary["warnings"]),
        _metrics(summary, predicting),
        "<h2>Success rates</h2>",
        '<p class="note">Bar: simulated success rate. Line across it: 95 % Wilson interval. '
        "Upright mark: the real rate. Errors are left out of the rates.</p>",
        *(_rates(domain, blocks, colours) for domain, blocks in summary["domains"].items()),
        _SCATTERS if predicting else "",
        *(_scatters(domain, blocks) for domain, blocks in predicting.items()),
        _styles(summary["styles"], colours),
        "<h2>Where each policy succeeds</h2>",
        '<p class="note">Successes of trials by drawer and robot pose: a, b and c stand side by side, '
        "0 is nearest to the cabinet.</p>",
        *_heat_maps(summary),
        *_pictures(pictures),
        "<h2>How to read this</h2>",
        "<p>MMRV (mean maximum rank violation): for each policy, the largest difference of real rates among "
        "the pairs that simulation ranks the other way, averaged over the policies; 0 is a perfect ranking. "
        "r: Pearson correlation of simulated with real rates; 1 is best. Both as SIMPLER (arXiv 2405.05941) "
        "computes them. Brackets hold 95 % bootstrap intervals over (task, drawer, pose, seed), the same "
        "resamples for all policies and domains; real rates are taken as exact. The average rate is the mean "
        "of the open and the close rate. A trial's result is the test at its last step.</p>",
        f"<p>Real rates: {escape(summary['real']['source'])}</p>",
        "<details><summary>The config of this study</summary>"
        f"<pre>{escape(json.dumps(summary['config'], indent=2))}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>simedit evaluation</title><style>\n{css}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def headline(summary: Mapping[str, Any]) -> str:
    """The study's result in a sentence or two, or why there is none yet."""
    counts = summary["trials"]
    if not counts["finished"]:
        return "No trial has finished yet."
    if not summary["meaningful"]:
        return "This run exercises the whole line. Its numbers say nothing about reality yet."
    found = []
    for domain, blocks in summary["domains"].items():
        name, block = list(blocks.items())[-1]
        if block["mmrv"] is not None:
            rank = "rank as reality does" if block["mmrv"] == 0 else "do not quite rank as reality does"
            found.append(
                f"{_DOMAINS[domain]} {rank} ({name} MMRV {block['mmrv']:.3f}, r {block['pearson_r']:.3f})"
            )
    if not found:
        return "There are rates, but no correlation: it needs real rates, and trials of two policies or more."
    text = "; ".join(found) + "."
    early = f"So far ({counts['finished']} of {counts['wanted']} trials): " if counts["missing"] else ""
    return early + (text if early else text[0].upper() + text[1:])


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings" role="note"><strong>Before the numbers</strong><ul>{items}</ul></div>'


def _metrics(summary: Mapping[str, Any], predicting: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["domains"].values())))
    rows = [
        [
            f"{label}, {escape(_DOMAINS[domain])}",
            *(_with_interval(blocks[name][key], blocks[name][f"{key}_ci"]) for name in names),
        ]
        for key, label in (("mmrv", "MMRV &darr;"), ("pearson_r", "r &uarr;"))
        for domain, blocks in predicting.items()
    ]
    counts = summary["trials"]
    done = f"{counts['finished']} of {counts['wanted']} trials finished, {counts['errors']} errors"
    done += f", {counts['absent']} absent." if counts["absent"] else "."
    table = _table(["", *names], rows) if rows else ""
    return f'<h2>How well simulation predicts reality</h2>{table}<p class="note">{done}</p>'


def _has_real(blocks: Mapping[str, Any]) -> bool:
    return any(entry["real"] is not None for block in blocks.values() for entry in block["policies"].values())


def _rates(domain: str, blocks: Mapping[str, Any], colours: Mapping[str, str]) -> str:
    rows = [
        [_policy(policy, colour), *(_bar(block["policies"][policy], colour) for block in blocks.values())]
        for policy, colour in colours.items()
    ]
    return f"<h3>{escape(_DOMAINS[domain])}</h3>" + _table(["policy", *blocks], rows)


def _scatters(domain: str, blocks: Mapping[str, Any]) -> str:
    figures = "".join(
        f"<figure><figcaption>{name}</figcaption>{scatter(block, name=f'{domain}-{name}')}</figure>"
        for name, block in blocks.items()
    )
    return f'<h3>{escape(_DOMAINS[domain])}</h3><div class="grid">{figures}</div>'


def _styles(styles: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> str:
    if not styles:
        return ""
    tasks = list(dict.fromkeys(entry["task"] for entry in styles))
    counts = {(entry["style"], entry["policy"], entry["task"]): entry for entry in styles}
    rows = [
        [
            escape(style),
            *(" / ".join(_share(counts[style, policy, task]) for task in tasks) for policy in colours),
        ]
        for style in dict.fromkeys(entry["style"] for entry in styles)
    ]
    note = f'<p class="note">Success rates, {" / ".join(tasks)}.</p>'
    return "<h2>By style</h2>" + note + _table(["style", *map(escape, colours)], rows)


def _heat_maps(summary: Mapping[str, Any]) -> Iterable[str]:
    config = summary["config"]
    cells = {tuple(c[k] for k in ("domain", "policy", "task", "drawer", "pose")): c for c in summary["cells"]}
    for index, domain in enumerate(summary["domains"]):
        figures = []
        for policy in config["policies"]:
            for task in config["tasks"]:
                head = "".join(f"<th>{pose}</th>" for pose in config["poses"])
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
            f"<details{opened}><summary>{escape(_DOMAINS[domain])}</summary>"
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
        source = _data(picture.path, "image/png")
        yield f'<figure class="strip"><img alt="{escape(str(picture.trial))}" src="{source}">'
        yield f"{_caption(picture)}</figure>"
    if videos:
        yield '<h2>Videos</h2><div class="grid">'
        for picture in videos:
            source = _data(picture.path, "video/mp4")
            yield f'<figure><video controls muted loop playsinline preload="metadata" src="{source}"></video>'
            yield f"{_caption(picture)}</figure>"
        yield "</div>"


def _caption(picture: Picture) -> str:
    return f"<figcaption>{escape(str(picture.trial))}: {picture.outcome}</figcaption>"


def _data(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


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


def _policy(name: str, colour: str) -> str:
    return f'<span class="dot" style="background:{colour}"></span>{escape(name)}'


def _bar(entry: Mapping[str, Any], colour: str) -> str:
    if entry["sim"] is None:
        return "&ndash;"
    parts = f'<i style="width:{entry["sim"]:.1%};background:{colour}"></i>'
    if entry["wilson"]:
        low, high = entry["wilson"]
        parts += f'<b style="left:{low:.1%};width:{high - low:.1%}"></b>'
    if entry["real"] is not None:
        parts += f'<u style="left:{entry["real"]:.1%}"></u>'
    real = "" if entry["real"] is None else f"real {entry['real']:.2f}, "
    errors = f", {entry['errors']} errors" if entry["errors"] else ""
    return f'<span class="bar">{parts}</span>{entry["sim"]:.2f} <small>{real}n {entry["n"]}{errors}</small>'


def _share(count: Mapping[str, Any]) -> str:
    return f"{count['successes'] / count['n']:.2f}" if count["n"] else "&ndash;"


def _with_interval(value: float | None, ci: Sequence[float] | None) -> str:
    if value is None:
        return "&ndash;"
    return f"{value:.3f}" + (f" <small>[{ci[0]:.3f}, {ci[1]:.3f}]</small>" if ci else "")
