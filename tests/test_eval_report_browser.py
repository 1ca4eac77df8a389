"""The report and the page of two runs in a real browser: a study of 3024 trials with hostile names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from simedit.config import load_config
from simedit.eval.changes import changes
from simedit.eval.changes_page import changes_html
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.metrics import wilson
from simedit.eval.published import Rates
from simedit.eval.recording import Recording, save_strip, save_video, strip_path, video_path
from simedit.eval.run_folder import keep, keep_player, write_report
from simedit.eval.store import Store
from simedit.eval.summary import Facts
from simedit.eval.trials import Result, Trial, trials
from simedit.eval.two_runs import read_runs

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'simedit[dev]'")
expect = playwright.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

EVIL = "<img src=x onerror=alert(1)>"
MESSAGE = "policy died: </script><script>alert(2)</script><b>bold</b>"
SKILL = {EVIL: 0.9, "fair": 0.6, f'it\'s "odd" & = #? {"long" * 18}': 0.4, "poor": 0.1}
CONFIG = resolved(
    StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "scripted", "noise": 1 - skill} for name, skill in SKILL.items()},
            "domains": ["raw", "edited"],
            "styles": [f"style {number}" for number in range(13)],
            "max_steps": 60,
            "report": {"videos": 2, "strips": 3},
        }
    )
)
REAL = Rates.model_validate(
    {"source": "made up", "policies": {name: {"open": s, "close": s / 2} for name, s in SKILL.items()}}
)
ALL = list(trials(CONFIG))
FAIR = next(t for t in ALL if t.policy == "fair" and t.domain == "edited")
DRAWER = FAIR.scene.split("/")[0]
BROKEN = next(t for t in ALL if t.policy == EVIL and t.domain == "raw")


def ended(trial: Trial, shift: float = 0.0) -> Result:
    if trial == BROKEN:
        return Result(trial, "error", 3, message=MESSAGE)
    chance = np.random.default_rng(trial.episode_seed).random() * 0.7 + 0.3 * hash_of(trial)
    success = chance < SKILL[trial.policy] + shift * (trial.policy == "fair")
    return Result(trial, "success" if success else "failure", 10 + int(50 * chance), 0.2 * chance)


def hash_of(trial: Trial) -> float:
    return replace(trial, seed=sum(map(ord, trial.style))).episode_seed % 997 / 997


def make(folder: Path, shift: float = 0.0) -> dict[Trial, Result]:
    results = {trial: ended(trial, shift) for trial in ALL}
    recording = Recording()
    random = np.random.default_rng(0)
    for _ in range(5):
        frame = random.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        recording.add(255 - frame, frame)
    with Store(folder, write=True) as store:
        keep(store, CONFIG, REAL, Facts())
        keep_player(store, {"simedit": f"0.{shift}"})
        store._db.execute("BEGIN")  # one commit for all
        for result in results.values():
            store.put(result)
        store._db.execute("COMMIT")
        save_strip(recording, strip_path(folder, FAIR))
        save_video(recording, video_path(folder, FAIR))
        save_video(recording, video_path(folder, ALL[-1]))
        write_report(store)
    return results


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "first", folder / "second"
    results = make(first)
    later = make(second, 0.1)
    runs = read_runs(first, second)
    (folder / "compare.html").write_text(changes_html(changes(*runs), *runs), encoding="utf-8")
    return SimpleNamespace(
        report=first / "report.html", compare=folder / "compare.html", results=results, later=later
    )


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # A container has neither its own sandbox's rights nor, often, shared memory.
        found = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """Opens a page; whatever it logs, asks of the network, throws or pops up is a failure."""

    @contextmanager
    def opened(path: Path, fragment: str = "", **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        page, told = context.new_page(), []
        page.set_default_timeout(10_000)
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda one: one.url.startswith(("data:", path.as_uri())) or told.append(one.url))
        page.goto(path.as_uri() + fragment)
        yield page
        assert told == []
        context.close()

    return opened


def until(page, what: str) -> None:
    """Waits for JavaScript to hold; the page's own policy forbids playwright's way, which evaluates in it."""
    for _ in range(500):
        if page.evaluate(what):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never came: {what}")


def count(page) -> str:
    return page.inner_text("#count")


def shown(page, key: str) -> list[str]:
    return page.eval_on_selector_all(f"#list td.of-{key}", "cells => cells.map(c => c.textContent.trim())")


def tick(page, facet: str, value: str) -> None:
    page.locator("fieldset", has=page.locator("legend", has_text=re.compile(f"^{facet}$"))).get_by_role(
        "checkbox", name=re.compile(f"^{re.escape(value)} ?\\d")
    ).click()


def rate_of(results, **of) -> str:
    """The words of a rate, by the package's own interval."""
    clusters: dict = {}
    for t, result in results.items():
        if all(getattr(t, key) == value for key, value in of.items()) and result.outcome != "error":
            cell = clusters.setdefault(t.situation, [0, 0])
            cell[0] += result.outcome == "success"
            cell[1] += 1
    won, held = zip(*clusters.values(), strict=True)
    low, high = wilson(won, held)
    return f"{sum(won) / sum(held):.2f} [{low:.2f}, {high:.2f}] ({sum(won)} of {sum(held)};"


