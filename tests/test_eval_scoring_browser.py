"""The page of simedit-score in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'simedit[dev]'")
from test_eval_report_browser import CHROMIUM, CONTRAST, browser, expect, visit  # noqa: F401
from test_eval_scoring import frame, kind

from simedit.eval.scoring.page import page_html
from simedit.eval.scoring.summary import summarise
from simedit.metrics import Scene

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

EVIL = "<img src=x onerror=alert(1)>"
VALUES = {
    "good": np.array([[0.5, 0.1, 0.9, 0.3, 0.7, 0.6], [0.2, 0.8, 0.4, 0.1, 0.3, np.nan]]),
    "bad": np.array([[1.0, 2, 3, 4, 5, 6], [6.0, 5, 4, 3, 2, 1]]),
}
KINDS = [kind("good", True), kind("bad", False)]
IMAGES = [f"image {i}" for i in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = summarise(KINDS, ["mine", EVIL], IMAGES, VALUES, {"depth": f"{EVIL} is not here"})

    def read(i: int) -> tuple[Scene, np.ndarray]:
        return Scene(frame(i), frame(i)[..., 0] > 150), np.stack([frame(i), 255 - frame(i)])

    path = tmp_path_factory.mktemp("score") / "index.html"
    path.write_text(page_html(found, read), encoding="utf-8")
    return path


def order(page) -> list[int]:
    return page.eval_on_selector_all(".card", "all => all.map(card => Number(card.dataset.image))")


def choose(page, **what: str) -> None:
    for name, label in what.items():
        page.locator(f"#{name}").select_option(label=label)


def test_pictures_stand_in_the_order_of_what_is_chosen(made, visit) -> None:  # noqa: F811
    with visit(made) as page:
        assert page.locator(".card img").count() == 6 * 3
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert order(page) == [1, 3, 0, 5, 4, 2]  # the first metric, the first editor, worst first
        choose(page, order="best first")
        assert order(page) == [2, 4, 5, 0, 3, 1]
        choose(page, metric="bad")
        assert order(page) == [0, 1, 2, 3, 4, 5]  # where less is better
        choose(page, editor=EVIL)
        assert order(page) == [5, 4, 3, 2, 1, 0]
        choose(page, metric="good", order="worst first")
        assert order(page) == [3, 0, 4, 2, 1, 5]  # what is undefined comes last
        choose(page, editor=f"{EVIL} \u2212 mine")
        assert order(page) == [2, 4, 0, 3, 1, 5]
        assert "-0.500" in page.locator(".card figcaption").first.inner_text()
        choose(page, order="by name")
        assert order(page) == [0, 1, 2, 3, 4, 5]
        expect(page.locator("#told")).to_have_text("6 of 6 images, by name")


def test_names_stay_text_and_nothing_scrolls_sideways(made, visit) -> None:  # noqa: F811
    with visit(made, viewport={"width": 360, "height": 740}) as page:
        assert page.locator("img[src=x]").count() == 0
        assert page.locator("#sort").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate(
            "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(made, visit, scheme) -> None:  # noqa: F811
    with visit(made, color_scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []


def test_without_javascript_the_page_still_reads(made, visit) -> None:  # noqa: F811
    with visit(made, java_script_enabled=False) as page:
        assert page.locator(".card").count() == 6
        assert page.locator("noscript").is_visible()
        assert not page.locator("#sort").is_visible()
