from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import small_drawer

from simedit.eval.config import RealConfig, StudyConfig
from simedit.eval.published import load_published, load_real
from simedit.eval.report import headline, html
from simedit.eval.store import Store
from simedit.eval.summary import Facts, summarise
from simedit.eval.trials import Result, trials

VOID = {"meta", "img", "br", "path", "use", "rect", "line", "circle"}


class Checker(HTMLParser):
    """Every element is closed in order; notes what the page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]

    def handle_startendtag(self, tag, attrs):
        self.loads += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    small_drawer.run(path)
    return path


def test_the_page_is_whole_and_loads_nothing(folder):
    page = (folder / "report.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loads
    assert all(value.startswith(("data:", "#")) for value in checker.loads)
    assert not re.search(r"url\((?!#)|@import", page)


def test_a_study_of_proxy_real_alone_reports_its_rates():
    config = small_drawer.CONFIG.model_copy(update={"domains": ["proxy_real"], "styles": []})
    real = load_real(RealConfig(source="none"), list(config.policies), config.tasks)
    results = {t: Result(t, "success" if t.policy == "able" else "failure") for t in trials(config)}
    summary = summarise(config, results, real, Facts())
    assert headline(summary).startswith("There are rates, but no correlation")
    page = html(summary, [])
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "proxy-real photographs" in page
    assert "1.00 <small>n 6</small>" in page
    assert "Simulated against real" not in page


def test_what_must_be_said_stands_before_any_number(folder):
    page = (folder / "report.html").read_text()
    summary = json.loads((folder / "report.json").read_text())
    assert summary["meaningful"] is False
    assert "say nothing about reality yet" in page
    assert page.index("stand-in") < page.index("do not look at images") < page.index("MMRV")


def test_every_part_is_there(folder):
    page = (folder / "report.html").read_text()
    config = small_drawer.CONFIG
    assert page.count("<svg") == 2 * 3
    assert page.count("data:image/png") == config.report.strips
    assert page.count("data:video/mp4") == config.report.videos
    assert page.count('class="heat"') == 2 * 3 * 2
    assert page.count('class="bar"') == 2 * 3 * 3
    assert all(style in page for style in config.styles)


def test_names_are_escaped(folder):
    with Store(folder, write=False) as store:
        results = store.results()
    odd = "<b>&able"
    config = small_drawer.CONFIG.model_copy(
        update={"policies": {odd: small_drawer.CONFIG.policies["able"]}, "domains": ["raw"]}
    )
    renamed = {t: Result(t, "success") for t in trials(config)}
    real = small_drawer.REAL.model_copy(update={"policies": {odd: small_drawer.REAL.policies["able"]}})
    page = html(summarise(config, results | renamed, real, Facts()), [])
    assert "<b>&able" not in page
    assert "&lt;b&gt;&amp;able" in page


def test_headlines_of_real_studies():
    table = load_published().real
    config = StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "rt1", "checkpoint": "x"} for name in table.policies},
            "domains": ["raw"],
        }
    )
    assert headline(summarise(config, {}, table, Facts())) == "No trial has finished yet."
    # Each policy succeeds at as many poses as its place in the real ranking.
    places = {
        name: place for place, name in enumerate(sorted(table.policies, key=lambda n: table.policies[n].open))
    }
    poses = list(config.poses)
    results = {
        t: Result(t, "success" if poses.index(t.pose) < 3 * places[t.policy] else "failure")
        for t in trials(config)
    }
    assert headline(summarise(config, results, table, Facts())).startswith("Raw renders rank as reality does")
    partial = dict(list(results.items())[:-1])
    assert headline(summarise(config, partial, table, Facts())).startswith("So far (215 of 216 trials)")