def test_everything_loads_from_one_small_file(study, visit):
    assert study.report.stat().st_size < 20_000_000
    with visit(study.report) as page:
        assert count(page).startswith("3024 of 3024 trials shown")
        assert rate_of(study.results) in count(page)
        assert page.locator("figure.episode img").count() == 1
        assert page.locator("figure.episode video").count() == 2
        until(
            page,
            "[...document.images].every(i => i.naturalWidth > 0) &&"
            "[...document.querySelectorAll('video')].every(v => v.readyState > 0 && v.videoWidth == 128)",
        )
        assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")


def test_filters_count_and_keep_their_state_in_the_address(study, visit):
    with visit(study.report) as page:
        tick(page, "policy", "fair")
        tick(page, "domain", "raw")
        assert "54 of 3024" in count(page)
        assert rate_of(study.results, policy="fair", domain="raw") in count(page)
        # A facet counts what the others leave: 54 of each policy in raw, 702 of fair's in edited.
        counts = page.eval_on_selector_all(
            "#facets fieldset:nth-child(1) .count", "all => all.map(c => +c.textContent)"
        )
        assert counts == [54] * 4
        assert page.locator("label", has_text="edited").first.locator(".count").inner_text() == "702"
        tick(page, "policy", "poor")
        assert "108 of 3024" in count(page)
        assert set(shown(page, "policy")) <= {"fair", "poor"}
        link = page.url
        assert link.endswith("#policy=fair&policy=poor&domain=raw")
        page.get_by_role("button", name="Clear filters").click()
        assert "3024 of 3024" in count(page)
        assert "#" not in page.url
    with visit(study.report, "#" + link.split("#")[1] + "&pose=a0&pose=zz&more=x&sort=-steps") as page:
        assert "12 of 3024" in count(page)
        assert "not in this page and so ignored: pose zz" in count(page)
        assert page.get_by_role("columnheader", name="steps").get_attribute("aria-sort") == "descending"
        steps = [int(text) for text in shown(page, "steps")]
        assert steps == sorted(steps, reverse=True)


def test_nothing_matches_and_outcomes_chosen_have_no_rate(study, visit):
    with visit(study.report, "#policy=poor&outcome=error") as page:
        assert "0 of 3024 trials shown: no trial is in all of these filters" in count(page)
        assert not page.locator("#list").is_visible()
        page.evaluate("location.hash = '#policy=poor&outcome=success'")
        expect(page.locator("#count")).to_contain_text("succeeded")
        assert re.search(r"success rate: (\d+) of \1 succeeded", count(page))
        assert "[" not in count(page)


