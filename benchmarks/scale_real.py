"""What benchmarks/scale.py rests on, measured on this machine's cores, and how near it comes to real runs.

Times are CPU seconds, so that programs that run beside take nothing away from them; how many cores those
took is measured as well, and the simulated machine lacks as much. Only real runs' rates are by the clock.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from scale_actors import Shape, Times, simulate

from simedit.config import load_config
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.library import find_specialists
from simedit.eval.remote import local_workers
from simedit.eval.rollout import Stage, rollout
from simedit.eval.store import Store
from simedit.eval.study import run_study
from simedit.eval.trials import Result, Trial, trials
from simedit.eval.worker import limit_threads, load_editor, scene
from simedit.packaged import library_folder

LAB = Path(__file__).resolve().parents[1] / "configs" / "eval" / "lab.yaml"
COMMON = ("styles=[gold]", "report={videos: 0, strips: 0}")
SHORT = (*COMMON, "domains=[edited]", "scenes.pose=[b1]", "seeds=[0,1]", "max_steps=15")
"""Edited trials as benchmarks/rollout.py plays them."""
WHOLE = (*COMMON, "domains=[vismatch]", "scenes.pose=[b1]", "scenes.drawer=[top]")
"""Eight trials as long as the study's, for the number of steps."""
WARM, PLAYED = 2, 4
TRIALS = 12
"""Of each worker in real runs."""
T = TypeVar("T")
CORES = len(os.sched_getaffinity(0))
CONTENDED_S = 4.0
QUIET = 0.2
"""Cores that others may take without a warning: with more, one process is never alone, so that the slowdown
reads too low, and what others take is not as steady as the simulation has it."""


def measure(times: Times) -> None:
    """Print a file for `scale.py --times`: `times`, but for what is measured here."""
    print(
        yaml.safe_dump(times.model_dump() | {"study": LAB.stem} | measured(), sort_keys=False, width=110),
        end="",
    )


