"""A study on 1, 4, 16 and 64 GPUs: trials an hour, what holds it up, hours and costs, all simulated.

    python benchmarks/scale.py                      # the published protocol, 6,912 episodes
    python benchmarks/scale.py --times my.yaml --cores 16 --rollouts 12 --price 3
    python benchmarks/scale.py --cpu --cores 2      # machines without a GPU
    python benchmarks/scale.py --measure            # seconds of each call here, as a file for --times
    python benchmarks/scale.py --validate           # 1, 2 and 4 workers here against the simulation

Simulated are the actors, as `scale_actors.py` beside this script says.
Times come from a file, each with its source. A figure that rests on one which nobody measured, or in
another study, says "assumed".
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from scale_actors import Figure, Shape, Times, best, simulate

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.eval.config import StudyConfig, resolved
from simedit.eval.trials import Trial, trials

ROOT = Path(__file__).resolve().parents[1]
PROTOCOL = ROOT / "configs" / "eval" / "paper.yaml"
TIMES = Path(__file__).with_name("scale_times.yaml")


def rows(
    wanted: Sequence[Trial], times: Times, shape: Shape, counts: Sequence[int], price: float, seed: int = 0
) -> list[dict[str, Any]]:
    """A row for each number of GPUs, or of machines without one; `price` is of an hour of one."""
    found = []
    for count in counts:
        outcome = simulate(wanted, times, shape, count, seed)
        hours = outcome.seconds / 3600
        found.append(
            {
                "count": count,
                "trials_an_hour": len(wanted) / hours,
                "bottleneck": outcome.bottleneck,
                "utilisation": {"cores": outcome.cores, "gpus": outcome.gpus, "driver": outcome.driver},
                "hours": hours,
                "cost_per_1000": 1000 * price * count * hours / len(wanted),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=PROTOCOL, help="the study that is simulated")
    parser.add_argument("--times", type=Path, default=TIMES)
    parser.add_argument("--count", type=int, nargs="+", default=[1, 4, 16, 64], help="of GPUs or machines")
    parser.add_argument("--cpu", action="store_true", help="machines without a GPU")
    parser.add_argument("--cores", type=int, default=16, help="of each GPU or machine")
    parser.add_argument("--rollouts", type=int, help="of each GPU or machine; by default the best number")
    parser.add_argument("--batch", type=int, default=8, help="frames that an editor takes at most")
    parser.add_argument("--price", type=float, default=2.0, help="of an hour of one, in any currency")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--validate", action="store_true")
    args = parser.parse_args()
    if min(args.cores, args.batch, *args.count, 1 if args.rollouts is None else args.rollouts) < 1:
        raise SimeditError("--count, --cores, --rollouts and --batch must be 1 or more")
    times = load_config(Times, args.times)
    elsewhere = args.config.stem != times.study
    if args.measure or args.validate:
        import scale_real  # beside this script; it needs a simulator

        return scale_real.measure(times) if args.measure else scale_real.validate(times)
    wanted = list(trials(resolved(load_config(StudyConfig, args.config))))
    shape = Shape(args.cores, args.rollouts or 1, args.batch, gpu=not args.cpu)
    if args.rollouts is None:
        shape = best(wanted, times, shape)
    found = rows(wanted, times, shape, args.count, args.price)
    show(found, times, shape, len(wanted), args.price, elsewhere)
    if args.json:
        whole = {
            "trials": len(wanted),
            "timed_in": times.study,
            "price": args.price,
            "shape": asdict(shape),
            "rows": found,
        }
        used = {name: figure.model_dump() for name, figure in times.used(shape.gpu).items()}
        args.json.write_text(json.dumps({**whole, "times": used}, indent=2) + "\n", encoding="utf-8")


def show(
    found: list[dict[str, Any]], times: Times, shape: Shape, wanted: int, price: float, elsewhere: bool
) -> None:
    """Print the rows, and what they rest on; `elsewhere`, the calls were timed in another study."""
    console, used = Console(width=120), times.used(shape.gpu)
    assumed = " assumed" if elsewhere or any(figure.assumed for figure in used.values()) else ""
    unit = "GPUs" if shape.gpu else "machines"
    title = f"{wanted} trials, {shape.cores} cores and {shape.rollouts} rollouts for each of the {unit}"
    table = Table(title=title, box=box.SIMPLE)
    for head in (unit, "trials/h", "hours", f"cost of 1,000 trials at {price:g}/h", "bottleneck"):
        table.add_column(head, justify="right")
    table.add_column("busy: cores, GPUs, driver", justify="right")
    for row in found:
        shares = ", ".join(f"{share:.0%}" for share in row["utilisation"].values())
        figures = (f"{row['trials_an_hour']:.0f}", f"{row['hours']:.2f}", f"{row['cost_per_1000']:.2f}")
        told = (*figures, row["bottleneck"], shares)
        table.add_row(str(row["count"]), *(figure + assumed for figure in told))
    console.print(table)
    table = Table(box=box.SIMPLE)
    for head in ("rests on", "s", "", "source"):
        table.add_column(head)
    measured = f"measured in {times.study}" if elsewhere else "measured"
    for name, figure in used.items():
        value = figure.value if isinstance(figure, Figure) else sum(figure.value) / len(figure.value)
        table.add_row(name, f"{value:.4g}", "assumed" if figure.assumed else measured, figure.source)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
