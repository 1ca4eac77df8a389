from __future__ import annotations

from collections import Counter
from itertools import pairwise

from small_drawer import CONFIG

from simedit.eval.config import StudyConfig, resolved
from simedit.eval.trials import trials


def test_every_combination_once_with_styles_in_the_edited_domain_alone():
    wanted = list(trials(CONFIG))
    assert len(set(wanted)) == len(wanted) == 3 * 2 * 2 * 3 * (1 + 2)
    assert Counter((t.domain, t.style) for t in wanted) == {
        ("raw", ""): 36,
        ("edited", "gold"): 36,
        ("edited", "wood"): 36,
    }


def test_environment_and_style_change_once_each():
    wanted = list(trials(CONFIG))
    changes = sum((a.domain, a.style) != (b.domain, b.style) for a, b in pairwise(wanted))
    assert changes == 2


def test_variants_and_seeds_of_each_domain():
    config = resolved(
        StudyConfig.model_validate(
            {
                "policies": {"a": {"kind": "scripted"}},
                "domains": ["raw", "vismatch", "varagg", "edited"],
                "variants": {"varagg": ["base", "darker"]},
                "styles": ["gold", "wood"],
                "suite": {"kind": "drawer", "skin": "simpler"},
                "editor": {"seeds": [3, 4, 5]},
            }
        )
    )
    wanted = list(trials(config))
    assert len(set(wanted)) == len(wanted)
    assert Counter(t.domain for t in wanted) == {
        "raw": 54,
        "vismatch": 54 * 4,
        "varagg": 54 * 2,
        "edited": 54 * 2 * 3,
    }
    assert {t.seed for t in wanted if t.domain != "edited"} == {0}
    assert {t.seed for t in wanted if t.domain == "edited"} == {3, 4, 5}
    places = [(t.domain, t.variant) for t in wanted]
    assert sum(a != b for a, b in pairwise(places)) == 1 + 4 + 2 + 1 - 1
    assert "varagg/darker seed 0" in str(next(t for t in wanted if t.variant == "darker"))
    by_unit = {}
    for trial in wanted:
        by_unit.setdefault((trial.situation, trial.seed), set()).add(trial.episode_seed)
    assert all(len(seeds) == 1 for seeds in by_unit.values())


def test_a_full_grid_has_54_trials_a_seed():
    config = resolved(
        StudyConfig.model_validate({"policies": {"a": {"kind": "scripted"}}, "domains": ["raw"]})
    )
    assert len(list(trials(config))) == 54


def test_episode_seeds_are_equal_for_equal_situations_and_only_there():
    by_seed = {}
    for trial in trials(CONFIG):
        by_seed.setdefault(trial.episode_seed, set()).add((trial.situation, trial.seed))
        assert 0 <= trial.episode_seed < 2**31
    assert len(by_seed) == 12
    assert all(len(units) == 1 for units in by_seed.values())
