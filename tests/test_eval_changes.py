from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import binomtest
from small_drawer import REAL, changed

from simedit.errors import SimeditError
from simedit.eval.changes import changes, headline, signed
from simedit.eval.changes_page import changes_html, save_page
from simedit.eval.cli import main
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.run_folder import keep
from simedit.eval.store import Store
from simedit.eval.summary import Facts
from simedit.eval.trials import Result, Trial, scenes, trials
from simedit.eval.two_runs import read_runs

CONFIG = resolved(
    StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "scripted"} for name in ("able", "fair", "poor")},
            "domains": ["raw", "edited"],
        }
        | {"styles": ["gold", "wood"]}
    )
)
SKILL = {"able": 20, "fair": 12, "poor": 3}


def hardness(t: Trial) -> int:
    return 7 * scenes(CONFIG).index(t.scene) % 27


def usual(t: Trial) -> str:
    return "success" if hardness(t) < SKILL[t.policy] else "failure"


def better(t: Trial) -> str:
    """The fair policy opens eight situations more with gold, and loses one."""
    if (t.policy, t.task, t.style) != ("fair", "open", "gold"):
        return usual(t)
    return "success" if 0 < hardness(t) < 20 else "failure"


def make(folder, outcome=usual, *, config=CONFIG, keys: Mapping[str, str] | None = None, real=REAL):
    with Store(folder, write=True) as store:
        keep(store, config, real, Facts())
        store.agree({"max_steps": config.max_steps, "specialists.gold": "aa", **(keys or {})})
        store._db.execute("BEGIN")
        for trial in trials(config):
            if (found := outcome(trial)) is not None:
                store.put(Result(trial, found, message="lost" if found == "error" else ""))
        store._db.execute("COMMIT")
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return make(tmp_path_factory.mktemp("a") / "first")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return make(tmp_path_factory.mktemp("b") / "second", better, keys={"specialists.gold": "bb"})


def row(found, kind, **of):
    (match,) = (one for one in found[kind] if all(one[key] == value for key, value in of.items()))
    return match


def test_rates_and_tests_by_hand(first, second):
    found = changes(*read_runs(first, second))
    assert json.loads(json.dumps(found)) == found
    assert (found["shared"], found["gained"], found["lost"], found["only"]) == (486, 8, 1, [0, 0])
    assert len(found["rates"]) == 6
    assert len(found["by_task"]) == 12
    moved = row(found, "by_task", policy="fair", domain="edited", task="open")
    assert (moved["n"], moved["situations"], moved["gained"], moved["lost"]) == (54, 27, 8, 1)
    assert moved["rates"] == [24 / 54, 31 / 54]
    assert moved["difference"] == pytest.approx(7 / 54)
    assert moved["difference_ci"][0] < 7 / 54 < moved["difference_ci"][1]
    p = binomtest(8, 9).pvalue  # 20 / 512: each situation changed by one trial
    assert p == pytest.approx(20 / 512)
    assert (moved["p"], moved["p_trials"]) == pytest.approx((p, p))
    assert (moved["p_holm"], moved["p_trials_holm"]) == pytest.approx((12 * p, 12 * p))
    assert row(found, "rates", policy="fair", domain="edited")["p_holm"] == pytest.approx(6 * p)
    for other in found["by_task"]:
        if other is not moved:
            assert (other["difference"], other["p"], other["p_holm"]) == (0, 1, 1)
    assert headline(found).endswith(
        "No policy's rate in any domain changed by more than chance may change it."
    )


def test_a_change_beyond_chance_is_named_and_repeats_are_not_counted_as_proof(tmp_path, first):
    every = make(tmp_path / "every", lambda t: "success" if t.policy == "fair" else usual(t))
    found = changes(*read_runs(first, every))
    assert "Changed beyond chance: fair in raw renders, 0.44 to 1.00; fair in edited frames" in headline(
        found
    )
    # One situation alone, in both styles of one policy: two trials, one event.
    hard = {t for t in trials(CONFIG) if usual(t) == "failure" and t.scene == "middle/b1"}
    few = {t for t in hard if (t.domain, t.policy, t.task) == ("edited", "poor", "open")}
    assert len(few) == 2
    one = make(tmp_path / "one", lambda t: "success" if t in few else usual(t))
    moved = row(changes(*read_runs(first, one)), "rates", policy="poor", domain="edited")
    assert (moved["gained"], moved["p"], moved["p_trials"]) == (2, 1, 0.5)


