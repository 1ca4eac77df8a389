"""Kill, stop and interrupt `simedit-eval run` at random moments, and compare its results to the bit.

    python scripts/torture_eval.py --kills 60 --interrupts 20 --stops 10

One study is run undisturbed. Then the same study is disturbed, and started again with the same command, until
it is finished; then again in a new folder, until all disturbances are spent. Every process of a start must be
be gone 10 s after its command. Ends with a table, and exit code 1 if anything is wrong.

The command is the real one, but its environments are the small drawer of the tests, which starts in seconds;
with --twin they are the drawer twin.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from simedit.errors import SimeditError
from simedit.eval import cli

if TYPE_CHECKING:
    import gymnasium as gym

SCENE = "SIMEDIT_TORTURE_SCENE"
"""The environment variable that makes this script the command."""

STUDY = """
policies:
  sure: {kind: scripted}
  rough: {kind: scripted, noise: 0.05, delay: 1}
domains: [raw]
scenes: {drawer: [top, bottom], pose: [a0, b1, c2]}
seeds: [0, 1]
max_steps: 6
suite: {kind: drawer, width: 64, height: 48}
real: {source: none}
report: {videos: 1, strips: 1}
# A loaded machine may take long to start; a stopped environment is waited for as long as this says.
timeouts: {first_frame: 120, reset: 15, step: 15, act: 15}
"""
GONE_S = 10


class Start:
    """One start of the command, in a session of its own, by which its processes are known."""

    def __init__(self, folder: Path, out: Path, num_envs: int, scene: str) -> None:
        self.errors = folder / "stderr"
        command = [sys.executable, __file__, "run", "--config", str(folder / "study.yaml")]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, "--out", str(out), "--num-envs", str(num_envs)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | {SCENE: scene},
                start_new_session=True,
            )

    def others(self, name: str = "") -> list[int]:
        """Its other processes that are alive, or those whose name or command holds `name`."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                # After the name in brackets: state, parent, group, session.
                state, _, _, session = (entry / "stat").read_text().rpartition(") ")[2].split()[:4]
                known = (entry / "comm").read_text() + (entry / "cmdline").read_text()
            except (OSError, ValueError):
                continue
            mine = int(session) == self.process.pid != int(entry.name) and state != "Z"
            if mine and name in known:
                found.append(int(entry.name))
        return found

    def worker(self, chance: random.Random, name: str) -> int | None:
        """One of its environments' processes, waited for if there is none."""
        while self.process.poll() is None:
            if found := self.others(name):
                return chance.choice(found)
            time.sleep(0.05)
        return None

    def orphans(self) -> int:
        """How many of its processes are left after 10 s; they are ended."""
        deadline = time.monotonic() + GONE_S
        while (left := self.others()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in left:
            send(pid, signal.SIGKILL)
        return len(left)


def send(pid: int | None, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_driver(start: Start, chance: random.Random) -> None:
    start.process.kill()


def kill_worker(start: Start, chance: random.Random) -> None:
    send(start.worker(chance, "spawn_main"), signal.SIGKILL)  # it may just begin


def kill_any(start: Start, chance: random.Random) -> None:
    """Also the guards, and what Python itself begins."""
    send(start.worker(chance, ""), signal.SIGKILL)


def interrupt(start: Start, chance: random.Random) -> None:
    """As a terminal does, in which all processes of the command hear Ctrl-C."""
    os.killpg(start.process.pid, signal.SIGINT)


def interrupt_twice(start: Start, chance: random.Random) -> None:
    interrupt(start, chance)
    time.sleep(chance.uniform(0, 0.5))
    if start.process.poll() is None:
        interrupt(start, chance)


def stop_worker(start: Start, chance: random.Random) -> None:
    from simedit.eval.process import PROCESS_NAME

    # One that was stopped before it could ask to end with its parent stays for good.
    send(start.worker(chance, PROCESS_NAME), signal.SIGSTOP)


def stop_worker_and_kill_driver(start: Start, chance: random.Random) -> None:
    stop_worker(start, chance)
    start.process.kill()


def stop_driver(start: Start, chance: random.Random) -> None:
    send(start.process.pid, signal.SIGSTOP)
    time.sleep(3)
    send(start.process.pid, signal.SIGCONT)


Disturbance = Callable[[Start, random.Random], None]
KINDS: dict[str, tuple[Disturbance, ...]] = {
    "kills": (kill_driver, kill_worker, kill_any),
    "interrupts": (interrupt, interrupt_twice),
    "stops": (stop_worker, stop_worker_and_kill_driver, stop_driver),
}
ENDS = {
    kill_driver: (-signal.SIGKILL, 0),
    stop_worker_and_kill_driver: (-signal.SIGKILL, 0),
    interrupt: (130, -signal.SIGINT, 0),
    interrupt_twice: (130, -signal.SIGINT, 0),
}
"""The exit codes that a disturbance may leave, where not 0 alone: it may come just before the end."""


def outcome(out: Path) -> tuple[dict, dict[str, bytes]]:
    """What is stored, and the files."""
    from simedit.eval.store import Store

    try:
        with Store(out, write=False) as store:
            results = {t: r for t, r in store.results().items() if r.outcome != "error"}
    except SimeditError as error:
        if "holds no results" not in str(error):
            raise
        results = {}
    files = [*out.glob("media/*"), *out.glob("report.*")]
    return results, {str(path.relative_to(out)): path.read_bytes() for path in sorted(files)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for kind, count in (("kills", 60), ("interrupts", 20), ("stops", 10)):
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"default {count}")
    parser.add_argument("--twin", action="store_true", help="play in the drawer twin")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments; default 0")
    options = parser.parse_args()
    # A shell's background job ignores Ctrl-C, and so would the commands.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance = random.Random(options.seed)
    todo = [kind for kind in KINDS for _ in range(getattr(options, kind))]
    chance.shuffle(todo)
    total, counts, done = len(todo), Counter(), Counter()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    (folder / "study.yaml").write_text(STUDY)
    began = time.monotonic()
    scene = "twin" if options.twin else "small"
    reference = Start(folder, folder / "whole", 1, scene)
    if reference.process.wait():
        sys.exit(f"the undisturbed run failed: {reference.errors.read_text()}")
    usual = time.monotonic() - began
    whole, whole_files = outcome(folder / "whole")
    print(f"undisturbed: {len(whole)} trials in {usual:.0f} s", flush=True)
    while todo:
        out, finished, seen, num_envs = folder / "run", False, {}, chance.choice((1, 2))
        while not finished:
            start = Start(folder, out, num_envs, scene)
            ends: tuple[int, ...] = (0,)
            name = "none"
            if todo:
                disturb = chance.choice(KINDS[todo[-1]])
                try:
                    start.process.wait(chance.uniform(0, usual))
                except subprocess.TimeoutExpired:  # else it ended before
                    disturb(start, chance)
                    ends, name = ENDS.get(disturb, (0,)), disturb.__name__
                    done[todo.pop()] += 1
            code = start.process.wait()
            finished = code == 0
            orphans = start.orphans()
            results, files = outcome(out)
            shown = start.errors.read_text(errors="replace")
            wrong = {
                "orphans": orphans,
                "tracebacks": shown.count("Traceback"),
                "exit codes": code not in ends,
                "lost": len(seen.keys() - results.keys()),
                "differing": sum(results.get(t, r) != r for t, r in seen.items()),
            }
            seen = results
            counts.update(wrong)
            left = f"{total - len(todo)}/{total} {time.monotonic() - began:6.0f} s"
            print(f"{left} {name:28} exit {code:4} stored {len(results)}/{len(whole)}", flush=True)
            if any(wrong.values()):
                print(f"  WRONG: {wrong}\n{shown[-3000:]}", flush=True)
        counts["lost"] += len(whole.keys() - seen.keys())
        counts["doubled"] += len(seen.keys() - whole.keys())
        counts["differing"] += sum(whole[t] != r for t, r in seen.items() if t in whole)
        changed = [name for name in whole_files | files if whole_files.get(name) != files.get(name)]
        counts["differing files"] += len(changed)
        if changed:
            print(f"  WRONG: {changed}", flush=True)
        shutil.rmtree(out)
    for name, count in [*done.items(), *counts.items()]:
        print(f"{name:20}{count:6}")
    shutil.rmtree(folder)
    return 1 if any(counts.values()) else 0


def small_scene(*_: object) -> gym.Env:
    """The tests' small drawer, in place of the twin."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from small_drawer import SmallDrawer, make_env

    return make_env("raw", SmallDrawer(seconds_per_step=0.05))


# In the command's workers, which load this file again. The command itself imports no more than it usually
# does: Ctrl-C is to find it as it is.
if os.environ.get(SCENE) == "small" and __name__ != "__main__":
    from simedit.eval import worker

    worker.scene = small_scene
if __name__ == "__main__":
    sys.exit(cli.main() if SCENE in os.environ else main())
