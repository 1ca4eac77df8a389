from __future__ import annotations

import pytest
from small_drawer import changed

from simedit.envs.drawer.suite import DrawerSuite
from simedit.eval.caveats import Facts
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.headline import headline, number
from simedit.eval.published import Rates, load_published
from simedit.eval.summary import published_summary, summarise
from simedit.eval.terminal import print_metrics, print_summary
from simedit.eval.trials import Result, trials
from simedit.policies.kinds.scripted import Scripted


def study(names, **changes):
    policies = dict.fromkeys(names, Scripted(kind="scripted"))
    return resolved(StudyConfig(policies=policies, domains=["raw"], **changes))


def rates(values, **fields):
    policies = {name: {"open": value, "close": value} for name, value in values.items()}
    return Rates.model_validate({"source": "robot", "policies": policies, **fields})


def found(real, sim, **changes):
    """The headline of a study in which each policy succeeds in so many of 27 situations a task."""
    config = study(sim, **changes)
    counts = dict.fromkeys([(name, task) for name in sim for task in config.tasks], 0)
    results = {}
    for t in trials(config):
        results[t] = Result(t, "success" if counts[t.policy, t.task] < sim[t.policy] else "failure")
        counts[t.policy, t.task] += 1
    return headline(summarise(config, results, real, Facts()))


APART = {"a": 0.9, "b": 0.5, "c": 0.1}


@pytest.mark.parametrize(
    ("sim", "said"),
    [
        ({"a": 26, "b": 13, "c": 1}, "Raw renders rank as reality does."),
        ({"a": 1, "b": 13, "c": 26}, " do not rank as reality does."),
        ({"a": 24, "b": 13, "c": 13}, " follow reality, but their intervals leave open whether"),
        ({"a": 13, "b": 14, "c": 12}, " leave open whether they rank as reality does."),
        ({"a": 14, "b": 14, "c": 14}, " rank nothing: all policies have the same rate there."),
    ],
)
def test_a_headline_says_what_the_intervals_do(sim, said):
    assert said in found(rates(APART), sim)


def test_no_claim_without_enough_policies_situations_or_real_differences():
    perfect = {"a": 26, "b": 13, "c": 1}
    assert "too few policies or situations" in found(rates(APART), {"a": 27, "b": 0})
    assert "too few policies or situations" in found(
        rates(APART), perfect, scenes={"pose": ["a0"]}, seeds=list(range(9))
    )
    assert "nothing to predict" in found(rates(dict.fromkeys("abc", 0.5)), perfect)
    # What seems perfect is not so sure where real rates are of five trials.
    assert " follow reality" in found(rates({"a": "4/5", "b": "3/5", "c": "0/5"}), perfect)


def test_a_stand_in_is_never_called_reality():
    for sim in ({"a": 26, "b": 13, "c": 1}, {"a": 1, "b": 13, "c": 26}, {"a": 13, "b": 14, "c": 12}):
        text = found(rates(APART, stand_in=True, name="proxy-real (a rendering)"), sim)
        assert "proxy-real (a rendering)" in text
        assert "reality" not in text
        assert "a stand-in" in found(rates(APART, stand_in=True), sim)


def test_headlines_of_a_study_under_way():
    table = load_published(DrawerSuite()).real
    config = study(table.policies)
    assert headline(summarise(config, {}, table, Facts())) == "No trial has finished yet."
    results = {t: Result(t, "success") for t in list(trials(config))[:-1]}
    text = headline(summarise(config, results, table, Facts()))
    assert text.startswith("So far (215 of 216 trials): raw renders")
    blind = Facts(blind=list(table.policies))
    assert "say nothing about reality yet" in headline(summarise(config, results, table, blind))


def test_domains_of_one_claim_share_a_sentence():
    config = changed(study("abc"), domains=["raw", "varagg", "edited"], styles=["gold"])
    results = {t: Result(t, "success" if t.policy == "a" else "failure") for t in trials(config)}
    text = headline(summarise(config, results, rates(APART), Facts()))
    assert text.startswith("Raw renders, Variant Aggregation frames and edited frames follow reality, but")


def test_points_and_intervals_have_equal_decimals():
    assert number(1 / 18, (0.0555, 0.17)) == "0.056 [0.056, 0.170]"
    assert number(0.5, None) == "0.500"
    assert number(None, None) == "undefined"


def test_the_terminal_names_what_rates_are_compared_with(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    config = study("abc")
    results = {t: Result(t, "success" if t.policy == "a" else "failure") for t in trials(config)}
    print_summary(summarise(config, results, rates(APART, stand_in=True, name="a [toy]"), Facts()))
    shown = capsys.readouterr().out
    assert "Simulated against a [toy] rates" in shown
    assert 'No robot measured the rates called "a [toy]"' in shown
    print_metrics(published_summary())
    assert "Simulated against real rates" in capsys.readouterr().out


def test_the_terminal_shows_rates_where_there_is_nothing_to_compare_them_with(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    config = study("ab")
    results = {t: Result(t, "success" if t.policy == "a" else "failure") for t in trials(config)}
    print_summary(summarise(config, results, rates({"a": None, "b": None}), Facts()))
    shown = capsys.readouterr().out
    assert "1.00 [" in shown
    assert "MMRV" not in shown
