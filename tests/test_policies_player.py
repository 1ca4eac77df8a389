from __future__ import annotations

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.policies.player import Player
from simedit.protocols import Action

FRAME = np.zeros((4, 6, 3), np.uint8)
STEP = np.arange(7, dtype=np.float64) / 10


class Saying:
    """Answers with what it was given, in turn, and remembers what it was told."""

    def __init__(self, *answers, **attributes):
        self.answers, self.told = list(answers), []
        vars(self).update(attributes)

    def reset(self, instruction, *, seed):
        self.told.append((instruction, seed))

    def act(self, seen):
        self.told.append(seen)
        return self.answers.pop(0)


def acted(answer, **settings) -> Action:
    return Player(Saying(answer), **settings).act(FRAME)


@pytest.mark.parametrize(
    "answer",
    [
        Action(STEP[:3], STEP[3:6], 0.6),
        STEP,
        STEP.astype(np.float32),
        STEP.tolist(),
        STEP[None],
        torch.tensor(STEP, requires_grad=True),
        torch.tensor(STEP)[None],
    ],
    ids=str,
)
def test_an_action_may_come_as_several_things(answer):
    action = acted(answer)
    np.testing.assert_array_equal(action.to_array(), STEP.astype(np.float32))
    assert action.to_array().dtype == np.float32
    assert not action.terminate


def test_dtypes_that_numpy_does_not_know():
    action = acted(torch.tensor(STEP, dtype=torch.bfloat16))
    np.testing.assert_allclose(action.to_array(), STEP, rtol=1e-2)


def test_an_action_terminates_and_an_array_never_does():
    assert acted(Action(STEP[:3], STEP[3:6], 0.6, terminate=True)).terminate
    assert not acted(np.ones(7)).terminate


@pytest.mark.parametrize(("execute", "asked"), [(None, [0, 4]), (4, [0, 4]), (3, [0, 3, 6]), (1, range(8))])
def test_so_many_steps_of_a_chunk_are_played_before_it_is_asked_again(execute, asked):
    class Counting(Saying):
        def act(self, seen):
            self.told.append(seen)
            return 100 * seen + np.arange(4)[:, None] * np.ones(7)

    policy = Counting()
    player = Player(policy, execute=execute)
    player.reset("open top drawer", seed=5)
    played = [player.act(now).gripper for now in range(8)]
    assert policy.told == [("open top drawer", 5), *asked]
    asked = list(asked)
    expected = [100 * now + step for now in asked for step in range(execute or 4)][:8]
    assert played == expected


def test_a_new_episode_forgets_what_was_left_of_a_chunk():
    player = Player(Saying(np.zeros((4, 7)), np.ones((4, 7))))
    player.reset("a")
    player.act(FRAME)
    player.reset("b")
    assert player.act(FRAME).gripper == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "not None"),
        ("left", "not a str: 'left'"),
        ({"actions": np.zeros((4, 7))}, "not a dict: {'actions'"),
        ([Action(STEP[:3], STEP[3:6], 0.0)], "not a list"),
        (np.zeros(6), r"not of shape \[6\]"),
        (np.zeros(8), r"not of shape \[8\]"),
        (np.zeros((7, 1)), r"not of shape \[7, 1\]"),
        (np.zeros((0, 7)), r"not of shape \[0, 7\]"),
        (np.zeros((1, 4, 7)), r"not of shape \[1, 4, 7\]"),
        (0.5, r"not of shape \[\]"),
        (Action(np.zeros(2), np.zeros(3), 0.0), r"not of shape \[6\]"),
        (np.full(7, np.nan), "its action is not 7 finite numbers"),
        ([1e300] * 7, "its action is not 7 finite numbers"),
        (Action(np.full(3, np.inf), np.zeros(3), 0.0), "its action is not 7 finite numbers"),
        (np.stack([np.zeros(7), np.full(7, np.nan)]), "step 1 of its chunk is not 7 finite numbers"),
    ],
    ids=str,
)
def test_what_is_no_action_is_refused_with_what_was_found_and_expected(answer, message):
    with pytest.raises(SimeditError, match=message) as raised:
        acted(answer)
    assert len(str(raised.value)) < 400
    assert "\n" not in str(raised.value)
    assert "7 numbers" in str(raised.value) or "finite" in str(raised.value)


def test_what_is_not_played_of_a_chunk_may_be_anything():
    assert acted(np.stack([np.zeros(7), np.full(7, np.nan)]), execute=1).gripper == 0


@pytest.mark.parametrize("steps", [1, 4])
def test_a_chunk_shorter_than_what_is_to_be_played_is_refused(steps):
    with pytest.raises(
        SimeditError, match=f"it gave {steps} steps? at once, but execute is 5: .* at most {steps}"
    ):
        acted(np.zeros((steps, 7)), execute=5)


def test_needs_are_those_of_the_policy_and_known():
    assert Player(Saying()).needs == ("frame",)
    assert Player(Saying(needs=["cameras", "proprioception"])).needs == ("cameras", "proprioception")
    assert Player(Saying(needs="proprioception")).needs == ("proprioception",)
    with pytest.raises(SimeditError, match="unknown need 'camera': did you mean 'cameras'"):
        Player(Saying(needs=["frame", "camera"]))


def test_whether_it_looks_is_what_it_says():
    assert Player(Saying()).uses_images
    assert not Player(Saying(uses_images=False)).uses_images


@pytest.mark.parametrize(("what", "lacks"), [(None, "reset"), (object(), "reset"), (np.zeros, "reset")])
def test_what_is_no_policy_is_refused(what, lacks):
    with pytest.raises(SimeditError, match=rf"is no policy, for it has no {lacks}\(\)"):
        Player(what)


def test_a_player_plays_a_player_as_it_is():
    inner = Player(Saying(np.zeros((2, 7)), np.ones((2, 7)), needs="cameras"), execute=1)
    outer = Player(inner)
    outer.reset("a", seed=1)
    assert [outer.act(FRAME).gripper, outer.act(FRAME).gripper] == [0, 1]
    assert outer.needs == ("cameras",)