def test_metrics_of_both_and_their_difference(tmp_path, first, second):
    found = changes(*read_runs(first, second))
    block = row(found, "metrics", domain="edited", task="open")
    sims = np.array([[40, 24, 6], [40, 31, 6]]) / 54
    real = [0.9, 0.6, 0.1]
    assert block["pearson_r"] == pytest.approx([np.corrcoef(sim, real)[0, 1] for sim in sims])
    assert block["pearson_r_difference"] == pytest.approx(block["pearson_r"][1] - block["pearson_r"][0])
    low, high = block["pearson_r_difference_ci"]
    assert low <= block["pearson_r_difference"] <= high
    assert high - low < 0.2  # paired: far narrower than either's own
    assert (block["mmrv"], block["mmrv_difference"]) == ([0, 0], 0)
    assert (block["n"], block["situations"]) == (54, 27)
    same = row(found, "metrics", domain="raw", task="average")
    assert (same["pearson_r_difference"], same["pearson_r_difference_ci"]) == (0, [0, 0])
    # The other way round is the opposite.
    back = row(changes(*read_runs(second, first)), "metrics", domain="edited", task="open")
    assert back["pearson_r_difference_ci"] == pytest.approx([-high, -low])
    # A run that ranks the policies the other way round.
    turned = {"able": "poor", "poor": "able", "fair": "fair"}
    wrong = make(
        tmp_path / "wrong", lambda t: "success" if hardness(t) < SKILL[turned[t.policy]] else "failure"
    )
    block = row(changes(*read_runs(first, wrong)), "metrics", domain="raw", task="open")
    assert block["mmrv"] == pytest.approx([0, (0.8 + 0.5 + 0.8) / 3])
    assert block["mmrv_difference_ci"][0] > 0


def test_what_one_run_alone_has_is_counted_and_said(tmp_path, first):
    def some(t):
        if t.domain == "edited" and t.style == "wood":
            return None
        return "error" if (t.policy, t.scene.split("/")[0], t.domain) == ("poor", "top", "raw") else usual(t)

    other = make(tmp_path / "other", some)
    found = changes(*read_runs(first, other))
    assert (found["shared"], found["only"]) == (306, [180, 0])
    assert row(found, "rates", policy="poor", domain="raw")["only"] == [18, 0]
    assert row(found, "rates", policy="able", domain="edited")["only"] == [54, 0]
    text = "\n".join(found["warnings"])
    assert "other is not finished: 306 of 486 trials are" in text
    assert "other: 18 trials ended in an error" in text
    assert "180 trials of first and 0 of other" in text
    # All policies on the same trials: what broke for one counts for none.
    assert row(found, "metrics", domain="raw", task="open")["n"] == 18


def test_too_few_situations_have_no_intervals_and_no_policy_in_common_no_metric(tmp_path):
    config = changed(CONFIG, domains=["raw"], styles=[], scenes={"pose": ["a0", "b1"]})
    alone = config.model_copy(update={"policies": {"able": CONFIG.policies["able"]}})
    one, two = make(tmp_path / "one", config=config), make(tmp_path / "two", config=config)
    found = changes(*read_runs(one, two))
    assert found["rates"][0]["difference_ci"] is not None  # twelve situations
    assert found["by_task"][0]["difference_ci"] is None  # six
    assert all(block["mmrv_difference_ci"] is None for block in found["metrics"])
    found = changes(*read_runs(one, make(tmp_path / "three", config=alone)))
    assert found["metrics"] == []
    assert [entry["policy"] for entry in found["rates"]] == ["able"]


