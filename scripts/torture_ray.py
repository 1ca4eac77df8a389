"""Lose machines, actors and the driver of a study on Ray at random moments, and compare its report.

    python scripts/torture_ray.py --rounds 20

The study, 64 trials of the lab, is run once undisturbed, in one process. Then, round by round, on a Ray
cluster of two nodes on this machine: one node's raylet is killed, an actor (a rollout or the editor), and the
driver; a new node comes, and the same command is given again, with one more actor killed on the way. Its
report must be the undisturbed one to the byte. Ends with a table, and exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ray.cluster_utils import Cluster
from torture_eval import GONE_S, Start, outcome, send

OVERRIDES = (
    *("domains=[raw,edited]", "styles=[gold]", "scenes={drawer: [top], pose: [b1]}", "seeds=[0,1,2,3]"),
    *("max_steps=3", "report={videos: 1, strips: 1}", "resources={rollout: {cpu: 1}, editor: {cpu: 0}}"),
)


class Driver(Start):
    """One start of the command, on a cluster or in one process."""

    def __init__(self, folder: Path, out: Path, address: str | None) -> None:
        self.errors = folder / "stderr"
        command = [str(Path(sys.executable).with_name("simedit-eval")), "run", "--config", "lab"]
        command += ["--out", str(out), *(("--ray", address) if address else ()), "--set", *OVERRIDES]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )


def actors() -> list[int]:
    """The processes of all actors on this machine."""
    found = subprocess.run(["pgrep", "-f", "^ray::Seat"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


def gone(alive: Callable[[], list[int]]) -> int:
    """How many are left after a while; they are ended."""
    deadline = time.monotonic() + GONE_S
    while alive() and time.monotonic() < deadline:
        time.sleep(0.2)
    left = alive()
    for pid in left:
        send(pid, signal.SIGKILL)
    return len(left)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    chance, counts = random.Random(args.seed), Counter()
    folder = Path(tempfile.mkdtemp(prefix="torture-ray-"))
    began = time.monotonic()
    if Driver(folder, folder / "whole", None).process.wait():
        sys.exit(f"the undisturbed run failed: {(folder / 'stderr').read_text()}")
    usual = time.monotonic() - began
    whole, files = outcome(folder / "whole")
    print(f"undisturbed: {len(whole)} trials in {usual:.0f} s", flush=True)

    def play(out: Path, address: str, plan: list[tuple[float, str, Callable[[], object]]]) -> int:
        """Run the command, with what happens at which second; its exit code."""
        driver = Driver(folder, out, address)
        start = time.monotonic()
        for moment, name, happen in [*plan]:
            try:
                driver.process.wait(max(0.0, start + moment - time.monotonic()))
                break
            except subprocess.TimeoutExpired:
                happen() if name != "driver" else driver.process.kill()
                counts[f"killed: {name}"] += 1
        code = driver.process.wait()
        counts["orphans"] += gone(driver.others) + gone(actors)
        counts["tracebacks"] += driver.errors.read_text(errors="replace").count("Traceback")
        if code not in (0, -signal.SIGKILL):
            print(f"exit code {code}:\n{driver.errors.read_text()[-2000:]}", flush=True)
            counts["exit codes"] += 1
        return code

    def kill_actor() -> None:
        if there := actors():
            send(chance.choice(there), signal.SIGKILL)

    for number in range(1, args.rounds + 1):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        node = cluster.add_node(num_cpus=1)
        out = folder / f"round-{number}"
        moments = sorted(chance.uniform(5, 10 + usual) for _ in range(3))
        lose = lambda node=node, cluster=cluster: cluster.remove_node(node, allow_graceful=False)  # noqa: E731
        kinds = ["raylet", "actor", "driver"]
        happen = {"raylet": lose, "actor": kill_actor, "driver": lambda: None}
        play(out, cluster.address, [(m, k, happen[k]) for m, k in zip(moments, kinds, strict=True)])
        before, _ = outcome(out) if (out / "results.sqlite").exists() else ({}, {})
        cluster.add_node(num_cpus=1)
        code = play(out, cluster.address, [(chance.uniform(5, 10 + usual), "actor", kill_actor)])
        results, found = outcome(out)
        counts["lost"] += len(whole.keys() - results.keys()) + len(before.keys() - results.keys())
        counts["doubled"] += len(results.keys() - whole.keys())
        counts["differing results"] += sum(whole[t] != r for t, r in results.items() if t in whole)
        counts["differing files"] += sum(files.get(name) != found.get(name) for name in files | found)
        counts["rounds that ended well"] += code == 0
        cluster.shutdown()
        print(f"round {number}: {len(before)} stored before, then exit code {code}; "
              f"{time.monotonic() - began:.0f} s; {dict(counts)}", flush=True)  # fmt: skip
    for name, count in counts.items():
        print(f"{name:24}{count:6}")
    wrong = ("orphans", "tracebacks", "exit codes", "lost", "doubled", "differing results", "differing files")
    return 1 if any(counts[name] for name in wrong) or counts["rounds that ended well"] < args.rounds else 0


if __name__ == "__main__":
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    sys.exit(main())
