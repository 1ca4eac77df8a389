from __future__ import annotations

import json

import pytest

from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates
from simedit.eval.summary import Facts, status, summarise
from simedit.eval.trials import Result, trials

CONFIG = StudyConfig.model_validate(
    {
        "policies": {name: {"kind": "scripted"} for name in ("good", "bad")},
        "domains": ["raw", "edited"],
        "styles": ["gold", "wood"],
        "drawers": ["top", "bottom"],
        "poses": ["a0", "a1"],
    }
)
REAL = Rates.model_validate(
    {
        "source": "robot",
        "policies": {"good": {"open": 0.8, "close": 0.9}, "bad": {"open": 0.1, "close": 0.3}},
    }
)
# The good policy fails in one cell, and with wood in the one beside it; the bad one closes the top drawer.
FAILURES = {("good", "open", "bottom", "a1", ""), ("good", "open", "bottom", "a0", "wood")}


def outcome(t):
    if t.policy == "bad":
        return "success" if (t.task, t.drawer) == ("close", "top") else "failure"
    return "failure" if (t.policy, t.task, t.drawer, t.pose, t.style) in FAILURES else "success"


RESULTS = {t: Result(t, outcome(t)) for t in trials(CONFIG)}


def summary(results=RESULTS, config=CONFIG, real=REAL, facts=None):
    return summarise(config, results, real, facts or Facts())


def test_the_json_layout():
    found = summary()
    assert json.loads(json.dumps(found)) == found
    assert found["schema"] == 1
    assert list(found["domains"]) == ["raw", "edited"]
    assert list(found["domains"]["raw"]) == ["open", "close", "average"]
    block = found["domains"]["raw"]["open"]
    assert list(block) == ["mmrv", "mmrv_ci", "pearson_r", "pearson_r_ci", "policies"]
    assert list(block["policies"]["good"]) == ["sim", "real", "n", "successes", "errors", "wilson"]


def test_rates_by_hand():
    domains = summary()["domains"]
    raw, edited = (domains[d]["open"]["policies"]["good"] for d in ("raw", "edited"))
    assert (raw["sim"], raw["successes"], raw["n"], raw["errors"], raw["real"]) == (0.75, 3, 4, 0, 0.8)
    assert (edited["sim"], edited["successes"], edited["n"]) == (7 / 8, 7, 8)
    average = domains["raw"]["average"]["policies"]
    assert (average["good"]["sim"], average["good"]["real"]) == pytest.approx((0.875, 0.85))
    assert (average["bad"]["sim"], average["bad"]["n"], average["bad"]["successes"]) == (0.25, 8, 2)
    assert domains["raw"]["open"]["mmrv"] == 0
    assert domains["raw"]["open"]["pearson_r"] == pytest.approx(1, abs=1e-6)


def test_proxy_real_has_rates_and_predicts_nothing():
    config = CONFIG.model_copy(update={"domains": ["raw", "proxy_real"], "styles": []})
    results = {t: Result(t, outcome(t)) for t in trials(config)}
    found = summary(results, config)
    assert found["domains"]["raw"]["open"]["mmrv"] == 0
    for task, sim, n in (("open", 0.75, 4), ("close", 1.0, 4), ("average", 0.875, 8)):
        block = found["domains"]["proxy_real"][task]
        assert [block[key] for key in ("mmrv", "mmrv_ci", "pearson_r", "pearson_r_ci")] == [None] * 4
        entry = block["policies"]["good"]
        assert (entry["sim"], entry["n"], entry["real"]) == (sim, n, None)
        assert entry["wilson"][0] < sim


def test_styles_and_cells():
    found = summary()
    by_style = {(s["style"], s["policy"], s["task"]): s["successes"] for s in found["styles"]}
    assert (by_style["gold", "good", "open"], by_style["wood", "good", "open"]) == (4, 3)
    (cell,) = (
        c
        for c in found["cells"]
        if (c["domain"], c["policy"], c["task"], c["drawer"], c["pose"])
        == ("edited", "good", "open", "bottom", "a0")
    )
    assert (cell["n"], cell["successes"]) == (2, 1)


def test_errors_and_missing_trials_are_no_failures():
    results = dict(RESULTS)
    broken, absent = [t for t in results if (t.policy, t.task, t.domain) == ("good", "open", "raw")][:2]
    results[broken] = Result(broken, "error", message="device lost")
    del results[absent]
    found = summary(results)
    entry = found["domains"]["raw"]["open"]["policies"]["good"]
    assert (entry["n"], entry["successes"], entry["errors"]) == (2, 1, 1)
    assert found["trials"] == {"wanted": 48, "finished": 46, "errors": 1, "absent": 0, "missing": 1}
    assert any("device lost" in warning for warning in found["warnings"])
    assert any("1 of 48 trials have not run" in warning for warning in found["warnings"])


def test_no_metric_without_a_rate_of_every_policy():
    results = {t: r for t, r in RESULTS.items() if (t.policy, t.task) != ("bad", "open")}
    blocks = summary(results)["domains"]["raw"]
    assert blocks["open"]["policies"]["bad"]["sim"] is None
    assert (blocks["open"]["mmrv"], blocks["open"]["pearson_r_ci"]) == (None, None)
    assert blocks["average"]["mmrv"] is None
    assert blocks["close"]["mmrv"] is not None
    assert summary({})["domains"]["edited"]["close"]["policies"]["good"]["wilson"] is None


def test_one_policy_has_no_correlation():
    config = CONFIG.model_copy(update={"policies": {"good": CONFIG.policies["good"]}})
    found = summary(config=config)
    assert found["domains"]["raw"]["open"]["pearson_r"] is None
    assert any("two policies" in warning for warning in found["warnings"])


