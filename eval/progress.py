"""What is shown of a study while it runs, here and by `simedit-eval status`: live, plain, as JSON."""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from simedit.eval.caveats import printable
from simedit.eval.store import Store
from simedit.eval.tally import OUTCOMES, Tally
from simedit.eval.trials import Result
from simedit.progress import LeftColumn, Minute, left_in_words

Heard = Callable[[Result, float], None]
KEY = "progress"
"""Under which a run folder keeps it; reports do not read it."""
_KEPT_EVERY_S = 2.0


@contextmanager
def progress(tally: Tally, store: Store, *, log_json: bool = False) -> Iterator[tuple[Heard, Heard]]:
    """Show a run on stderr: live on a terminal, in a log a plain line at most every minute, or as JSON.

    Args:
        tally: counts it.
        store: keeps it, for `simedit-eval status`.
        log_json: one JSON object a line.

    Yields:
        what is called with each result and the seconds it took: of a trial that ended, and of one that is
        tried again later.
    """
    console = Console(stderr=True)
    kind = _json if log_json else _live if console.is_terminal else _plain
    kept = [-_KEPT_EVERY_S]

    def keep(always: bool = False) -> None:
        if always or monotonic() - kept[0] >= _KEPT_EVERY_S:
            kept[0] = monotonic()
            here = {"at": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
            store.write(KEY, tally.as_dict() | here)

    with kind(tally, console) as say:

        def finished(result: Result, seconds: float) -> None:
            tally.finished(result, seconds)
            say("trial", result, seconds)
            keep(tally.ended == tally.total)

        def postponed(result: Result, seconds: float) -> None:
            tally.postponed(result, seconds)
            say("retry", result, seconds)
            keep()

        keep(True)
        yield finished, postponed


Say = Callable[[str, Result, float], None]


@contextmanager
def _live(tally: Tally, console: Console) -> Iterator[Say]:
    bar = Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), LeftColumn(), console=console)
    task = bar.add_task("", total=tally.total, left=tally.left)
    with Live(
        get_renderable=lambda: Group(bar, view(tally.as_dict(), str(tally.last or ""))),
        console=console,
        refresh_per_second=4,
    ) as live:

        def say(event: str, result: Result, seconds: float) -> None:
            bar.update(task, completed=tally.ended)
            if trouble := _trouble(event, result):
                live.console.print(Text(trouble))

        yield say


@contextmanager
def _plain(tally: Tally, console: Console) -> Iterator[Say]:
    minute = Minute()

    def say(event: str, result: Result, seconds: float) -> None:
        if trouble := _trouble(event, result):
            print(trouble, file=sys.stderr)
        if event == "trial" and minute.over(tally.ended == tally.total):
            print(line(tally.as_dict()), file=sys.stderr, flush=True)

    yield say


@contextmanager
def _json(tally: Tally, console: Console) -> Iterator[Say]:
    minute = Minute()

    def write(event: str, **what: Any) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        print(json.dumps({"event": event, "time": now, **what}), file=sys.stderr, flush=True)

    def say(event: str, result: Result, seconds: float) -> None:
        trial = {name: getattr(result.trial, name) for name in result.trial.__dataclass_fields__}
        told = {"outcome": result.outcome, "steps": result.steps, "message": result.message}
        write(event, trial=trial, **told, seconds=round(seconds, 3))
        if minute.over():
            write("progress", **tally.as_dict())

    write("start", **tally.as_dict())
    try:
        yield say
    finally:
        write("end", **tally.as_dict())


def _trouble(event: str, result: Result) -> str:
    if result.outcome != "error":
        return ""
    what = "tried again later:" if event == "retry" else "error in"
    return f"{what} {result.trial}: {printable(result.message)}"


def line(found: Mapping[str, Any]) -> str:
    """One line of what `Tally.as_dict` gives."""
    sums = ", ".join(
        f"{sum(counts[outcome] for counts in found['domains'].values())} {outcome}" for outcome in OUTCOMES
    )
    rates = ", ".join(
        f"{domain} {counts['success_rate']:.2f}"
        for domain, counts in found["domains"].items()
        if counts["success_rate"] is not None
    )
    parts = [f"{found['ended']}/{found['total']} trials ({sums})", rates]
    parts += [f"{found['retries']} tried again" if found["retries"] else ""]
    return ", ".join(filter(None, [*parts, left_in_words(found["seconds_left"])]))


def view(found: Mapping[str, Any], last: str = "") -> RenderableType:
    """Rates, errors and retries of what `Tally.as_dict` gives, as a table with a line below."""
    table = Table("domain", "success rate", box=box.SIMPLE)
    for head in ("trials", "errors", "to go"):
        table.add_column(head, justify="right")
    for domain, counts in found["domains"].items():
        rate, played = counts["success_rate"], counts["success"] + counts["failure"]
        cells = (played, counts["error"], counts["to_go"])
        table.add_row(Text(domain), "-" if rate is None else f"{rate:.2f}", *map(str, cells))
    words = f"{found['workers']} at once, {found['retries']} tried again"
    below = Text(f"  {words}{last and f' | {printable(last)}'}", no_wrap=True, overflow="ellipsis")
    return Group(table, below)


def kept_progress(store: Store) -> dict[str, Any] | None:
    """What the run that writes, or wrote last, kept of itself; None where none did.

    `running` is whether it still does: None where that was on another machine.
    """
    found = store.read(KEY)
    if not isinstance(found, dict) or "pid" not in found:
        return None
    running = None
    if found["host"] == socket.gethostname():
        running = Path(f"/proc/{found['pid']}").exists()
    return {**found, "running": running}


def since(found: Mapping[str, Any]) -> str:
    """Whether what was kept is of a run that goes on."""
    ago = timedelta(seconds=max(0, round(time.time() - found["at"])))
    if found["ended"] >= found["total"]:
        return "finished"
    if found["running"] is False:
        return f"not running (last heard of {ago} ago): the same command goes on"
    return f"last heard of {ago} ago"


def watch(folder: Path, every_s: float = 2.0) -> None:
    """Show a run that another process plays, until it is over or Ctrl-C."""
    console, minute = Console(), Minute()
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    try:
        with live or nullcontext():
            for look in itertools.count():
                with Store(folder, write=False) as store:
                    found = kept_progress(store)
                over = found is not None and (found["ended"] >= found["total"] or found["running"] is False)
                if live is not None:
                    live.update(_watched(found), refresh=True)
                elif minute.over(over or look == 0):
                    print(_WAITING if found is None else f"{line(found)}; {since(found)}", flush=True)
                if over:
                    return
                time.sleep(every_s)
    except KeyboardInterrupt:
        return


_WAITING = "no run has begun to play yet"


def _watched(found: Mapping[str, Any] | None) -> RenderableType:
    if found is None:
        return Text(_WAITING)
    bar = Progress(BarColumn(), MofNCompleteColumn(), LeftColumn())
    bar.add_task("", total=found["total"], completed=found["ended"], left=lambda: found["seconds_left"])
    return Group(bar, view(found), Text(f"  {since(found)}"))
