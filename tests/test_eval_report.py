from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import small_drawer

from simedit.envs.drawer.suite import DrawerSuite
from simedit.eval.caveats import Facts
from simedit.eval.config import RealConfig, StudyConfig, resolved
from simedit.eval.episodes import study_rows
from simedit.eval.headline import headline
from simedit.eval.published import Rates, TaskRates, load_real
from simedit.eval.recordings import Picture
from simedit.eval.report import html
from simedit.eval.store import Store
from simedit.eval.summary import summarise
from simedit.eval.trials import Result, trials

VOID = {"meta", "img", "br", "path", "use", "rect", "line", "circle", "polygon"}


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
    config = small_drawer.changed(small_drawer.CONFIG, domains=["proxy_real"], styles=[])
    real = load_real(RealConfig(source="none"), DrawerSuite(), list(config.policies), config.tasks)
    results = {t: Result(t, "success" if t.policy == "able" else "failure") for t in trials(config)}
    summary = summarise(config, results, real, Facts())
    assert headline(summary).startswith("Success rates, with no real ones")
    page = html(summary, study_rows(config, results), [])
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "proxy-real renderings" in page
    assert "1.00</a> <small>[0.61, 1.00], n 6</small>" in page
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
    assert page.count('<svg class="mark"') == 2 * 3 + 3
    assert page.count("<svg") == 2 * 3 + 2 * 3 + 3
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
    page = html(summarise(config, results | renamed, real, Facts()), study_rows(config, renamed), [])
    assert "<b>&able" not in page
    assert "&lt;b&gt;&amp;able" in page


def test_nothing_of_a_foreign_store_becomes_html(folder):
    """Neither names, nor outcomes and messages, nor what the config holds; and nothing could run or load."""
    evil = "\"'><script>alert(1)</script><img src=x onerror=y>&amp;"
    name = evil.replace("/", "")  # as much as a name can hold
    study = {
        "policies": {name: {"kind": "scripted"}},
        "domains": ["edited"],
        "styles": [name],
        "scenes": {"pose": ["a0"]},
    }
    config = resolved(StudyConfig.model_validate(study))
    real = Rates(
        source=evil, stand_in=True, name=evil, policies={name: TaskRates({"open": 0.5, "close": 0.5})}
    )
    results = {t: Result(t, "error", message=evil) for t in trials(config)}
    facts = Facts(untrained=[name], blind=[name], absent={"edited": {evil: evil}})
    trial = next(iter(results))
    path = folder / "media" / "no.png"
    found = summarise(config, results, real, facts)
    page = html(found, study_rows(config, results), [Picture(path, trial, evil)])
    assert re.findall("<script[^>]*>", page) == ['<script type="application/json" id="data">', "<script>"]
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy[1].startswith("default-src 'none'")
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy[1].endswith(f"script-src 'sha256-{digest}'")
    held = re.search(r'id="data">(.*?)</script>', page)[1]
    assert not set("<>&") & set(held)
    assert json.loads(held)["columns"][0]["values"] == [name]
    assert page.index("Content-Security-Policy") < page.index("<style")


def test_half_a_surrogate_pair_does_not_break_the_page():
    config = small_drawer.CONFIG.model_copy(update={"domains": ["raw"], "styles": []})
    results = {t: Result(t, "success") for t in trials(config)}
    real = small_drawer.REAL.model_copy(update={"source": "\ud800"})
    html(summarise(config, results, real, Facts()), study_rows(config, results), []).encode("utf-8")


def test_links_that_leave_the_run_folder_are_not_embedded(tmp_path, folder, monkeypatch):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    media = tmp_path / "run" / "media"
    media.mkdir(parents=True)
    (media / "real.png").write_bytes(b"picture")
    (media / "inside.png").symlink_to("real.png")
    (media / "out.png").symlink_to(secret)
    (media / "circle.png").symlink_to("circle.png")
    (media / "folder.png").mkdir()
    elsewhere = tmp_path / "other" / "media"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(tmp_path)
    trial = next(iter(trials(small_drawer.CONFIG)))
    summary = json.loads((folder / "report.json").read_text())
    paths = [media / f"{name}.png" for name in ("real", "inside", "out", "circle", "folder", "none")]
    page = html(summary, [], [Picture(path, trial) for path in (*paths, elsewhere / "secret.png")])
    assert base64.b64encode(b"secret").decode() not in page
    assert page.count(base64.b64encode(b"picture").decode()) == 2
    assert page.count("strip not shown: a link that leaves the run folder") == 2
    assert page.count("strip not shown: ") == 5
    # By a relative path, too.
    monkeypatch.chdir(tmp_path)
    assert "cGljdHVyZQ" in html(summary, [], [Picture(Path("run/media/real.png"), trial)])


ODD = ("a$\\foo$", "_hidden", "$", "日本語", "x" * 90, "ü^{2}", "%d {0} {alt}", "ninth", "tenth")


def test_any_policy_name_is_written_and_stands_in_the_legend(recwarn):
    config = small_drawer.CONFIG.model_copy(
        update={"policies": dict.fromkeys(ODD, small_drawer.CONFIG.policies["able"]), "domains": ["raw"]}
    )
    results = {t: Result(t, "success" if t.policy > "b" else "failure") for t in trials(config)}
    real = Rates(
        source="x",
        stand_in=True,
        name="a$\\foo$ 日本語 " + "long " * 30,
        policies=dict.fromkeys(ODD, small_drawer.REAL.policies["fair"]),
    )
    page = html(summarise(config, results, real, Facts()), study_rows(config, results), [])
    legend = re.search(r'<p class="legend">(.*?)</p>', page)[1]
    assert all(name in legend for name in ODD)
    assert len(set(re.findall(r"<svg.*?</svg>", legend))) == len(ODD)
    assert not recwarn.list


def test_a_stand_in_is_named_wherever_rates_are(folder):
    config = small_drawer.CONFIG
    with Store(folder, write=False) as store:
        results = store.results()
    real = small_drawer.REAL.model_copy(update={"name": "the toy", "stand_in": True})
    summary = summarise(config, results, real, Facts())
    page = html(summary, study_rows(config, results), [])
    assert summary["real"]["name"] == "the toy"
    for part in ("the toy 0.90</small>", ">the toy</text>", "simulation predicts the toy", "against the toy"):
        assert part in page
    assert ">real</text>" not in page
    assert "the toy does" in headline(summary)
    assert "reality" not in headline(summary)