def test_one_task_has_no_average():
    assert list(summary(config=CONFIG.model_copy(update={"tasks": ["close"]}))["domains"]["raw"]) == ["close"]


def test_equal_averages_tie_whatever_their_floating_point_sums():
    """(0/10 + 3/10) / 2 and (1/10 + 2/10) / 2 differ in the last bit; as rates they tie."""
    assert (0 / 10 + 3 / 10) / 2 != (1 / 10 + 2 / 10) / 2
    config = CONFIG.model_copy(update={"domains": ["raw"], "drawers": ["top"], "seeds": list(range(5))})
    wins = {("good", "open"): 0, ("good", "close"): 3, ("bad", "open"): 1, ("bad", "close"): 2}
    results = {}
    for t in trials(config):
        wins[t.policy, t.task] -= 1
        results[t] = Result(t, "success" if wins[t.policy, t.task] >= 0 else "failure")
    average = summary(results, config)["domains"]["raw"]["average"]
    assert average["policies"]["good"]["sim"] == average["policies"]["bad"]["sim"] == 0.15
    # A tie that reality has not: it costs the better policy the difference of the real averages, 0.65.
    assert average["mmrv"] == pytest.approx(0.65 / 2)


def test_equal_results_have_equal_intervals_in_every_domain():
    results = {t: Result(t, outcome(type(t)(**{**vars(t), "style": ""}))) for t in trials(CONFIG)}
    domains = summary(results)["domains"]
    for name in ("open", "close", "average"):
        raw, edited = domains["raw"][name], domains["edited"][name]
        assert raw["pearson_r_ci"] == edited["pearson_r_ci"]
        assert raw["mmrv_ci"] == edited["mmrv_ci"]


def test_what_a_reader_must_know_comes_as_warnings():
    stand_in = REAL.model_copy(update={"stand_in": True})
    found = summary(real=stand_in, facts=Facts(untrained=["gold"], blind=["good", "bad"]))
    text = "\n".join(found["warnings"])
    assert "stand-in: robot" in text
    assert "do not look at images: good, bad" in text
    assert "never trained: gold. Their edits are noise" in text
    assert found["meaningful"] is False
    assert summary()["meaningful"] is True
    assert summary()["warnings"] == []


def test_equal_rates_of_all_policies_are_pointed_out():
    results = {t: Result(t, "failure") for t in trials(CONFIG)}
    found = summary(results)
    assert found["domains"]["raw"]["open"]["pearson_r"] == 0
    assert any("same rate in: raw open, raw close" in warning for warning in found["warnings"])


def test_status_by_policy_and_domain():
    results = {t: r for t, r in RESULTS.items() if t.policy == "good"}
    found = status(CONFIG, results, Facts())
    assert (found["wanted"], found["finished"], found["missing"]) == (48, 24, 24)
    assert {(g["policy"], g["domain"]): g["missing"] for g in found["groups"]} == {
        ("good", "raw"): 0,
        ("bad", "raw"): 8,
        ("good", "edited"): 0,
        ("bad", "edited"): 16,
    }


ROOM = "data/hab2_bench_assets/stages/modern_office_no_roof.glb"
AGGREGATED = StudyConfig.model_validate(
    {
        "policies": {name: {"kind": "scripted"} for name in ("good", "bad")},
        "domains": ["raw", "varagg"],
        "variants": {"varagg": ["base", "darker", "modern_office"]},
        "drawers": ["top", "bottom"],
        "poses": ["a0", "a1"],
        "env": {"skin": "simpler"},
    }
)


def test_absent_variants_are_named_and_rates_are_over_what_ran():
    wanted = list(trials(AGGREGATED))
    results = {t: Result(t, outcome(t)) for t in wanted if t.variant != "modern_office"}
    facts = Facts(absent={"varagg": {"modern_office": ROOM}})
    found = summary(results, AGGREGATED, facts=facts)
    assert found["trials"] == {"wanted": 64, "finished": 48, "errors": 0, "absent": 16, "missing": 0}
    assert found["absent"] == [{"domain": "varagg", "variant": "modern_office", "file": ROOM}]
    (warning,) = found["warnings"]
    assert "16 of 64 trials are not run" in warning
    assert f"varagg/modern_office ({ROOM})" in warning
    good = found["domains"]["varagg"]["open"]["policies"]["good"]
    assert (good["n"], good["successes"]) == (8, 6)
    groups = {(g["policy"], g["domain"]): g for g in status(AGGREGATED, results, facts)["groups"]}
    varagg = groups["good", "varagg"]
    assert [varagg[key] for key in ("wanted", "finished", "absent", "missing")] == [24, 16, 8, 0]
    assert (varagg["published"], groups["good", "raw"]["published"]) == (378, None)
    # A variant that is not absent is missing until it ran.
    assert summary(results, AGGREGATED)["trials"]["missing"] == 16


def test_variants_of_a_situation_are_resampled_together():
    """Three variants with equal results say no more about other situations than one does."""
    results = {t: Result(t, outcome(t)) for t in trials(AGGREGATED)}
    domains = summary(results, AGGREGATED)["domains"]
    for name in ("open", "close", "average"):
        raw, varagg = domains["raw"][name], domains["varagg"][name]
        assert raw["pearson_r_ci"] == varagg["pearson_r_ci"]
        assert raw["mmrv_ci"] == varagg["mmrv_ci"]
    # The Wilson interval is of counts.
    assert domains["varagg"]["open"]["policies"]["good"]["n"] == 12
