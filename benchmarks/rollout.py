"""How edited trials scale with the environments, each in a process of its own, that play them.

    python benchmarks/rollout.py
    python benchmarks/rollout.py --set suite.width=320 suite.height=256 editor.library=specialists

The trials are a study's, by default the lab's: its policies in scenes edited in gold, from one pose, for a
process converts its networks anew for every size of window that it meets. What counts is the time from the
first moment at which every environment can have finished two trials to the last at which none has run out of
them: starting, loading and most of the converting, some tens of seconds for each process, stay out of it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.eval.cli import wire
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.library import find_specialists
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.trials import Result, trials
from simedit.packaged import library_folder

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "eval" / "lab.yaml"
ONE_POSE = ("domains=[edited]", "styles=[gold]", "scenes.pose=[b1]", "seeds=[0,1]")
SHORT = (*ONE_POSE, "report={videos: 0, strips: 0}", "max_steps=15")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--num-envs", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--trials", type=int, default=48, help="for each N")
    args = parser.parse_args()
    if args.trials < 4 * max(args.num_envs):
        raise SimeditError(f"{max(args.num_envs)} environments need at least four times as many trials")
    study = resolved(load_config(StudyConfig, args.config, (*SHORT, *args.overrides)))
    wanted = list(trials(study))[:: max(1, len(list(trials(study))) // args.trials)][: args.trials]
    specialists = find_specialists(library_folder(study.editor.library), study.styles)
    rates: dict[int, float] = {}
    for count in args.num_envs:
        print(f"{count} environments ...", flush=True)
        done: list[tuple[float, int]] = []

        def note(result: Result, done: list[tuple[float, int]] = done) -> None:
            done.append((time.perf_counter(), result.steps))

        with (
            tempfile.TemporaryDirectory(prefix="simedit-rollout-") as out,
            Store(Path(out), write=True) as store,
        ):
            run_study(
                wanted,
                store=store,
                slots=wire(study, specialists, count),
                max_steps=study.max_steps,
                report=study.report,
                progress=note,
            )
        steady = done[2 * count - 1 : len(done) - count + 1]
        rates[count] = sum(steps for _, steps in steady[1:]) / (steady[-1][0] - steady[0][0])
    table = Table("environments", box=box.SIMPLE)
    for head in ("control steps/s", f"x N={args.num_envs[0]}"):
        table.add_column(head, justify="right")
    for count, rate in rates.items():
        table.add_row(str(count), f"{rate:.2f}", f"{rate / rates[args.num_envs[0]]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
