from __future__ import annotations

import pytest

from simedit.envs.drawer.suite import DrawerSuite
from simedit.errors import SimeditError
from simedit.eval.config import RealConfig
from simedit.eval.published import Rates, load_published, load_real
from simedit.eval.summary import published_summary

SUITE = DrawerSuite()
BLOCKS = ("open", "close", "average")
TABLE = {
    "varagg": ((0.000, 0.130, 0.083), (0.915, 0.756, 0.964)),
    "vismatch": ((0.000, 0.130, 0.083), (0.987, 0.891, 0.972)),
    "paper": ((0.000, 0.000, 0.000), (0.917, 0.978, 0.966)),
}


@pytest.mark.parametrize("domain", TABLE)
def test_metrics_of_table_4_follow_from_its_rates(domain):
    blocks = published_summary()["domains"][domain]
    assert tuple(blocks) == BLOCKS
    expected_mmrv, expected_r = TABLE[domain]
    # The rates are printed with three decimals.
    assert [blocks[name]["mmrv"] for name in BLOCKS] == pytest.approx(expected_mmrv, abs=0.0006)
    assert [blocks[name]["pearson_r"] for name in BLOCKS] == pytest.approx(expected_r, abs=0.004)


def test_every_published_rate_has_a_source_and_an_average_as_printed():
    table = load_published(SUITE)
    assert all(rates.source for rates in (table.real, *table.domains.values()))
    entry = published_summary()["domains"]["paper"]["average"]["policies"]["RT-1 (Converged)"]
    assert entry["sim"] == pytest.approx(0.640, abs=0.001)
    assert entry["real"] == pytest.approx(0.870, abs=0.001)
    assert entry["n"] is None


def test_real_rates_take_the_study_names():
    real = load_real(RealConfig(names={"mine": "RT-1-X"}), SUITE, ["mine"], ["open", "close"])
    assert real.policies["mine"].rate("open") == 14 / 27


def test_published_real_rates_are_the_counts_that_their_three_decimals_print():
    printed = {
        "RT-1 (Converged)": (0.815, 0.926),
        "RT-1 (15%)": (0.704, 0.889),
        "RT-1-X": (0.519, 0.741),
        "RT-1 (Begin)": (0.0, 0.0),
    }
    for name, rates in load_published(SUITE).real.policies.items():
        assert tuple(round(rates.rate(task), 3) for task in ("open", "close")) == printed[name]
        assert rates.counts("open").n == rates.counts("close").n == 27


def test_the_labs_rates_are_called_what_they_are():
    real = load_real(RealConfig(source="lab"), SUITE, ["last"], ["open", "close"])
    assert (real.stand_in, real.label) == (True, "proxy-real (a rendering)")
    assert load_published(SUITE).real.label == "real"
    assert Rates(source="x", stand_in=True, policies={}).label == "a stand-in"
    # A name alone does not make rates anything but real, nor may it hide that they are not.
    assert Rates(source="x", name="reality", policies={}).label == "real"


def test_real_rates_from_a_file_may_be_counts(tmp_path):
    path = tmp_path / "real.yaml"
    path.write_text("source: my lab\npolicies:\n  a: {open: {successes: 22, n: 27}, close: 0.5}\n")
    real = load_real(RealConfig(source=str(path)), SUITE, ["a"], ["open", "close"])
    assert (real.policies["a"].rate("open"), real.policies["a"].rate("close")) == (22 / 27, 0.5)
    assert not real.stand_in


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source: x\npolicies: {b: {open: 0.5, close: 0.5}}", "unknown policy 'a'"),
        ("source: x\npolicies: {a: {open: 0.5}}", "no close rate for policy 'a'"),
        ("source: x\npolicies: {a: {open: 1.5, close: 0.5}}", "1.5 is no rate"),
        ("source: x\npolicies: {a: {open: {successes: 3, n: 2}, close: 0.5}}", "3 successes in 2 trials"),
        ("source: x\npolicys: {}", "did you mean 'policies'"),
    ],
)
def test_bad_real_rates_are_refused(tmp_path, text, message):
    path = tmp_path / "real.yaml"
    path.write_text(text)
    with pytest.raises(SimeditError, match=message):
        load_real(RealConfig(source=str(path)), SUITE, ["a"], ["open", "close"])


def test_a_missing_file_of_real_rates_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SimeditError, match=str(tmp_path / "real.yaml")):
        load_real(RealConfig(source="real.yaml"), SUITE, ["a"], ["open"])


def test_a_study_may_measure_rates_and_compare_them_with_none():
    real = load_real(RealConfig(source="none"), SUITE, ["a"], ["open", "close"])
    assert [real.policies["a"].rate(task) for task in ("open", "close")] == [None, None]


def test_the_published_protocols_have_their_published_sizes():
    # SIMPLER: 6 tasks, 9 poses, 4 robots; 7 scenes. arXiv 2504.12833: 54 trials, 7 styles, 3 seeds.
    assert SUITE.published_trials() == {"vismatch": 216, "varagg": 378, "edited": 1134}
