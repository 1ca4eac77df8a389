"""simedit.progress: what terminals and logs show of long work, with a clock of the tests' own."""

from __future__ import annotations

import doctest
import io
from collections.abc import Iterator

import pytest
from clock import Clock
from rich.console import Console

from simedit import progress
from simedit.progress import Pace, about, counting, tracked


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (8.6, "9 s"),
        (44, "40 s"),
        (91, "2 min"),
        (3599, "60 min"),
        (7200, "2.0 h"),
        (4e5, "111 h"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert about(seconds) == f"about {words}"
    assert not doctest.testmod(progress).failed


def test_a_pace_is_that_of_the_parts_done_here(clock: Clock) -> None:
    pace = Pace(10, 4)
    assert pace.left() is None
    clock.now += 100
    pace.reached(6)
    assert pace.left() == pytest.approx(200)
    clock.now += 30
    assert pace.left() == pytest.approx(170)
    assert Pace(4, 4).left() == 0


def test_a_log_gets_a_line_a_minute_and_the_last(clock: Clock) -> None:
    log = console()
    with counting("base [x]", 100, done=20, console=log) as show:
        for done in range(21, 101):
            clock.now += 7
            show(done, f"loss {1 / done:.2f}")
    first, *_, last = lines(log)
    assert first == "base [x]: 29 of 100, about 8 min left, loss 0.03"
    assert last == "base [x]: 100 of 100, loss 0.01"
    assert len(lines(log)) == 9


def test_a_terminal_shows_the_time_left_of_parts_that_take_minutes(clock: Clock) -> None:
    terminal = console(terminal=True)
    with counting("base [x]", 4, console=terminal) as show:
        clock.now += 300
        show(1, "loss 0.5")
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "base [x]" in shown
    assert "1/4" in shown
    assert "0:15:00" in shown
    assert "loss 0.5" in shown


def test_items_are_counted_once_dealt_with(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def items() -> Iterator[str]:
        yield from "abc"

    seen = []
    for item in tracked(items(), "letters", 3):
        seen.append(item)
        clock.now += 90
    assert seen == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "letters: 1 of 3, about 3 min left",
        "letters: 2 of 3, about 2 min left",
        "letters: 3 of 3",
    ]
