"""How long work still takes: beside a bar on a terminal, elsewhere in a line at most every minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

LOG_EVERY_S = 60.0

Item = TypeVar("Item")


def about(seconds: float) -> str:
    """A time in words.

    >>> about(42), about(250), about(9000)
    ('about 40 s', 'about 4 min', 'about 2.5 h')
    """
    if seconds < 90:
        return f"about {max(1, round(seconds)) if seconds < 10 else round(seconds / 10) * 10} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"about {hours:.1f} h" if hours < 10 else f"about {hours:,.0f} h"


class Pace:
    """How long the rest takes of work that goes on evenly.

    Args:
        total: how many parts there are.
        done: how many were done before.
    """

    def __init__(self, total: int, done: int = 0):
        self.total, self.done, self._before = total, done, done
        self._begun = self._at = monotonic()

    def reached(self, done: int) -> None:
        self.done, self._at = done, monotonic()

    def left(self) -> float | None:
        """Seconds; None before the first part is done."""
        if self.done == self._before:
            return 0.0 if self.done >= self.total else None
        each = (self._at - self._begun) / (self.done - self._before)
        return max(0.0, each * (self.total - self.done) - (monotonic() - self._at))


class Minute:
    """Whether another line is due in a log."""

    def __init__(self) -> None:
        self._last = monotonic()

    def over(self, always: bool = False) -> bool:
        """Whether a line is due now, which is taken to be written then; `always` says that it is."""
        due = always or monotonic() - self._last >= LOG_EVERY_S
        if due:
            self._last = monotonic()
        return due


class LeftColumn(ProgressColumn):
    """What a task's field `left` gives, seconds or None: rich's own guess knows nothing of parts that take
    longer than half a minute. Narrow terminals cut other columns."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, min_width=len("0:00:00")))

    def render(self, task: Task) -> Text:
        seconds = task.fields["left"]()
        words = "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))
        return Text(words, style="progress.remaining")


@contextmanager
def counting(
    title: str, total: int, *, done: int = 0, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """Show how work goes on, on stderr; what this yields is called with how many parts are done, and a note.

    Args:
        title: of the work.
        total: how many parts there are.
        done: how many were done before.
    """
    console, pace = console or Console(stderr=True), Pace(total, done)
    if not console.is_terminal:
        yield _logged(title, pace, console)
        return
    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), MofNCompleteColumn(), LeftColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}", markup=False), console=console) as bar:
        task = bar.add_task(title, total=total, completed=done, left=pace.left, note="")

        def show(done: int, note: str = "") -> None:
            pace.reached(done)
            bar.update(task, completed=done, note=note)

        yield show


def tracked(items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
    """The items, one by one, while `counting` shows how many were dealt with."""
    with counting(title, total) as show:
        for done, item in enumerate(items, 1):
            yield item
            show(done)


def log(console: Console, *parts: str) -> None:
    """Print a plain line, of the parts that are not empty."""
    console.print(", ".join(filter(None, parts)), soft_wrap=True, highlight=False, markup=False)


def left_in_words(seconds: float | None) -> str:
    """Such as "about 4 min left"; empty if nothing is left, or nobody knows."""
    return f"{about(seconds)} left" if seconds else ""


def _logged(title: str, pace: Pace, console: Console) -> Callable[..., None]:
    minute = Minute()

    def show(done: int, note: str = "") -> None:
        pace.reached(done)
        if minute.over(done >= pace.total):
            log(console, f"{title}: {done} of {pace.total}", left_in_words(pace.left()), note)

    return show