def test_settings_files_and_versions_that_differ(tmp_path, first, second):
    assert changes(*read_runs(first, second))["differs"] == {"files": [["specialists.gold", "aa", "bb"]]}
    config = CONFIG.model_copy(
        update={"max_steps": 60, "editor": CONFIG.editor.model_copy(update={"steps": 4})}
    )
    rates = REAL.policies | {"poor": REAL.policies["fair"]}
    other = make(tmp_path / "other", config=config, real=REAL.model_copy(update={"policies": rates}))
    for folder, version in ((other, "0.2"), (make(tmp_path / "old"), "0.1")):
        with Store(folder, write=True) as store:
            store.write("played_with", [])
            store.write("played_with", [{"simedit": version}])
    found = changes(*read_runs(other, tmp_path / "old"))["differs"]
    assert found["versions"] == [["simedit", "0.2", "0.1"]]
    assert "files" not in found
    keys = [key for key, *_ in found["settings"]]
    assert keys[:2] == ["max_steps", "editor.steps"]
    assert "real rates.policies.poor.open" in keys
    assert ["max_steps", "60", "113"] in found["settings"]


def test_equal_runs_have_nothing_to_tell(tmp_path, first):
    found = changes(*read_runs(first, make(tmp_path / "again")))
    assert headline(found) == "All 486 trials that both runs finished ended the same."
    assert found["differs"] == {}
    page = changes_html(found, *read_runs(first, tmp_path / "again"))
    assert "are the same." in page


def test_the_command_writes_a_page_and_prints_a_table(tmp_path, first, second, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert "9 of the 486 trials" in shown
    assert "files that differ: specialists.gold" in shown
    page = (tmp_path / "compare.html").read_text()
    assert "policy=fair&amp;domain=edited&amp;task=open&amp;change=gained" in page
    assert main(["compare", str(first), str(second), "--json", "--out", "a/b.html"]) == 0
    assert json.loads(capsys.readouterr().out) == changes(*read_runs(first, second))
    assert (tmp_path / "a" / "b.html").read_text() == page


def refused(capsys, *arguments) -> str:
    assert main(["compare", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


def test_what_cannot_be_compared_is_refused(tmp_path, first, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(first)
    (tmp_path / "empty").mkdir()
    assert "the same folder" in refused(capsys, first, first)
    assert "the same folder" in refused(capsys, first, "link")
    assert "holds no results" in refused(capsys, first, "empty")
    assert "holds no results" in refused(capsys, "absent", first)
    others = CONFIG.model_copy(update={"policies": {"new": CONFIG.policies["able"]}})
    rates = REAL.model_copy(update={"policies": {"new": REAL.policies["able"]}})
    make(tmp_path / "others", lambda t: "success", config=others, real=rates)
    assert "their policies are able, fair, poor there and new here" in refused(capsys, first, "others")
    make(tmp_path / "broken", lambda t: "error")
    assert "no trial that both finished. Run more" in refused(capsys, first, "broken")
    assert not (tmp_path / "compare.html").exists()


def test_no_other_file_is_overwritten(tmp_path, first, second, capsys):
    report = "<!doctype html><title>simedit evaluation</title>"
    for name, text in (("mine.csv", "policy,open"), ("report.html", report)):
        mine = tmp_path / name
        mine.write_text(text)
        assert "no page of this kind" in refused(capsys, first, second, "--out", mine)
        assert mine.read_text() == text
    assert "it is a folder" in refused(capsys, first, second, "--out", tmp_path)
    with pytest.raises(SimeditError, match="no page of this kind"):
        save_page(first / "results.sqlite", "<!doctype html>")


def test_folders_of_one_name_are_told_apart_and_odd_names_stay_text(tmp_path):
    evil = "<b>&amp;"
    one, two = make(tmp_path / "x" / evil), make(tmp_path / "y" / evil, better)
    runs = read_runs(one, two)
    assert [run.name for run in runs] == [str(one), str(two)]
    page = changes_html(changes(*runs), *runs)
    assert "<b>&amp;<" not in page
    assert "&lt;b&gt;&amp;amp;" in page


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (-0.001, "0.00"), (0.051, "+0.05"), (-0.05, "-0.05")]
)
def test_a_difference_has_a_sign(value, text):
    assert signed(value) == text