def test_columns_sort_all_trials_both_ways_and_pages_turn(study, visit):
    with visit(study.report) as page:
        assert len(shown(page, "policy")) == 25
        header = page.get_by_role("columnheader", name="steps")
        button = header.get_by_role("button")
        button.click()
        assert header.get_attribute("aria-sort") == "ascending"
        every = sorted(result.steps for result in study.results.values())
        assert [int(text) for text in shown(page, "steps")] == every[:25]
        page.get_by_role("button", name="Next").click()
        assert [int(text) for text in shown(page, "steps")] == every[25:50]
        assert page.inner_text("#where") == "26 to 50 of 3024"
        button.click()
        assert header.get_attribute("aria-sort") == "descending"
        assert [int(text) for text in shown(page, "steps")] == every[::-1][:25]
        # What is not known comes last in either order.
        page.locator("#list thead .of-progress button").click()
        assert "\N{EN DASH}" not in shown(page, "progress")


def test_a_point_a_cell_and_a_rate_lead_to_their_trials(study, visit):
    fair = {"policy": "fair", "domain": "raw", "task": "open"}
    with visit(study.report) as page:
        # The average and the two tasks of raw come first among the plots.
        point = page.locator("svg.scatter").first.get_by_role("link", name="fair: simulated")
        point.click()
        expect(page.locator("#trials")).to_be_focused()
        place = BROKEN.situation
        compared = {t: r for t, r in study.results.items() if t.situation != place}
        assert rate_of(compared, **fair) in count(page)
        expect(page.locator("#trials")).to_be_in_viewport()
        page.locator(".heat a").first.click()
        expect(page.locator("#count")).to_have_text(re.compile(r"^1 of"))
        assert set(shown(page, "policy")) == {EVIL}
        page.locator("h2#styles ~ .scroll a").nth(2).click()
        expect(page.locator("#count")).to_have_text(re.compile(r"^27 of"))
        page.go_back()
        expect(page.locator("#count")).to_have_text(re.compile(r"^1 of"))
        # Twice the same link leads there twice.
        for _ in range(2):
            page.locator(".heat a").nth(1).click()
            expect(page.locator("#trials")).to_be_focused()
            page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def test_a_rate_leads_to_the_trials_it_is_of(study, visit):
    """Policies are compared on the same trials: where one broke, the others' are none of the rate's."""
    with visit(study.report) as page:
        cell = (
            page.locator("table", has_text="fair").nth(0).locator("tr", has_text="fair").locator("td").nth(0)
        )
        n = re.search(r"n (\d+)", cell.inner_text())[1]
        cell.get_by_role("link").click()
        expect(page.locator("#count")).to_contain_text("26 of 3024")
        assert n == "26"
        assert f"{cell.get_by_role('link').inner_text()} [" in count(page)
        assert "compared=yes" in page.url


def test_recorded_episodes_play_raw_beside_edited_and_others_say_how_to_record_them(study, visit):
    with visit(
        study.report,
        f"#policy=fair&style={FAIR.style}&drawer={FAIR.scene.split('/')[0]}",
        reduced_motion="reduce",
    ) as page:
        assert "1 recorded episode below" in count(page)
        assert page.locator("figure.episode:visible").count() == 1
        play = page.get_by_role("button", name="▶ play: fair")
        play.click()
        assert play.get_attribute("aria-expanded") == "true"
        detail = page.locator("tr.details")
        assert detail.locator("video").evaluate("v => v.paused")
        assert detail.locator(".sides").inner_text().split() == ["raw", "edited"]
        play.click()
        assert detail.count() == 0
        page.locator("#list").get_by_role("button", name="details: fair").first.click()
        assert "No recording" in detail.inner_text()
        words = shlex.split(detail.locator("code").inner_text())
    with visit(study.report, f"#policy=fair&style={FAIR.style}&drawer={FAIR.scene.split('/')[0]}") as page:
        page.get_by_role("button", name="▶ play: fair").click()
        until(page, "!document.querySelector('tr.details video').paused")
    assert words[:2] == ["simedit-eval", "run"]


