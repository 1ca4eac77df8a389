"""The page of simedit-score, made as reports are: tables, and the pictures in the order of any metric."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np
from PIL import Image

from simedit.eval.page import contents, page, table, warnings_box
from simedit.eval.recordings import LIMIT
from simedit.eval.scoring import words
from simedit.metrics import Scene

SIDE, QUALITY = 256, 82
"""Pixels of a picture's longer side on the page, and WebP's quality: for looking at, not for measuring."""
_EDGE = (255, 0, 220)


def page_html(found: Mapping[str, Any], read: Callable[[int], tuple[Scene, np.ndarray]]) -> str:
    """The whole page, under 20 MB.

    Args:
        found: from `simedit.eval.scoring.summary.summarise`.
        read: from an image's number to its scene and edits, uint8 [G, H, W, 3].
    """
    titles = {"means": "Means", "differences": "Against the first"}
    if len(found["editors"]) == 1:
        del titles["differences"]
    titles |= {"pictures": "Pictures", "reading": "What the metrics are"}
    parts = [
        '<p class="kicker">simedit-score</p>',
        f"<h1>{escape(words.headline(found))}</h1>",
        contents(titles),
        warnings_box(found["warnings"]),
        '<h2 id="means">Means</h2>',
        '<p class="note">Over the images; in brackets 95 % intervals (Bayesian bootstrap over images). '
        "&uarr;: higher is better, &darr;: lower.</p>",
        table("Means", ["metric", *map(escape, found["editors"])], list(_means(found))),
        *_differences(found),
    ]
    last = ['<h2 id="reading">What the metrics are</h2>', *_reading(found)]
    values = {name: [of[editor] for editor in found["editors"]] for name, of in found["values"].items()}
    data = {
        "metrics": [{"name": n, "higher": m["better"] == "higher"} for n, m in found["metrics"].items()],
        "editors": found["editors"],
        "values": values,
        "names": found["images"],
    }

    def build(cards: Sequence[str], note: str = "") -> str:
        pictures = [_PICTURES, note, '<div id="cards">', *cards, "</div>"]
        return page(
            "simedit-score",
            [*parts, *pictures, *last],
            data=data,
            script="score.js",
            skip=("pictures", "the pictures"),
        )

    room, cards = LIMIT - len(build([]).encode()) - 1000, []
    order = worst_and_best(found)
    for i in order:
        card = _card(found, i, *read(i))
        room -= len(card.encode()) + 1
        if room < 0:
            note = (
                f'<p class="note">{len(cards)} of {len(order)} images are shown, the worst and best of each '
            )
            return build(cards, f"{note}metric and editor first: a page stays under 20 MB.</p>")
        cards.append(card)
    return build(cards)


def worst_and_best(found: Mapping[str, Any]) -> list[int]:
    """Every image's number, once: the worst and the best of each metric and editor, then the next of each."""
    ranked = []
    for name, of in found["values"].items():
        sign = 1 if found["metrics"][name]["better"] == "higher" else -1
        for values in of.values():
            known = [i for i, value in enumerate(values) if value is not None]
            worst = sorted(known, key=lambda i, held=values: sign * held[i])
            ranked += [worst, worst[::-1]]
    images = range(len(found["images"]))
    return list(dict.fromkeys([r[k] for k in images for r in ranked if k < len(r)] + [*images]))


def _means(found: Mapping[str, Any]) -> Iterable[list[str]]:
    for name, of in found["means"].items():
        cells = (_cell(*words.mean(of[editor])) for editor in found["editors"])
        yield [escape(words.metric(found, name)), *cells]


def _differences(found: Mapping[str, Any]) -> Iterable[str]:
    first, *others = found["editors"]
    if not others:
        return
    yield '<h2 id="differences">Against the first</h2>'
    yield (
        f'<p class="note">The mean of each editor\'s values less those of {escape(first)}, image by image. '
        "p: two-sided, sign-flip permutation test, after Holm's correction for the editors (not for the "
        "metrics); better or worse where it is below 0.05.</p>"
    )
    rows = []
    for name, of in found["differences"].items():
        cells = (_cell(*words.difference(of[editor])) for editor in others)
        rows.append([escape(words.metric(found, name)), *cells])
    yield table("Differences from the first", ["metric", *map(escape, others)], rows)


def _reading(found: Mapping[str, Any]) -> Iterable[str]:
    rows = [
        [
            escape(name),
            escape(of["measures"]),
            f"{_end(of['range'][0])} to {_end(of['range'][1])}",
            of["better"],
            f'<span class="value">{escape(of["source"])}</span>',
        ]
        for name, of in found["metrics"].items()
    ]
    yield table("The metrics", ["metric", "measures", "range", "better", "source"], rows)
    if found["left_out"]:
        items = "".join(f"<li>{escape(n)}: {escape(why)}</li>" for n, why in found["left_out"].items())
        yield f"<h3>Left out</h3><ul>{items}</ul>"


def _card(found: Mapping[str, Any], i: int, scene: Scene, edits: np.ndarray) -> str:
    name = found["images"][i]
    pictures = {"input": _thumbnail(scene.input, scene.mask)}
    pictures |= {editor: _thumbnail(e) for editor, e in zip(found["editors"], edits, strict=True)}
    inside = "".join(
        f'<span><img alt="{escape(f"{name}, {what}")}" src="data:image/webp;base64,{data}">'
        f"{escape(what)}</span>"
        for what, data in pictures.items()
    )
    return (
        f'<figure class="card" data-image="{i}"><figcaption>{escape(name)}</figcaption>'
        f"<div>{inside}</div></figure>"
    )


def _thumbnail(frame: np.ndarray, mask: np.ndarray | None = None) -> str:
    """Base64 of a small WebP, the mask's outline on it."""
    scale = min(1.0, SIDE / max(frame.shape[:2]))
    height, width = (max(1, round(scale * edge)) for edge in frame.shape[:2])
    size = (width, height)
    small = np.array(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
    if mask is not None:
        shown = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(small, outlines, -1, _EDGE, 1)
    held = io.BytesIO()
    Image.fromarray(small).save(held, "WEBP", quality=QUALITY)
    return base64.b64encode(held.getvalue()).decode()


def _cell(value: str, more: str) -> str:
    return escape(value) + (f" <small>{escape(more)}</small>" if more else "")


def _end(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:g}"


_PICTURES = """\
<h2 id="pictures" tabindex="-1">Pictures</h2>
<div class="sort" id="sort" hidden>
<label>metric <select id="metric"></select></label>
<label>of <select id="editor"></select></label>
<label>order <select id="order"><option value="worst">worst first</option>
<option value="best">best first</option><option value="name">by name</option></select></label>
<span id="told" role="status"></span></div>
<noscript><p class="note">Without JavaScript: the worst and best of each metric first.</p></noscript>"""
