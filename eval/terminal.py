"""What the command line shows: progress, and tables of results."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from simedit.eval.report import headline
from simedit.eval.trials import Result

LOG_EVERY_S = 60.0


@contextmanager
def progress(total: int) -> Iterator[Callable[[Result], None]]:
    """Show progress over `total` trials on stderr; call what it yields with each result.

    A terminal gets a live line, a log gets a plain one at most every minute.
    """
    console = Console(stderr=True)
    yield from _live(total, console) if console.is_terminal else _logged(total)


def _live(total: int, console: Console) -> Iterator[Callable[[Result], None]]:
    counts: Counter[str] = Counter()
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as bar:
        task = bar.add_task("", total=total)

        def advance(result: Result) -> None:
            counts[result.outcome] += 1
            bar.update(task, advance=1, description=f"{_tally(counts)} | {result.trial}")
            if result.outcome == "error":
                bar.console.print(Text(f"error in {result.trial}: {result.message}"))

        yield advance


def _logged(total: int) -> Iterator[Callable[[Result], None]]:
    counts: Counter[str] = Counter()
    start = last = time.monotonic()

    def advance(result: Result) -> None:
        nonlocal last
        counts[result.outcome] += 1
        now, done = time.monotonic(), sum(counts.values())
        if result.outcome == "error":
            print(f"error in {result.trial}: {result.message}", file=sys.stderr)
        if now - last >= LOG_EVERY_S or done == total:
            minutes = (now - start) / done * (total - done) / 60
            line = f"{done}/{total} trials ({_tally(counts)}), about {minutes:.0f} minutes left"
            print(line, file=sys.stderr, flush=True)
            last = now

    yield advance


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in ("success", "failure", "error"))


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a report's headline, its warnings and its metrics."""
    print(headline(summary))
    for warning in summary["warnings"]:
        print(f"  ! {warning}")
    print_metrics(summary)


def print_metrics(summary: Mapping[str, Any]) -> None:
    """Print MMRV and r of every domain, with their intervals where there are any."""

    def number(block: Mapping[str, Any], key: str) -> str:
        if block[key] is None:
            return "-"
        ci = block[f"{key}_ci"]
        return f"{block[key]:.3f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else "")

    print_table(
        ["domain", "tasks", "MMRV", "r"],
        [
            [domain, name, number(block, "mmrv"), number(block, "pearson_r")]
            for domain, blocks in summary["domains"].items()
            for name, block in blocks.items()
        ],
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a plain table."""
    table = Table(*head, box=box.SIMPLE)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)
