"""Kill, interrupt and stop `simedit-train` at random moments, and compare what it ends with to the bit.

    python scripts/torture_training.py --kills 30 --interrupts 30 --stops 5
    python scripts/torture_training.py --set 'objective={kind: nft}'    # of another objective

A small training runs undisturbed. Then the same training is disturbed, and gone on with, until it is
finished; then again in a new folder, until all disturbances are spent. Kills (SIGKILL) come at any moment;
interrupts (Ctrl-C) count where they come within a training step; after a stop (SIGSTOP) of a second it goes
on. Every process of a start must be gone 10 s after its command. Ends with a table, and exit code 1 if
any weight, record or file differs.

Each start is a fork of this process, which has the libraries loaded: that takes longer than the training.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of the threads that were started before it
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from safetensors.torch import load_file
from small_training import write_config, write_inputs, write_photos

from simedit.tiny import tiny_pipeline
from simedit.training.checkpoint import latest
from simedit.training.cli import main

NEW = ("--config", "small.yaml", "--style-images", "photos", "--name", "gold", "--cpu")
RESUME = ("--resume", "runs/train/gold", "--cpu")
SETTINGS = ("steps=4", "samples=6", "sampling.batch_size=1")
RUN, SPECIALIST = Path("runs/train/gold"), Path("specialists/gold")
GONE_S = 10.0
STEP = "step "
"""How a line of the command's output begins once it trains."""


class Start:
    """One start of the command, in a session of its own, by which its processes are known."""

    def __init__(self, folder: Path, *args: str):
        self.output = folder / "output.txt"
        self.output.write_text("")
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.chdir(folder)
            stream = os.open(self.output, os.O_WRONLY | os.O_APPEND)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            code = 1
            try:
                code = main(args)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def trains(self) -> bool:
        return any(line.startswith(STEP) for line in self.output.read_text().splitlines())

    def end(self) -> int:
        """The exit code, negative for a signal; after SIGKILL there is none but that."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def orphans(self) -> bool:
        """Whether processes of it are left 10 s after its end; they are ended."""
        limit = time.monotonic() + GONE_S
        while time.monotonic() < limit:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.1)
        os.killpg(self.pid, signal.SIGKILL)
        return True


class Torture:
    """A training's folders, and what was found wrong in them."""

    def __init__(self, root: Path, seed: int, settings: tuple[str, ...]):
        self.root, self.random = root, random.Random(seed)
        self.new = (*NEW, "--set", *SETTINGS, *settings)
        self.found: Counter[str] = Counter()
        tiny_pipeline(0).save_pretrained(root / "base")
        write_inputs(root / "inputs", 6)
        write_photos(root / "photos", 5)
        self.whole = self.folder("whole")
        started = time.monotonic()
        if (code := Start(self.whole, *self.new).end()) != 0:
            raise SystemExit(f"the undisturbed training ended with {code}: see {self.whole}/output.txt")
        self.seconds = time.monotonic() - started

    def folder(self, name: str) -> Path:
        """A new folder to train in."""
        folder = self.root / name
        folder.mkdir()
        for part in ("base", "inputs", "photos"):
            (folder / part).symlink_to(self.root / part)
        write_config(folder / "small.yaml", "base", "inputs")
        return folder

    def disturb(self, folder: Path, kind: str) -> bool:
        """Start or go on with the training and disturb it once; whether it is finished."""
        args = RESUME if latest(folder / RUN / "checkpoints") else self.new
        start = Start(folder, *args)
        while kind == "interrupts" and start.running() and not start.trains():
            time.sleep(0.01)
        until = time.monotonic() + self.random.uniform(0, 0.6 * self.seconds)
        while start.running() and time.monotonic() < until:
            time.sleep(0.005)
        if start.running():
            number = {"kills": signal.SIGKILL, "interrupts": signal.SIGINT, "stops": signal.SIGSTOP}[kind]
            os.kill(start.pid, number)
            if kind == "stops":
                self.found["stops"] += 1
                time.sleep(1)
                os.kill(start.pid, signal.SIGCONT)
        code = start.end()
        if code not in {"kills": (0, -signal.SIGKILL), "interrupts": (0, 130), "stops": (0,)}[kind]:
            self.found["wrong exits"] += 1
            print(f"{kind}: exit code {code}: {start.output.read_text()[-500:]}", file=sys.stderr)
            if code == 2:
                return True  # it would be said for ever
        if kind == "kills" and code != 0:
            self.found["kills"] += 1
        newest = latest(folder / RUN / "checkpoints")
        if kind == "interrupts" and code == 130 and newest is not None and "_interrupted" in newest.name:
            self.found["interrupts"] += 1
        self.found["orphans"] += start.orphans()
        return code == 0

    def compare(self, folder: Path) -> None:
        """Note in what a finished training differs from the undisturbed one."""
        self.found["trainings"] += 1
        if not (folder / SPECIALIST).exists():
            self.found["lost specialists"] += 1
            return
        ours, theirs = (load_file(f / SPECIALIST / "adapter.safetensors") for f in (folder, self.whole))
        same = ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)
        records, expected = _records(folder), _records(self.whole)
        steps = [record["step"] for record in records]
        self.found["other weights"] += not same
        self.found["lost records"] += len({record["step"] for record in expected} - set(steps))
        self.found["doubled records"] += len(steps) - len(set(steps))
        self.found["other records"] += records != expected
        self.found["files left or missing"] += len(_files(folder) ^ _files(self.whole))


def _records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / RUN / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def _files(folder: Path) -> set[Path]:
    """All in the run folder, hidden things too, and all specialists."""
    found = {*(folder / RUN).rglob("*"), *(folder / SPECIALIST).rglob("*")}
    return {path.relative_to(folder) for path in found if "tensorboard" not in path.parts}


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for kind, count in (("kills", 30), ("interrupts", 30), ("stops", 5), ("seed", 0)):
        parser.add_argument(f"--{kind}", type=int, default=count)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the training")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(tempfile.mkdtemp(prefix="simedit-training-"))
    torture = Torture(root, asked.seed, tuple(asked.set))
    found = torture.found
    kinds = {kind: getattr(asked, kind) for kind in ("kills", "interrupts", "stops")}
    starts = 0
    while any(found[kind] < count for kind, count in kinds.items()):
        folder, finished = torture.folder(f"training-{found['trainings']}"), False
        while not finished:
            left = [kind for kind, count in kinds.items() if found[kind] < count]
            finished = torture.disturb(folder, torture.random.choice(left or ["stops"]))
            starts += 1
            if starts % 10 == 0:
                print(f"{starts} starts: {dict(found)}", file=sys.stderr, flush=True)
        torture.compare(folder)
    wrong = [
        *("other weights", "lost specialists", "lost records", "doubled records", "other records"),
        *("files left or missing", "wrong exits", "orphans"),
    ]
    for name in ("trainings", *kinds, *wrong):
        print(f"{name:22} {found[name]:5}")
    bad = any(found[name] for name in wrong)
    if bad:
        print(f"see {root}")
    else:
        shutil.rmtree(root)
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(run())
