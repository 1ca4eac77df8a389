from __future__ import annotations

import pytest

from simedit.errors import SimeditError
from simedit.eval.config import ResourcesConfig
from simedit.eval.placement import plan, visible_gpu

BOX = {"CPU": 8.0, "GPU": 2.0}
PLAIN = {"CPU": 4.0}


def counts(nodes, resources=None, *, edited=True, wanted=1000):
    found = plan(nodes, ResourcesConfig.model_validate(resources or {}), edited=edited, wanted=wanted)
    return found.rollouts, found.editors


def test_an_editor_a_gpu_and_a_rollout_a_core():
    assert counts([BOX]) == (8, 2)
    assert counts([BOX, PLAIN]) == (12, 2)
    assert counts([BOX], wanted=3) == (3, 2)
    assert counts([BOX], edited=False) == (8, 0)


def test_without_gpus_rollouts_edit_for_themselves_unless_told_otherwise():
    assert counts([PLAIN]) == (4, 0)
    assert counts([PLAIN], {"editor": {"cpu": 2}}) == (2, 1)
    assert counts([PLAIN, PLAIN], {"editor": {"cpu": 2}, "editors": 3}) == (2, 3)


def test_shares_of_gpus_fill_them():
    assert counts([BOX], {"rollout": {"gpu": 0.1}, "editor": {"gpu": 0.5, "cpu": 0}, "editors": 2}) == (8, 2)
    assert counts([{"CPU": 99.0, "GPU": 1.0}], {"rollout": {"gpu": 0.1}}, edited=False) == (10, 0)
    # One machine's shares do not add up to what another lacks.
    assert counts([{"CPU": 9.0, "GPU": 1.0}] * 3, {"rollout": {"gpu": 0.6}}, edited=False) == (3, 0)


@pytest.mark.parametrize(
    ("nodes", "resources", "message"),
    [
        ([{"CPU": 1.0}], {"rollout": {"cpu": 2}}, r"1 machines with 1 CPUs and 0 GPUs.*resources.rollout"),
        ([BOX], {"rollout": {"gpu": 0.1}, "editor": {"gpu": 1}}, r"beside 2 editors.*\{gpu: 0.5\}"),
        ([BOX], {"editor": {"gpu": 3}}, "no room for an editor of 1 CPU and 3 GPU"),
        ([BOX], {"editor": {"gpu": 1}, "editors": 3}, "no room for 3 editors"),
    ],
)
def test_what_has_no_room_is_refused(nodes, resources, message):
    with pytest.raises(SimeditError, match=message):
        counts(nodes, resources)


@pytest.mark.parametrize(
    ("number", "visible", "count", "expected"),
    [
        (0, None, 4, "0"),
        (5, None, 4, "1"),
        (0, "2,3", 4, "2"),  # its machine has four, of which it may have two
        (3, "2,3", 4, "3"),
        (1, "GPU-aa, GPU-bb", 4, "GPU-bb"),
        (0, "", 4, None),
        (0, None, 0, None),
        (2, "1,-1,0", 4, "1"),
    ],
)
def test_processes_take_turns_at_the_gpus_they_may_see(number, visible, count, expected):
    assert visible_gpu(number, visible, count) == expected
