"""Give every loader of files damaged files for a while, and count what comes of it.

    python scripts/fuzz.py --minutes 30                  every loader in turn, on all cores
    python scripts/fuzz.py --minutes 5 --only run base   these alone
    python scripts/fuzz.py --replay run:17               one input again, with its traceback

A loader may take what it is given or raise a SimeditError; a traceback, a crash of the process, a wait of
more than LIMIT seconds or a gulp of more than MEMORY is a fault. Faults' inputs are kept in --out. The exit
code is 1 if there are any.
"""

from __future__ import annotations

import collections
import faulthandler
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import tyro  # noqa: E402
from fuzz_loaders import LOADERS, damage, load, template  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

LIMIT, PATIENCE = 20, 300
"""Seconds for an input, and for a worker to make its good files."""
MEMORY, ADDRESSES = 1 << 30, 16 << 30
"""Bytes that an input may add to the worker's peak, and of the worker's whole address space."""
TURN = 2.0
"""Seconds until the next loader's turn."""
KEPT = 20
"""Inputs kept of each loader's faults."""

Report = tuple[str, int, str, str]
"""Loader, number, outcome, and the fault's last lines."""


def worker(
    names: list[str], starts: dict[str, int], stride: int, scratch: Path, out: Path, pipe: Connection
) -> None:
    """Try inputs for ever, and report each before and after."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    quiet = os.open(scratch / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(quiet, descriptor)
    good = {}
    for name in names:
        try:
            good[name] = template(name, scratch / "good" / name)
        except Exception as error:
            pipe.send((name, starts[name], "traceback", f"{_where(error)} <- nothing: its good files"))
    with (scratch / "stack.txt").open("w") as stacks:
        while True:
            for name in good:
                end = time.monotonic() + TURN
                while time.monotonic() < end:
                    number = starts[name]
                    starts[name] += stride
                    pipe.send((name, number, "begin", ""))
                    faulthandler.dump_traceback_later(LIMIT - 1, file=stacks)
                    pipe.send(attempt(name, number, good[name], scratch, out))
                    faulthandler.cancel_dump_traceback_later()


def attempt(name: str, number: int, good: Path, scratch: Path, out: Path) -> Report:
    """One input: it follows from the loader's name and the number alone."""
    folder = scratch / "input"
    told = damage(name, good, folder, Random(f"{name} {number}"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        outcome, text = ("accepted" if load(name, folder) is None else "clean"), ""
    except Exception as error:
        outcome, text = "traceback", _where(error)
    took = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if took > MEMORY and outcome != "traceback":
        outcome, text = "traceback", f"took {took >> 20} MB of memory"
    if outcome == "traceback" and len(list(out.glob(f"{name}-*"))) < KEPT:
        damage(name, good, out / f"{name}-{number}", Random(f"{name} {number}"))  # loading may have written
    return name, number, outcome, f"{text} <- {'; '.join(told)}" if text else ""


def _where(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if str(ROOT) in f.filename]
    last = " > ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[-3:])
    return f"{type(error).__name__} at {last}: {str(error)[:200]}"


def main(
    minutes: float = 1.0,
    only: tuple[str, ...] = (),
    replay: str | None = None,
    seed: int = 0,
    processes: int = os.cpu_count() or 1,
    out: Path = Path("runs/fuzz"),
) -> int:
    """Fuzz the loaders of files.

    Args:
        minutes: How long.
        only: Loaders; by default all.
        replay: LOADER:NUMBER of one input to try again, here.
        seed: Where the numbers of inputs begin, in millions: another one gives other inputs.
        processes: That work at once.
        out: A folder for faults' inputs.
    """
    if replay is not None:
        name, _, number = replay.partition(":")
        return again(name, int(number))
    names = list(only or LOADERS)
    out.mkdir(parents=True, exist_ok=True)
    console, counts = Console(), collections.defaultdict[str, collections.Counter[str]](collections.Counter)
    faults: dict[str, list[Report]] = {}
    context, deadline = get_context("spawn"), time.monotonic() + 60 * minutes
    starts = [dict.fromkeys(names, seed * 1_000_000 + i) for i in range(processes)]
    crew: list[Any] = [None] * processes

    def begin(i: int) -> None:
        mine, theirs = context.Pipe(duplex=False)
        scratch = Path(tempfile.mkdtemp(prefix="simedit-fuzz-"))
        order = names[i * len(names) // processes :] + names[: i * len(names) // processes]
        process = context.Process(
            target=worker, args=(order, dict(starts[i]), processes, scratch, out, theirs), daemon=True
        )
        process.start()
        theirs.close()
        crew[i] = [process, mine, scratch, None, time.monotonic() + PATIENCE]

    def end(i: int) -> None:
        process, pipe, scratch, *_ = crew[i]
        process.kill()
        process.join()
        pipe.close()
        shutil.rmtree(scratch, ignore_errors=True)

    def note(i: int, report: Report) -> None:
        name, number, outcome, text = report
        counts[name][outcome] += 1
        starts[i][name] = number + processes
        if outcome in ("traceback", "hang"):
            kind = f"{name}: {outcome}: {text.partition(': ')[0]}"
            same = faults.setdefault(kind, [])
            same.append(report)
            if len(same) == 1:
                console.print(f"{name}:{number} {outcome}: {text}", markup=False, emoji=False, soft_wrap=True)

    def fell(i: int, outcome: str, text: str) -> None:
        note(i, (*crew[i][3], outcome, text))
        kept = out / "-".join(map(str, crew[i][3]))
        shutil.copytree(crew[i][2] / "input", kept, symlinks=True, dirs_exist_ok=True)
        end(i)
        begin(i)

    for i in range(processes):
        begin(i)
    try:
        while time.monotonic() < deadline:
            ready = wait([one[1] for one in crew], timeout=1)
            for i, (_, pipe, scratch, doing, until) in enumerate(crew):
                if pipe in ready:
                    try:
                        report = pipe.recv()
                    except EOFError:
                        if doing is None:
                            raise RuntimeError((scratch / "printed.txt").read_text()[-2000:]) from None
                        fell(i, "traceback", "the process died")
                        continue
                    crew[i][4] = time.monotonic() + LIMIT
                    crew[i][3] = report[:2] if report[2] == "begin" else None
                    if report[2] != "begin":
                        note(i, report)
                elif doing is not None and time.monotonic() > until:
                    stack = (scratch / "stack.txt").read_text().splitlines()
                    at = next((line.strip() for line in stack if str(ROOT) in line), "")
                    fell(i, "hang", at)
    except KeyboardInterrupt:
        pass
    finally:
        for i in range(processes):
            end(i)
    show(console, names, counts, faults)
    return 1 if faults else 0


def show(console: Console, names: list[str], counts: Any, faults: dict[str, list[Report]]) -> None:
    """The tally, and each kind of fault with its first input."""
    columns = ("inputs", "clean", "accepted", "traceback", "hang")
    table = Table("loader", *columns)
    rows = {name: [sum(counts[name].values()), *(counts[name][c] for c in columns[1:])] for name in names}
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for name, row in rows.items():
        table.add_row(name, *map(str, row))
    for kind, reports in sorted(faults.items()):
        console.print(
            f"{len(reports)} x {kind}  [{reports[0][0]}:{reports[0][1]}]",
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
    console.print(table)


def again(name: str, number: int) -> int:
    """One input, with its traceback."""
    with tempfile.TemporaryDirectory() as scratch:
        good = template(name, Path(scratch) / "good")
        told = damage(name, good, Path(scratch) / "input", Random(f"{name} {number}"))
        print("\n".join(told))
        error = load(name, Path(scratch) / "input")
        print("accepted" if error is None else f"clean: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
