from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from io import StringIO

import pytest
from clock import Clock
from rich.console import Console

from simedit.eval import progress
from simedit.eval.progress import kept_progress, line, since, view, watch
from simedit.eval.store import Store
from simedit.eval.tally import Tally
from simedit.eval.trials import Result, Trial

TRIAL = Trial("hand", "open_top_drawer", "top/s0", "raw", "", "", 0)
TRIALS = [replace(TRIAL, seed=seed) for seed in range(5)]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, write=True) as opened:
        yield opened


def test_a_log_gets_a_line_a_minute_and_the_last(store, clock: Clock, capsys) -> None:
    with progress.progress(Tally(TRIALS, {}, 1), store) as (finished, postponed):
        for trial in TRIALS:
            clock.now += 40
            if trial.seed == 2:
                postponed(Result(trial, "error", message="its process\nwas killed"), 1)
            finished(Result(trial, "success" if trial.seed else "failure"), 40)
    assert capsys.readouterr().err.splitlines() == [
        "2/5 trials (1 success, 1 failure, 0 error), raw 0.50, about 2 min left",
        "tried again later: hand open_top_drawer top s0 raw seed 2: its process was killed",
        "4/5 trials (3 success, 1 failure, 0 error), raw 0.75, 1 tried again, about 40 s left",
        "5/5 trials (4 success, 1 failure, 0 error), raw 0.80, 1 tried again",
    ]


def test_a_terminal_shows_the_time_left_of_trials_that_take_minutes(store, clock: Clock, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.progress(Tally(TRIALS, {}, 1), store) as (finished, postponed):
        clock.now += 120
        finished(Result(TRIAL, "success"), 120)
        postponed(Result(TRIALS[1], "error", message="gone"), 1)
    shown = terminal.getvalue()
    assert "0:08:00" in shown
    assert "tried again later: hand open_top_drawer top s0 raw seed 1: gone" in shown
    assert "1 at once, 1 tried again" in shown


def test_programs_get_an_object_a_line(store, capsys) -> None:
    with progress.progress(Tally(TRIALS[:2], {}, 3), store, log_json=True) as (finished, postponed):
        postponed(Result(TRIALS[0], "error", message="gone"), 2)
        finished(Result(TRIALS[0], "success", steps=7), 1.5)
    events = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["start", "retry", "trial", "end"]
    assert all(event["time"].endswith("+00:00") for event in events)
    assert events[1]["message"] == "gone"
    assert events[2] | {"time": ""} == {
        "event": "trial",
        "time": "",
        "trial": {
            "policy": "hand",
            "task": "open_top_drawer",
            "scene": "top/s0",
            "domain": "raw",
            "variant": "",
            "style": "",
            "seed": 0,
        },
        "outcome": "success",
        "steps": 7,
        "message": "",
        "seconds": 1.5,
    }
    assert (events[3]["ended"], events[3]["total"], events[3]["workers"]) == (1, 2, 3)


def test_another_process_sees_how_a_run_goes_on(store, clock: Clock, monkeypatch, capsys) -> None:
    assert kept_progress(store) is None
    with progress.progress(Tally(TRIALS, {}, 1), store) as (finished, _):
        assert kept_progress(store)["running"] is True
        for trial in TRIALS[:3]:
            clock.now += 40
            finished(Result(trial, "success"), 40)
    found = kept_progress(store)
    assert (found["ended"], found["pid"]) == (3, os.getpid())
    store.write(progress.KEY, {**store.read(progress.KEY), "pid": 2**22 + 1})  # above what Linux gives
    capsys.readouterr()
    watch(store.folder)
    (shown,) = capsys.readouterr().out.splitlines()
    assert shown.startswith(
        "3/5 trials (3 success, 0 failure, 0 error), raw 1.00, about 80 s left; not running"
    )
    store.write(progress.KEY, {**store.read(progress.KEY), "host": "elsewhere"})
    assert since(kept_progress(store)).startswith("last heard of 0:")


def test_watching_ends_quietly_with_ctrl_c(store, monkeypatch, capsys) -> None:
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress.time, "sleep", interrupt)
    watch(store.folder)
    assert capsys.readouterr().out == "no run has begun to play yet\n"


@pytest.mark.parametrize("width", [40, 80])
def test_nothing_is_too_wide(width) -> None:
    long = replace(TRIAL, policy="p" * 60, domain="a domain with a long name")
    tally = Tally([long], {}, 16)
    tally.finished(Result(long, "success"), 1)
    console = Console(width=width, file=StringIO(), record=True)
    console.print(view(tally.as_dict(), str(tally.last)))
    shown = console.export_text().splitlines()
    assert max(map(len, shown)) <= width
    assert any("16 at once, 0 tried again" in text for text in shown)
    assert "a domain with a long name 1.00" in line(tally.as_dict())
