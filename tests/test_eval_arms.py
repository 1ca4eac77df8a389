from __future__ import annotations

import numpy as np
import pytest
from small_arms import SKILL, play, study, usual
from small_drawer import REAL

from simedit.errors import SimeditError
from simedit.eval.arms import alike, common, counts, read_arms
from simedit.eval.published import Rates
from simedit.eval.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return play(tmp_path_factory.mktemp("arms") / "run")


def test_an_arm_is_a_domain_a_style_of_it_or_all_domains(run):
    raw, edited = read_arms([str(run)])
    assert (raw.name, edited.name) == ("raw", "edited")
    assert (raw.seeds, raw.styles, edited.styles) == ([0], [], ["gold", "wood"])
    assert (len(raw.outcomes), edited.wanted) == (3 * 54, 2 * 3 * 54)
    (gold,), (named,) = read_arms([f"{run}:edited/gold"]), read_arms([f"mine={run}:edited"])
    assert (gold.name, gold.styles, gold.wanted) == ("edited/gold", ["gold"], 3 * 54)
    assert named.name == "mine"
    assert [arm.name for arm in read_arms([f"a={run}", f"{run}:raw"])] == ["a:raw", "a:edited", "raw"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["{run}:vismatsh"], "unknown domain 'vismatsh'"),
        (["{run}:edited/glod"], "unknown style 'glod': did you mean 'gold'"),
        (["{run}:raw", "{run}"], r"two arms are called 'raw': name one, such as other=FOLDER:DOMAIN"),
        (["{run}/absent:raw"], "holds no results"),
        ([], "there is no arm: an arm is written FOLDER,"),
    ],
)
def test_what_is_no_arm_is_refused(run, places, message):
    with pytest.raises(SimeditError, match=message):
        read_arms([place.format(run=run) for place in places])


def test_counts_are_by_situation_over_trials_that_every_policy_finished(tmp_path):
    def outcome(trial):
        if (trial.policy, trial.domain, trial.scene) == ("fair", "raw", "top/a0"):
            return "error"
        if (trial.policy, trial.style, trial.scene) == ("able", "gold", "bottom/c2"):
            return None
        return usual(trial)

    raw, edited = read_arms([str(play(tmp_path / "run", outcome))])
    policies, tasks = common([raw, edited])
    assert (policies, tasks) == (("able", "fair", "poor"), ("open", "close"))
    won, held = counts([raw, edited], policies, "open")
    assert won.shape == held.shape == (2, 3, 26)  # in raw nobody counts where one broke, nor then in edited
    assert (held[0] == 1).all()
    assert sorted(held[1, 0].tolist()) == [1] + [2] * 25
    assert (held[1] == held[1, :1]).all()
    alone_won, alone_held = counts([edited], policies, "open")
    assert alone_won.shape == (1, 3, 27)
    assert np.allclose(alone_won.sum(-1) / alone_held.sum(-1), np.array([[*SKILL.values()]]) / 27, atol=0.02)


def test_arms_are_compared_on_the_seeds_and_styles_that_both_have(tmp_path, run):
    more = play(tmp_path / "more", config=study(seeds=[0, 1], styles=["wood"]))
    raw, edited = read_arms([str(run)])
    (many,) = read_arms([f"{more}:edited"])
    one, two = alike(edited, many)
    assert (one.styles, two.styles, two.seeds) == (["wood"], ["wood"], [0])
    assert len(one.outcomes) == len(two.outcomes) == 3 * 54
    assert alike(edited, raw)[0].styles == ["gold", "wood"]
    other = play(tmp_path / "other", config=study(seeds=[5], styles=["wood"]))
    with pytest.raises(SimeditError, match="no seed in common"):
        alike(raw, read_arms([f"{other}:raw"])[0])
    with pytest.raises(SimeditError, match="no style in common"):
        alike(edited.only(styles=["gold"]), many)


def test_what_cannot_be_compared_is_refused_with_a_reason(tmp_path, run):
    def arm(folder, **changes):
        real = changes.pop("real", REAL)
        return read_arms([f"{play(tmp_path / folder, config=study(**changes), real=real)}:raw"])[0]

    raw = read_arms([f"{run}:raw"])[0]
    two = {name: {"kind": "scripted"} for name in ("able", "fair")}
    with pytest.raises(SimeditError, match=r"3 policies are needed, and .* 2 in common \(able, fair\)"):
        common([raw, arm("two", policies=two)])
    with pytest.raises(SimeditError, match="no task in common"):
        common([arm("open", tasks=["open"]), arm("close", tasks=["close"])])
    unknown = Rates.model_validate({"source": "none", "policies": {name: {} for name in SKILL}})
    with pytest.raises(SimeditError, match="the real open rate of policy 'able' is not known"):
        common([arm("unknown", real=unknown)])
    without = Rates.model_validate({"source": "none", "policies": {"fair": {"open": 0.5, "close": 0.5}}})
    with pytest.raises(SimeditError, match="the real open rate of policy 'able' is not known"):
        common([arm("without", real=without)])
    better = REAL.model_dump()
    better["policies"]["fair"]["close"] = 0.75
    with pytest.raises(SimeditError, match="'raw' and 'raw' have other real close rates of policy 'fair'"):
        common([raw, arm("better", real=Rates.model_validate(better))])
    few = arm("few", scenes={"pose": ["a0", "b1"], "drawer": ["top", "middle", "bottom"]})
    with pytest.raises(
        SimeditError, match=r"9 situations of the task 'open' are needed .* there are 6: play"
    ):
        counts([raw, few], tuple(SKILL), "open")


def test_a_folder_of_realities_alone_has_no_arm(tmp_path):
    real = play(tmp_path / "real", config=study(domains=["raw"], realities=["raw"]))
    with pytest.raises(SimeditError, match=r"no arm in .*real, whose domains all stand for the real world"):
        read_arms([str(real)])


def test_policies_of_one_name_that_are_others_are_not_compared(tmp_path):
    def arm(folder, meaning):
        with Store(play(tmp_path / folder), write=True) as store:
            store.agree(meaning)
        return read_arms([f"{folder}={tmp_path / folder}:raw"])[0]

    first = arm("first", {"checkpoints.able": "1a", "specialists.poor": "2b", "max_steps": 60})
    common([first, arm("same", {"checkpoints.able": "1a", "specialists.poor": "3c", "max_steps": 80})])
    with pytest.raises(
        SimeditError, match=r"policy 'able' is another one in the arm 'other' .*able: 9f there, 1a here"
    ):
        common([first, arm("other", {"checkpoints.able": "9f"})])


def test_a_real_rate_that_is_no_number_is_refused(tmp_path):
    folder = play(tmp_path / "run")
    with Store(folder, write=True) as store:
        run = store.read("run")
        run["real"]["policies"]["able"]["open"] = float("nan")
        store.write("run", run)
    with pytest.raises(SimeditError, match="nan is no rate"):
        read_arms([str(folder)])
