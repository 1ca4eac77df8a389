"""The shell of a page that needs no other file and no network, and what its parts are made of.

Names and messages come from other people's folders: each is escaped where it becomes HTML, what the script
reads is JSON that no parser of HTML sees, the script writes text alone, and no other script could run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

_DATA = Path(__file__).parent / "data"


def page(
    title: str,
    sections: Iterable[str],
    *,
    data: Mapping[str, Any],
    script: str = "report.js",
    skip: tuple[str, str] = ("trials", "the trials"),
) -> str:
    """The whole page.

    Args:
        title: of the window.
        sections: HTML.
        data: what the script shows and filters; see `simedit.eval.episodes`.
        script: its name among the pages' data.
        skip: id and name of where the first link leads, past everything else.
    """
    css = (_DATA / "report.css").read_text(encoding="utf-8")
    code = (_DATA / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; media-src data:; "
        f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    # As JSON writes them anyway, these say the same and end no element.
    held = json.dumps(data, separators=(",", ":"))
    for sign in "<>&":
        held = held.replace(sign, f"\\u{ord(sign):04x}")
    whole = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{css}</style></head><body>\n"
        f'<a class="skip" href="#{skip[0]}">Skip to {skip[1]}</a>\n<main>\n'
        + "\n".join(filter(None, sections))
        + f'\n</main>\n<script type="application/json" id="data">{held}</script>'
        f"\n<script>{code}</script></body></html>\n"
    )
    return whole.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be written


def contents(titles: Mapping[str, str]) -> str:
    """Links to the page's sections, from id to title."""
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title in titles.items())
    return f'<nav aria-label="Sections of this page">{links}</nav>'


def warnings_box(warnings: Sequence[str], title: str = "Before the numbers") -> str:
    """What must be read first; nothing without any."""
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<div class="warnings" role="note"><strong>{escape(title)}</strong><ul>{items}</ul></div>'


def link(inner: str, shows: Mapping[str, str], name: str) -> str:
    """A link that shows the trials of these filters.

    Args:
        inner: HTML.
        shows: from a filter to its value; see `simedit.eval.episodes`.
        name: what it is called where its place on the page cannot be seen, without the word "show".
    """
    target = urlencode({key: value.encode("utf-8", "replace") for key, value in shows.items()})
    return f'<a class="show" href="#{escape(target)}" aria-label="{escape(name)}: show trials">{inner}</a>'


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; on a narrow page each row becomes a block that repeats the headings.

    Args:
        caption: what the table is called, for those who do not see where it stands.
    """
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f'<td data-of="{name}">{cell}</td>' for name, cell in zip(head[1:], row[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption class="unseen">{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )
