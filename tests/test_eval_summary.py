from __future__ import annotations

import json
from dataclasses import replace

import pytest
from small_drawer import changed

from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.published import Rates
from simedit.eval.summary import Facts, status, summarise
from simedit.eval.trials import Result, scenes, trials
from simedit.policies.kinds.scripted import Scripted

CONFIG = resolved(
    StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "scripted"} for name in ("good", "bad")},
            "domains": ["raw", "edited"],
            "styles": ["gold", "wood"],
            "scenes": {"drawer": ["top", "bottom"], "pose": ["a0", "a1"]},
        }
    )
)
REAL = Rates.model_validate(
    {
        "source": "robot",
        "policies": {"good": {"open": 0.8, "close": 0.9}, "bad": {"open": 0.1, "close": 0.3}},
    }
)
# The good policy fails in one cell, and with wood in the one beside it; the bad one closes the top drawer.
FAILURES = {("good", "open", "bottom/a1", ""), ("good", "open", "bottom/a0", "wood")}


def outcome(t):
    if t.policy == "bad":
        return "success" if t.task == "close" and t.scene.startswith("top/") else "failure"
    return "failure" if (t.policy, t.task, t.scene, t.style) in FAILURES else "success"


RESULTS = {t: Result(t, outcome(t)) for t in trials(CONFIG)}

# Three policies of graded skill in 27 situations a task, which they find hard in the same order.
WIDE_POLICY = Scripted(kind="scripted")
WIDE = resolved(StudyConfig(policies=dict.fromkeys(("good", "fair", "bad"), WIDE_POLICY), domains=["raw"]))
WIDE_REAL = Rates.model_validate(
    {
        "source": "robot",
        "policies": {
            "good": {"open": "22/27", "close": "24/27"},
            "fair": {"open": "14/27", "close": "15/27"},
            "bad": {"open": "1/27", "close": "3/27"},
        },
    }
)
SKILL = {"good": 18, "fair": 12, "bad": 2}


def wide_outcome(t):
    hardness = scenes(WIDE).index(t.scene)
    return "success" if 7 * hardness % 27 < SKILL[t.policy] else "failure"


WIDE_RESULTS = {t: Result(t, wide_outcome(t)) for t in trials(WIDE)}


def summary(results=RESULTS, config=CONFIG, real=REAL, facts=None):
    return summarise(config, results, real, facts or Facts())


def test_the_json_layout():
    found = summary()
    assert json.loads(json.dumps(found)) == found
    assert found["schema"] == 2
    assert list(found["domains"]) == ["raw", "edited"]
    assert list(found["domains"]["raw"]) == ["open", "close", "average"]
    block = found["domains"]["raw"]["open"]
    assert list(block) == [
        *("mmrv", "mmrv_ci", "pearson_r", "pearson_r_ci", "pearson_r_simpler", "situations", "policies")
    ]
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
    config = changed(CONFIG, domains=["raw", "proxy_real"], styles=[])
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
        if (c["domain"], c["policy"], c["task"], c["scene"]) == ("edited", "good", "open", "bottom/a0")
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
    config = changed(CONFIG, domains=["raw"], seeds=list(range(5)), scenes={"drawer": ["top"]})
    wins = {("good", "open"): 0, ("good", "close"): 3, ("bad", "open"): 1, ("bad", "close"): 2}
    results = {}
    for t in trials(config):
        wins[t.policy, t.task] -= 1
        results[t] = Result(t, "success" if wins[t.policy, t.task] >= 0 else "failure")
    average = summary(results, config)["domains"]["raw"]["average"]
    assert average["policies"]["good"]["sim"] == average["policies"]["bad"]["sim"] == 0.15
    # A tie that reality has not: it costs the better policy the difference of the real averages, 0.65.
    assert average["mmrv"] == pytest.approx(0.65 / 2)


@pytest.mark.parametrize("seeds", [[0], list(range(5))])
def test_equal_results_have_equal_intervals_with_any_domain_styles_and_seeds(seeds):
    """Repeats, styles and variants of a situation say nothing about other situations."""
    config = changed(WIDE, domains=["raw", "edited"], styles=["gold", "wood", "steel"], seeds=seeds)
    alone = summary(WIDE_RESULTS, WIDE, WIDE_REAL)["domains"]["raw"]
    results = {t: Result(t, wide_outcome(t)) for t in trials(config)}
    domains = summary(results, config, WIDE_REAL)["domains"]
    for name, block in alone.items():
        for other in (domains["raw"][name], domains["edited"][name]):
            for key in ("mmrv_ci", "pearson_r_ci"):
                assert other[key] == pytest.approx(block[key], abs=1e-9)
            for policy, entry in block["policies"].items():
                assert other["policies"][policy]["wilson"] == pytest.approx(entry["wilson"], abs=1e-9)


def test_intervals_hold_their_estimates_and_say_how_sure_they_are():
    block = summary(WIDE_RESULTS, WIDE, WIDE_REAL)["domains"]["raw"]["average"]
    for key in ("mmrv", "pearson_r"):
        low, high = block[f"{key}_ci"]
        assert low <= block[key] <= high
    assert low < high < 1
    for entry in block["policies"].values():
        assert entry["wilson"][0] <= entry["sim"] <= entry["wilson"][1]


def test_a_mean_lies_in_its_interval_however_unequal_its_parts():
    """Opening 0 of 27, closing 1 of 1: the mean, 0.5, is not in the pooled counts' interval."""
    played = {t: r for t, r in WIDE_RESULTS.items() if t.task == "open" or t.scene == "top/a0"}
    results = {t: Result(t, "success" if t.task == "close" else "failure") for t in played}
    entry = summary(results, WIDE, WIDE_REAL)["domains"]["raw"]["average"]["policies"]["good"]
    assert (entry["sim"], entry["successes"], entry["n"]) == (0.5, 1, 28)
    assert entry["wilson"][0] < 0.5 < entry["wilson"][1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scenes": {"pose": ["a0"], "drawer": ["top"]}}, "Too few situations"),
        ({"scenes": {"pose": ["a0"]}, "seeds": list(range(10))}, "Too few situations"),
        ({"policies": dict.fromkeys(("good", "bad"), WIDE_POLICY)}, "Two policies have r 1 or -1"),
    ],
)
def test_nothing_is_certain_from_next_to_nothing(changes, said):
    config = changed(WIDE, **changes)
    found = summary({t: Result(t, wide_outcome(t)) for t in trials(config)}, config, WIDE_REAL)
    assert any(said in warning for warning in found["warnings"])
    for block in found["domains"]["raw"].values():
        assert block["pearson_r_ci"] is None
        assert (block["mmrv_ci"] is None) == ("situations" in said)


def test_no_interval_of_policies_that_always_fail():
    config = changed(WIDE, scenes={"pose": ["a0", "b0", "c0"], "drawer": ["top"]})
    for study in (config, WIDE):
        found = summary({t: Result(t, "failure") for t in trials(study)}, study, WIDE_REAL)
        for block in found["domains"]["raw"].values():
            assert block["mmrv"] > 0
            assert (block["mmrv_ci"], block["pearson_r_ci"]) == (None, None)


def test_real_rates_that_are_counts_widen_the_intervals():
    few, many, exact = (
        Rates.model_validate(
            {
                "source": "robot",
                "policies": {
                    name: dict.fromkeys(("open", "close"), f"{k * times}/{10 * times}" if times else k / 10)
                    for name, k in (("good", 8), ("fair", 5), ("bad", 1))
                },
            }
        )
        for times in (1, 10_000, 0)
    )
    found = [summary(WIDE_RESULTS, WIDE, real) for real in (few, many, exact)]
    wide, narrow, least = (f["domains"]["raw"]["average"]["pearson_r_ci"] for f in found)
    assert wide[1] - wide[0] > 1.2 * (narrow[1] - narrow[0])
    assert narrow == pytest.approx(least, abs=0.01)
    assert [f["real"]["exact"] for f in found] == [[], [], ["good", "fair", "bad"]]


BROKEN = "policy 'good': ValueError: too hard (step 3)"


def hard(t):
    return not t.scene.startswith("top/")


@pytest.mark.parametrize("setting", ["error", "failure"])
def test_breaking_where_it_is_hard_flatters_nobody(setting):
    """Of two equal policies one fails 18 hard trials of each task, the other breaks in them."""
    config = WIDE.model_copy(update={"count_policy_errors_as": setting})
    results = {}
    for t in trials(config):
        ending = "error" if t.policy == "good" else "failure"
        results[t] = Result(t, ending if hard(t) else "success", message=BROKEN if hard(t) else "")
    found = summary(results, config, WIDE_REAL)
    entries = found["domains"]["raw"]["open"]["policies"]
    assert entries["good"]["sim"] == entries["fair"]["sim"] == (1 if setting == "error" else 1 / 3)
    assert entries["good"]["n"] == entries["fair"]["n"] == (9 if setting == "error" else 27)
    assert found["left_out"] == (72 if setting == "error" else 0)
    warning = next(text for text in found["warnings"] if "36 trials ended in an error" in text)
    assert "good 36" in warning
    assert ("count as failures" in warning) == (setting == "failure")
    assert any("Policies are compared on the same trials: 72" in text for text in found["warnings"]) == (
        setting == "error"
    )
    assert found["trials"]["errors"] == 36


def test_an_environments_error_never_counts_as_a_failure():
    config = WIDE.model_copy(update={"count_policy_errors_as": "failure"})
    broken = next(iter(WIDE_RESULTS))
    results = WIDE_RESULTS | {broken: Result(broken, "error", message="the environment: OSError: policy 'x'")}
    found = summary(results, config, WIDE_REAL)
    assert found["domains"]["raw"][broken.task]["policies"][broken.policy]["n"] == 26
    assert any("count for nothing" in warning for warning in found["warnings"])


def test_policies_that_share_no_trial_have_rates_of_their_own_and_are_not_compared():
    place = ["good", "fair", "bad"]
    results = {t: r for t, r in WIDE_RESULTS.items() if place.index(t.policy) == int(t.scene[-1])}
    found = summary(results, WIDE, WIDE_REAL)
    for block in found["domains"]["raw"].values():
        assert all(entry["n"] for entry in block["policies"].values())
        metrics = ("mmrv", "mmrv_ci", "pearson_r", "pearson_r_ci", "pearson_r_simpler")
        assert [block[key] for key in metrics] == [None] * 5
    assert found["domains"]["raw"]["open"]["policies"]["good"]["n"] == 9
    assert any("each policy's own" in text and "raw open, raw close" in text for text in found["warnings"])


def test_repeated_episodes_are_found_by_their_first_frame():
    config = changed(WIDE, domains=["raw", "varagg"], seeds=[0, 1, 2])

    def ended(t, repeat):
        frame = f"{t.task}{t.scene}{t.variant}" + ("" if repeat else str(t.seed))
        return Result(t, wide_outcome(t), 5, 0.1, frame_hash=frame)

    results = {t: ended(t, repeat=t.domain == "raw") for t in trials(config)}
    (warning,) = (text for text in summary(results, config, WIDE_REAL)["warnings"] if "repeat" in text)
    assert "raw 324." in warning
    assert "varagg" not in warning
    # Other frames, or none known, are no repeats.
    fresh = {t: ended(t, repeat=False) for t in results}
    unknown = {t: Result(t, wide_outcome(t)) for t in results}
    for other in (fresh, unknown):
        assert not any("repeat" in text for text in summary(other, config, WIDE_REAL)["warnings"])


@pytest.mark.parametrize("old", [{}, {"stand_in": False}, {"stand_in": False, "name": ""}])
def test_rates_kept_before_the_lab_said_so_are_no_robots_either(old):
    source = "proxy-real, a rendering and no robot: 6 tasks x 9 poses x 2 seeds a policy"
    real = Rates.model_validate(WIDE_REAL.model_dump() | {"source": source} | old)
    found = summary(WIDE_RESULTS, WIDE, real)
    assert (found["real"]["stand_in"], found["real"]["name"]) == (True, "proxy-real (a rendering)")
    assert found["meaningful"] is False


@pytest.mark.parametrize(
    "change", [{"outcome": "<script>"}, {"outcome": None}, {"message": None}, {"message": b"x"}]
)
def test_damaged_results_are_refused_by_name(change):
    t = next(iter(RESULTS))
    with pytest.raises(SimeditError, match=f"stored result of {t}"):
        summary(RESULTS | {t: replace(RESULTS[t], **change)})


def test_damaged_kept_rates_and_facts_are_refused():
    real = REAL.model_copy(update={"policies": {"good": REAL.policies["good"]}})
    with pytest.raises(SimeditError, match="unknown policy 'bad'"):
        summary(real=real)
    for wrong in (
        {"blind": 3},
        {"absent": ["x"]},
        {"absent": {"raw": 1}},
        {"other": []},
        {"untrained": None},
    ):
        with pytest.raises(ValueError, match="validation error"):
            Facts(**wrong)


def test_a_message_from_elsewhere_is_one_plain_line():
    t = next(iter(RESULTS))
    results = RESULTS | {t: Result(t, "error", message="\x1b[2J\nlost" + "x" * 1000)}
    (warning,) = (text for text in summary(results)["warnings"] if "ended in an error" in text)
    assert warning.isprintable()
    assert len(warning) < 600


def test_what_a_reader_must_know_comes_as_warnings():
    stand_in = REAL.model_copy(update={"stand_in": True})
    found = summary(real=stand_in, facts=Facts(untrained=["gold"], blind=["good", "bad"]))
    text = "\n".join(found["warnings"])
    assert "stand-in: robot" in text
    assert "do not look at images: good, bad" in text
    assert "never trained: gold. Their edits are noise" in text
    assert found["meaningful"] is False
    assert summary()["meaningful"] is True
    assert found["exercise"] is True
    lab = found | summary(real=stand_in)
    assert (lab["exercise"], lab["meaningful"]) == (False, False)
    assert summary(WIDE_RESULTS, WIDE, WIDE_REAL)["warnings"] == []


@pytest.mark.parametrize("kind", ["real", "simulated", "both"])
def test_where_all_rates_are_equal_r_is_undefined_and_nothing_is_ranked(kind):
    real = WIDE_REAL
    if kind != "simulated":
        rates = {name: {"open": 0.5, "close": 0.5} for name in WIDE.policies}
        real = Rates.model_validate({"source": "robot", "policies": rates})
    results = WIDE_RESULTS if kind == "real" else {t: Result(t, "failure") for t in trials(WIDE)}
    found = summary(results, WIDE, real)
    for block in found["domains"]["raw"].values():
        assert [block[key] for key in ("pearson_r", "pearson_r_ci", "mmrv_ci")] == [None] * 3
        assert block["pearson_r_simpler"] == (1 if kind == "both" else 0)
        assert (block["mmrv"] is None) == (kind != "simulated")
    warnings = [text for text in found["warnings"] if "All policies have the same rate" in text]
    assert len(warnings) == (2 if kind == "both" else 1)
    assert all("raw open, raw close, raw average" in text for text in warnings)
    assert "undefined" in warnings[0]


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
AGGREGATED = resolved(
    StudyConfig.model_validate(
        {
            "policies": {name: {"kind": "scripted"} for name in ("good", "bad")},
            "domains": ["raw", "varagg"],
            "variants": {"varagg": ["base", "darker", "modern_office"]},
            "scenes": {"drawer": ["top", "bottom"], "pose": ["a0", "a1"]},
            "suite": {"kind": "drawer", "skin": "simpler"},
        }
    )
)


def test_absent_variants_are_named_and_rates_are_over_what_ran():
    wanted = list(trials(AGGREGATED))
    results = {t: Result(t, outcome(t)) for t in wanted if t.variant != "modern_office"}
    facts = Facts(absent={"varagg": {"modern_office": ROOM}})
    found = summary(results, AGGREGATED, facts=facts)
    assert found["trials"] == {"wanted": 64, "finished": 48, "errors": 0, "absent": 16, "missing": 0}
    assert found["absent"] == [{"domain": "varagg", "variant": "modern_office", "file": ROOM}]
    warning = found["warnings"][0]
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
