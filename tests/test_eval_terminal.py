"""simedit.eval.terminal: the time that a study's trials still take."""

from __future__ import annotations

import sys
from io import StringIO

import pytest
from clock import Clock

from simedit.eval.terminal import progress
from simedit.eval.trials import Result, Trial

TRIAL = Trial("hand", "open_top_drawer", "top/s0", "raw", "", "", 0)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_a_minute_and_the_last(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(5) as advance:
        for _ in range(5):
            clock.now += 40
            advance(Result(TRIAL, "success"))
    assert capsys.readouterr().err.splitlines() == [
        "2/5 trials (2 success, 0 failure, 0 error), about 2 min left",
        "4/5 trials (4 success, 0 failure, 0 error), about 40 s left",
        "5/5 trials (5 success, 0 failure, 0 error)",
    ]


def test_a_terminal_shows_the_time_left_of_trials_that_take_minutes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress(5) as advance:
        clock.now += 120
        advance(Result(TRIAL, "success"))
    assert "0:08:00" in terminal.getvalue()
