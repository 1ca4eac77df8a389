"""Whether memory stays flat while one driver plays trials for an hour.

    python benchmarks/soak.py
    python benchmarks/soak.py --minutes 120 --settle 20 -- --num-envs 2

The study is the lab's, with seeds for hours: raw trials, then edited ones, style by style. Each process's
proportional set size (what is shared counts in parts) is read every ten seconds; the slope is that of a
straight line through what comes after the first minutes, in which shaders are compiled and caches fill. What
follows -- goes to `simedit-eval run`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from simedit.eval.store import Store

EVERY_S = 10.0
STUDY = (
    *("domains=[raw,edited]", "scenes.pose=[b1]", "report={videos: 0, strips: 0}"),
    f"seeds={list(range(40))}",
)


def megabytes(pid: int) -> float:
    """Its proportional set size; 0 where it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in text.splitlines() if line.startswith("Pss:")), 0.0)


def processes(root: int) -> dict[int, str]:
    """A process and all that descend from it, with their names."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(") ")
            except OSError:
                continue
            parents[int(entry.name)], names[int(entry.name)] = int(rest.split()[1]), name
    found = {root: "driver"}
    while more := {pid for pid, parent in parents.items() if parent in found} - found.keys():
        found |= {pid: names[pid] for pid in more}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--settle", type=float, default=10, help="minutes that do not count")
    parser.add_argument("--config", default="lab")
    parser.add_argument("more", nargs="*", help="for simedit-eval run")
    args = parser.parse_args()
    seen: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="simedit-soak-") as out:
        command = [str(Path(sys.executable).with_name("simedit-eval")), "run", "--config", args.config]
        command += ["--out", out]
        run = subprocess.Popen([*command, *args.more, "--set", *STUDY], stdout=subprocess.DEVNULL)
        began = time.monotonic()
        while (minutes := (time.monotonic() - began) / 60) < args.minutes:
            time.sleep(EVERY_S)
            if run.poll() is not None:
                sys.exit(f"the run ended early, with exit code {run.returncode}")
            for pid, name in processes(run.pid).items():
                seen[name, pid].append((minutes, megabytes(pid)))
        run.terminate()  # a shell's background job would not hear Ctrl-C
        run.wait()
        with Store(out, write=False) as store:
            played = len(store.results())
    table = Table("process", "MB at last", "MB a minute", title=f"{played} trials", box=box.SIMPLE)
    for (name, pid), points in seen.items():
        late = np.array([point for point in points if point[0] >= args.settle])
        if len(late) > 2:
            slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
            table.add_row(f"{name} {pid}", f"{late[-1, 1]:.0f}", f"{slope:+.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
