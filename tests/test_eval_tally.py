from __future__ import annotations

import json
from dataclasses import replace

from clock import Clock

from simedit.eval.tally import Tally
from simedit.eval.trials import Result, Trial

TRIAL = Trial("hand", "open", "top/s0", "raw", "", "", 0)
RAW = [replace(TRIAL, seed=seed) for seed in range(4)]
EDITED = [replace(trial, domain="edited", style="gold") for trial in RAW]


def test_time_left_is_that_of_each_domain_shared_by_the_workers(clock: Clock) -> None:
    tally = Tally([*RAW, *EDITED], {}, 2)
    assert tally.left() is None
    tally.finished(Result(RAW[0], "success"), 10)
    assert tally.left() == 7 * 10 / 2  # nothing is known of edited ones but that
    tally.finished(Result(EDITED[0], "failure"), 100)
    assert tally.left() == (3 * 10 + 3 * 100) / 2
    clock.now += 20
    assert tally.left() == 165 - 20
    for trial in RAW[1:] + EDITED[1:]:
        tally.finished(Result(trial, "error"), 1)
    assert tally.left() == 0


def test_counts_hold_earlier_results_but_not_those_that_are_played_again() -> None:
    stored = {
        RAW[0]: Result(RAW[0], "success"),
        RAW[1]: Result(RAW[1], "error"),
        EDITED[0]: Result(EDITED[0], "failure"),
    }
    tally = Tally(RAW[1:], stored, 1)
    tally.postponed(Result(RAW[1], "error"), 1)
    tally.finished(Result(RAW[2], "failure"), 1)
    found = tally.as_dict()
    assert (found["ended"], found["total"], found["retries"]) == (1, 3, 1)
    assert found["domains"] == {
        "raw": {"success": 1, "failure": 1, "error": 0, "to_go": 2, "success_rate": 0.5},
        "edited": {"success": 0, "failure": 1, "error": 0, "to_go": 0, "success_rate": 0.0},
    }
    json.dumps(found, allow_nan=False)
