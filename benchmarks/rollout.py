"""How edited trials scale with the environments that play them: in processes, or as Ray actors.

    python benchmarks/rollout.py
    python benchmarks/rollout.py --num-envs 1 2 --kinds here processes ray
    python benchmarks/rollout.py --set suite.width=320 suite.height=256 editor.library=specialists

The trials are a study's, by default the lab's: its policies in scenes edited in gold, from one pose, for a
process converts its networks anew for every size of window that it meets. What counts is the time from the
first moment at which every environment can have finished two trials to the last at which none has run out of
them: starting, loading and most of the converting, some tens of seconds for each process, stay out of it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rows import note

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.library import find_specialists
from simedit.eval.on_ray import ray_workers
from simedit.eval.remote import local_workers
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.trials import Result, trials
from simedit.eval.worker import Plays, Worker, build
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
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=["processes"])
    parser.add_argument("--trials", type=int, default=48, help="for each N")
    args = parser.parse_args()
    if args.trials < 4 * max(args.num_envs):
        raise SimeditError(f"{max(args.num_envs)} environments need at least four times as many trials")
    study = resolved(load_config(StudyConfig, args.config, (*SHORT, *args.overrides)))
    wanted = list(trials(study))[:: max(1, len(list(trials(study))) // args.trials)][: args.trials]
    specialists = find_specialists(library_folder(study.editor.library), study.styles)
    rows: list[tuple[str, int, float, float]] = []
    for count, kind in itertools.product(args.num_envs, args.kinds):
        if kind == "here" and count > 1:
            continue
        print(f"{count} {kind} ...", flush=True)
        done: list[tuple[float, int]] = []

        def ended(result: Result, _: float, done: list[tuple[float, int]] = done) -> None:
            done.append((time.perf_counter(), result.steps))

        begun = time.perf_counter()
        with (
            tempfile.TemporaryDirectory(prefix="simedit-rollout-") as out,
            Store(Path(out), write=True) as store,
            KINDS[kind](study, specialists, count) as workers,
        ):
            run_study(wanted, store=store, workers=workers, report=study.report, progress=ended)
        steady = done[2 * count - 1 : len(done) - count + 1]
        rate = sum(steps for _, steps in steady[1:]) / (steady[-1][0] - steady[0][0])
        rows.append((kind, count, done[0][0] - begun, rate))
        note(
            environments=f"{count} {kind}",
            first_trial_ends_after_s=rows[-1][2],
            control_steps_a_second=rate,
            x_first_row=rate / rows[0][-1],
        )
    table = Table("environments", box=box.SIMPLE)
    for head in ("first trial ends after, s", "control steps/s", "x first row"):
        table.add_column(head, justify="right")
    for kind, count, first, rate in rows:
        table.add_row(f"{count} {kind}", f"{first:.1f}", f"{rate:.2f}", f"{rate / rows[0][-1]:.2f}")
    Console().print(table)


@contextmanager
def _here(study: StudyConfig, specialists: Mapping[str, Path], count: int) -> Iterator[list[Worker]]:
    yield [build(study, specialists, tell=lambda *phase: None)]


KINDS: dict[str, Callable[..., AbstractContextManager[Sequence[Plays]]]] = {
    "here": _here,
    "processes": local_workers,
    "ray": functools.partial(ray_workers, address="local"),
}
"""One worker in this process; processes; actors of a Ray cluster on this machine."""

if __name__ == "__main__":
    raise SystemExit(run_cli(main))
