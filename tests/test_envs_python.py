from __future__ import annotations

import pytest

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.eval.config import StudyConfig, meaning, resolved
from simedit.eval.trials import trials


def study(**settings) -> StudyConfig:
    given = {"policies": {"p": {"kind": "python", "factory": "small_gym:Right"}}, "domains": ["plain"]}
    return parse_config(StudyConfig, {**given, "suite": "small_gym:Suite", **settings}, where="study")


def test_a_suite_by_the_name_of_its_factory():
    config = resolved(study(domains=["plain", "edited"], styles=["gold"]))
    assert [(t.scene, t.domain, t.variant) for t in trials(config)] == [
        *(("l", "plain", "a"), ("r", "plain", "a"), ("l", "plain", "b"), ("r", "plain", "b")),
        *(("l", "edited", ""), ("r", "edited", "")),
    ]
    assert config.behind("edited", "") == ("plain", "a")
    assert (config.realities, config.max_steps) == (["lab"], 4)
    assert config.suite.editing() == {"image_key": "frame"}
    assert (config.suite.problems({}), config.suite.absent({})) == ([], {})


def test_its_file_and_arguments_are_part_of_what_a_trial_means():
    one = meaning(resolved(study()), {})
    other = meaning(
        resolved(study(suite={"kind": "python", "factory": "small_gym:Suite", "args": {"x": 1}})), {}
    )
    assert one["suite.factories"] == other["suite.factories"]
    assert one["suite.args"] != other["suite.args"]


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("small_gym:Suit", "did you mean 'Suite'"),
        ("small_gyms:Suite", "unknown module 'small_gyms'"),
        ("small_gym:raising", "small_gym:raising raised ValueError: no such table"),
        ("small_gym:without_tasks", "what small_gym:without_tasks makes is no suite: it has no tasks"),
        ("small_gym:Right", "it has no tasks"),
    ],
)
def test_what_gives_no_suite_is_refused(suite, message):
    with pytest.raises(SimeditError, match=message):
        resolved(study(suite=suite))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"suite": "drawers"}, "did you mean 'drawer'"),
        ({"suite": {"kind": "gymn", "id": "a"}}, "did you mean 'gym'"),
        ({"env": {}}, "the key env is called suite now"),
        ({"drawers": ["top"]}, "the key drawers is called scenes.drawer now"),
        ({"poses": ["a0"]}, "the key poses is called scenes.pose now"),
    ],
)
def test_a_config_that_names_no_suite_is_refused(settings, message):
    with pytest.raises(SimeditError, match=message):
        study(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domains": ["plane"]}, "did you mean 'plain'"),
        ({"tasks": ["left"]}, "unknown task 'left'"),
        ({"scenes": {"sides": ["l"]}}, "did you mean 'side'"),
        ({"scenes": {"side": ["m"]}}, "unknown side 'm'"),
        ({"variants": {"plain": ["c"]}}, "unknown variant of plain 'c'"),
    ],
)
def test_what_the_suite_does_not_have_is_refused(settings, message):
    with pytest.raises(SimeditError, match=message):
        resolved(study(**settings))