@pytest.mark.parametrize("trial", [ALL[-1], ALL[60], BROKEN], ids=["odd", "raw", "evil"])
def test_the_command_of_an_unrecorded_trial_plays_that_one(study, visit, tmp_path, trial):
    drawer, pose = trial.scene.split("/")
    other = replace(trial, scene=f"{drawer}/{'b1' if pose != 'b1' else 'b2'}")
    asked = "&".join(f"{key}={getattr(other, key)}" for key in ("task", "drawer", "pose", "domain", "style"))
    with visit(study.report, f"#{asked}") as page:
        row = page.locator("#list tbody tr").nth(list(SKILL).index(other.policy))
        row.get_by_role("button").click()
        words = shlex.split(page.locator("tr.details code").inner_text())
        config = page.locator("pre").text_content()
    (tmp_path / "study.yaml").write_text(config)
    played = load_config(StudyConfig, tmp_path / "study.yaml", words[words.index("--set") + 1 :])
    assert list(trials(played)) == [other]
    assert played.policies[other.policy] == CONFIG.policies[other.policy]
    assert (played.report.videos, played.report.strips) == (1, 1)


def test_names_and_messages_stay_text(study, visit):
    with visit(study.report, "#outcome=error") as page:
        assert shown(page, "policy") == [EVIL]
        page.get_by_role("button", name="details").click()
        assert MESSAGE in page.locator("tr.details").inner_text()
        assert page.locator("img[src=x], b:not(.bar b)").count() == 0
        assert page.locator("script").count() == 2


def test_a_keyboard_reaches_everything(study, visit):
    with visit(study.report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the trials"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.type") == "checkbox"
        page.keyboard.press("Space")
        assert "756 of 3024" in count(page)
        # On through every filter, the clear button, the headings and the rows, each with a visible focus.
        visited = []
        while not visited or visited[-1][0] != "BODY":
            page.keyboard.press("Tab")
            visited.append(
                page.evaluate(
                    "(e => [e.tagName == 'BODY' ? 'BODY' : e.id || e.ariaLabel || e.textContent || e.type,"
                    "getComputedStyle(e).outlineStyle])(document.activeElement)"
                )
            )
        visited.pop()
        names = [name for name, _ in visited]
        assert "clear" in names
        assert "steps" in names
        assert any(name.startswith("details: ") for name in names)
        assert [name for name, style in visited if style == "none"] == []
        page.get_by_role("columnheader", name="pose").get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("columnheader", name="pose").get_attribute("aria-sort") == "ascending"


def test_a_screen_reader_finds_names_headings_and_live_counts(study, visit):
    for path in (study.report, study.compare):
        with visit(path) as page:
            levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(h => +h.tagName[1])")
            assert levels[0] == 1
            assert levels.count(1) == 1
            assert all(b - a <= 1 for a, b in pairwise(levels))
            assert page.locator("#count").get_attribute("aria-live") == "polite"
            nameless = page.eval_on_selector_all(
                "a, button, input, summary, svg[role]",
                "all => all.filter(e => !(e.ariaLabel || e.textContent || e.labels?.[0].textContent)).length",
            )
            assert nameless == 0
            twice = page.evaluate(
                "(ids => ids.filter((id, i) => ids.indexOf(id) != i))"
                "([...document.querySelectorAll('[id]')].map(e => e.id))"
            )
            assert twice == []
            assert page.locator("nav a").count() >= 5
            assert page.evaluate(
                "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
            )