def measured() -> dict[str, Any]:
    """The figures of `scale.Times` that need no GPU."""
    limit_threads()
    with beside() as others:
        slowdown = contention()
    print(f"slowdown {slowdown:.3f}", file=sys.stderr)
    _warn(others[0])
    seconds: dict[str, list[float]] = defaultdict(list)
    with beside() as others:
        study = _study(SHORT)
        specialists = find_specialists(library_folder(study.editor.library), study.styles)

        def make(domain: str, variant: str) -> Any:
            editor = load_editor(study, specialists) if domain == "edited" else None
            if editor is not None:
                editor.edit = _timed(editor.edit, seconds["edit"])
            env: Any = scene(study, domain, variant, editor)
            env.reset = _timed(env.reset, seconds["reset"], seconds["edit"])
            env.step = _timed(env.step, seconds["step"], seconds["edit"])
            return env

        stage = Stage(make, study.suite.editing().get("image_key"))
        policies = {name: policy.load(stage.state) for name, policy in study.policies.items()}
        for policy in policies.values():
            policy.act = _timed(policy.act, seconds["act"])
        wanted = list(trials(study))
        for number, trial in enumerate(wanted[:: len(wanted) // (WARM + PLAYED)][: WARM + PLAYED]):
            if number == WARM:
                start = time.process_time() - sum(seconds["step"]) - sum(seconds["act"])
                for name in ("reset", "step", "act", "edit"):
                    seconds[name].clear()
            rollout(trial, stage, policies[trial.policy], max_steps=study.max_steps)
        counts = [len(seconds[name]) for name in ("reset", "step")]
        stage.close()
        build, lengths = _whole(_study(WHOLE))
    _warn(others[0])
    crowd = 1 + slowdown * min(1.0, others[0] / max(1, CORES - 1))
    where = f"{date.today()}, {_processor()}, {CORES} cores, scale.py --measure"
    found: dict[str, Any] = {
        name: {"value": float(np.mean(seconds[name])) / crowd, "source": f"lab, {where}"}
        for name in ("reset", "step", "act", "edit")
    }
    found["build"] = {"value": build / crowd, "source": f"the lab's second environment of a process, {where}"}
    print(f"{counts[0]} resets and {counts[1]} steps of edited trials", file=sys.stderr)
    print(
        f"edits: median {np.median(seconds['edit']):.3f} s, longest {max(seconds['edit']):.3f} s",
        file=sys.stderr,
    )
    found["start"] = {
        "value": start / crowd,
        "source": f"imports, editor and its first edits, {where}",
    }
    found["store"] = {"value": _storing(wanted[0]), "source": where}
    found["slowdown"] = {"value": slowdown, "source": f"matrix products in {CORES} processes, {where}"}
    found["steps"] = {"value": lengths, "source": f"raw trials of the lab's policies, {where}"}
    return {
        name: {**figure, "assumed": False} if name == "steps" else _short(figure)
        for name, figure in found.items()
    }


def _short(figure: dict[str, Any]) -> dict[str, Any]:
    return {"value": float(f"{figure['value']:.4g}"), "source": figure["source"], "assumed": False}


def validate(times: Times) -> None:
    """Print real rates of 1, 2 and 4 workers here beside those simulated from one process's times."""
    print(f"load before: {os.getloadavg()}", flush=True)
    study = _study(SHORT)
    limited = [min(steps, study.max_steps) for steps in times.steps.value]
    times = times.model_copy(update={"steps": times.steps.model_copy(update={"value": limited})})
    table = Table("workers", "cores of others", box=box.SIMPLE)
    for head in ("real steps/s", "simulated", "difference"):
        table.add_column(head, justify="right")
    everything = list(trials(study))
    for count in (1, 2, 4):
        # Many, for each worker converts its networks by itself while the first trials are played.
        wanted = everything[:: max(1, len(everything) // (TRIALS * count))][: TRIALS * count]
        done, taken = _play(study, wanted, count)
        first, last = (steady(taken, count)[end] for end in (0, -1))
        others = (last - first) / (steady(done, count)[-1][0] - steady(done, count)[0][0])
        real = _rate(done, count)
        shape = Shape(CORES, count, gpu=False, others=min(max(0.0, others), CORES - 0.1))
        # Of many rounds, for simulated workers end trials together, and a part of a round would count as one.
        simulated = _rate(simulate(wanted * 50, times, shape, 1).done, count)
        row = (f"{others:.2f}", f"{real:.2f}", f"{simulated:.2f}", f"{simulated / real - 1:+.1%}")
        print(count, *row, flush=True)
        _warn(others)
        table.add_row(str(count), *row)
    Console().print(table)
    print(f"load after: {os.getloadavg()}")


def _warn(others: float) -> None:
    if others > QUIET:
        print(
            f"other programs took {others:.2f} of {CORES} cores: repeat this when they rest", file=sys.stderr
        )


def contention() -> float:
    """How much longer work takes when all cores work, as a share: CPU seconds of plain matrix products."""
    context = multiprocessing.get_context("spawn")
    rates = []
    for count in (1, CORES):
        with context.Pool(count) as pool:
            rates.append(float(np.mean(pool.map(_products, range(count), chunksize=1))))
    return max(0.0, rates[0] / rates[1] - 1)


def _products(number: int) -> float:
    """Products a CPU second, of matrices that fill the caches."""
    a = np.random.default_rng(number).normal(size=(512, 512)).astype(np.float32)
    end, count = time.perf_counter() + CONTENDED_S, 0
    begin = time.process_time()
    while time.perf_counter() < end:
        (a @ a).sum()
        count += 1
    return count / (time.process_time() - begin)


@contextmanager
def beside() -> Iterator[list[float]]:
    """What other programs take, cores on average; known at the end."""
    found = [0.0]
    before = time.perf_counter(), _taken()
    yield found
    found[0] = max(0.0, (_taken() - before[1]) / (time.perf_counter() - before[0]))


def _taken() -> float:
    """CPU seconds that other programs have taken up to now."""
    line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, line[:8])
    ticks = user + nice + system + irq + softirq + steal
    for child in multiprocessing.active_children():  # those that ended are in os.times
        fields = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        ticks -= int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _study(overrides: Sequence[str]) -> StudyConfig:
    return resolved(load_config(StudyConfig, LAB, overrides))


def _timed(
    call: Callable[..., Any], into: list[float], inner: list[float] | None = None
) -> Callable[..., Any]:
    """The call, its CPU seconds noted without those that calls inside it noted in `inner`."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin, before = time.process_time(), sum(inner or ())
        try:
            return call(*args, **kwargs)
        finally:
            into.append(time.process_time() - begin - (sum(inner or ()) - before))

    return timed


def _whole(study: StudyConfig) -> tuple[float, list[int]]:
    """CPU seconds of an environment's building, and the steps of whole episodes."""
    built = []
    make = _timed(lambda *place: study.suite.suite().make(*study.behind(*place)), built)
    stage = Stage(make, study.suite.editing().get("image_key"))
    policies = {name: policy.load(stage.state) for name, policy in study.policies.items()}
    played = [
        rollout(trial, stage, policies[trial.policy], max_steps=study.max_steps) for trial in trials(study)
    ]
    stage.close()
    return built[0], sorted(result.steps for result in played)


def _storing(trial: Trial) -> float:
    with (
        tempfile.TemporaryDirectory(prefix="simedit-scale-") as out,
        Store(Path(out), write=True) as store,
    ):
        begin = time.perf_counter()
        for _ in range(20):
            store.put(Result(trial, "success", 15))
        return (time.perf_counter() - begin) / 20


def _play(
    study: StudyConfig, wanted: Sequence[Trial], count: int
) -> tuple[list[tuple[float, int]], list[float]]:
    """When each trial ended, with its steps, and what other programs had taken by then."""
    specialists = find_specialists(library_folder(study.editor.library), study.styles)
    done: list[tuple[float, int]] = []
    taken: list[float] = []

    def note(result: Result, _: float) -> None:
        done.append((time.perf_counter(), result.steps))
        taken.append(_taken())

    with (
        tempfile.TemporaryDirectory(prefix="simedit-scale-") as out,
        Store(Path(out), write=True) as store,
        local_workers(study, specialists, count) as workers,
    ):
        run_study(wanted, store=store, workers=workers, report=study.report, progress=note)
    return done, taken


def steady(found: Sequence[T], count: int) -> Sequence[T]:
    """Of what there is for each trial, the second half, as long as all workers play."""
    return found[len(found) // 2 : len(found) - count + 1]


def _rate(done: Sequence[tuple[float, int]], count: int) -> float:
    """Control steps a second of the steady part."""
    part = steady(done, count)
    return sum(steps for _, steps in part[1:]) / (part[-1][0] - part[0][0])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "a processor"