CONTRAST = """() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
    return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const curve = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map((c) => curve(c / 255))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = parse(getComputedStyle(e).backgroundColor);
      if (found[3] === 1) return found;
    }
    return [255, 255, 255, 1];
  };
  const bad = [];
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    const unseen = "script, style, noscript, title, :disabled, .skip";
    if (!walk.currentNode.data.trim() || e.closest(unseen) || !e.checkVisibility()) continue;
    const ink = parse(e.namespaceURI.endsWith("svg") ? style.fill : style.color);
    if (ratio(ink, ground(e)) < 4.5) bad.push([walk.currentNode.data, ratio(ink, ground(e))]);
  }
  for (const e of document.querySelectorAll("polygon")) {
    const ink = parse(getComputedStyle(e).fill);
    if (ratio(ink, ground(e)) < 3) bad.push([e.getAttribute("class"), ratio(ink, ground(e))]);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_contrast(study, visit, scheme):
    with visit(study.report, color_scheme=scheme) as page:
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        assert dark == (scheme == "dark")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.get_by_role("button", name="details").first.click()
        assert page.evaluate(CONTRAST) == []


def test_print_opens_everything_and_cuts_nothing(study, visit):
    with visit(study.report, "#policy=fair&domain=raw", color_scheme="dark") as page:
        page.emulate_media(media="print")
        expect(page.locator("#list tbody tr")).to_have_count(54)
        assert page.locator("details:not([open])").count() == 0
        assert (
            page.locator("#controls, #pages, nav, #list button:text('details')")
            .locator("visible=true")
            .count()
            == 0
        )
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(22, 24, 27)"
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll, pre')].every(e => e.scrollWidth <= e.clientWidth + 1 ||"
            "getComputedStyle(e).overflowX == 'visible')"
        )
        page.emulate_media(media="screen")
        expect(page.locator("#list tbody tr")).to_have_count(25)
        assert page.locator("details:not([open])").count() == 2


@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_phone_needs_no_scrolling_sideways(study, visit, name):
    with visit(getattr(study, name), viewport={"width": 360, "height": 740}) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        page.locator("#list td button").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        )
        page.locator("#list thead .of-pose button").click()
        assert page.get_by_role("columnheader", name="pose").get_attribute("aria-sort") == "ascending"


def test_without_javascript_the_page_still_reads(study, visit):
    with visit(study.report, java_script_enabled=False) as page:
        assert page.locator("noscript").is_visible()
        assert page.locator("h2").count() == 7
        assert page.locator("figure.episode").count() == 2
        assert not page.locator("#controls").is_visible()
        assert not page.locator("#listing").is_visible()
        assert not page.locator("#status").is_visible()
        assert page.locator("table.heat").count() == 2 * 4 * 2


def test_two_runs_show_what_flipped(study, visit):
    both = [(t, study.results[t].outcome, study.later[t].outcome) for t in ALL]
    gained = [t for t, *ends in both if ends == ["failure", "success"]]
    lost = [t for t, *ends in both if ends == ["success", "failure"]]
    assert len(gained) > 50
    assert not lost
    with visit(study.compare) as page:
        assert f"{len(gained)} of 3024 trials shown" in count(page)
        assert set(shown(page, "change")) == {"▲ gained"}
        page.get_by_role("button", name="Clear filters").click()
        assert "3024 of 3024" in count(page)
        assert page.url.endswith("#all")
        assert f"first {rate_of(study.results)}" in count(page)
        assert f"second {rate_of(study.later)}" in count(page)
        page.get_by_role("link", name=re.compile(r"^\d+ gained, fair, raw: show trials")).click()
        expect(page).to_have_url(re.compile("change=gained"))
        expected = [t for t in gained if t.domain == "raw"]
        assert count(page).startswith(f"{len(expected)} of")
        page.evaluate(f"location.hash = {json.dumps('#policy=fair&style=' + FAIR.style)}")
        page.get_by_role("button", name="▶ play").first.click()
        assert page.locator("tr.details figure").count() == 2  # one of each run
        captions = page.locator("tr.details figcaption").all_inner_texts()
        assert [text.rpartition("(")[2] for text in captions] == ["first)", "second)"]
