"""Seconds and peak memory of a training step, measured, beside the dry run's estimate.

    python benchmarks/training_step.py                                # Stable Diffusion 1.5's size, on a GPU
    python benchmarks/training_step.py --set samples=32 update.batch_size=4
    python benchmarks/training_step.py --tiny                         # tiny networks, on the CPU

`simedit-train` runs two steps with random weights, frames and style images, Canny edges and the texture
encoder: this measures, and makes no specialist. The scores' own models are not part of it. The full size
needs about 5 GB of disk in the temporary folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
import yaml
from full_size_load import build
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.pipeline import silence_loading
from simedit.tiny import tiny_pipeline
from simedit.training.config import TrainConfig
from simedit.training.estimate import Estimate, estimate

CONFIG: dict[str, Any] = {
    "steps": 2,
    "samples": 16,
    "regions": {"inputs": "full-frame", "styles": "full-frame"},
    "scores": {"structural": {"kind": "canny"}, "semantic": {"encoder": "texture"}},
}
TINY: dict[str, Any] = {
    "samples": 8,
    "width": 64,
    "height": 64,
    "precision": "fp32",
    "sampling": {"steps": 8, "batch_size": 4},
    "update": {"batch_size": 2, "accumulation": 2},
}


def measure(scratch: Path, tiny: bool, overrides: tuple[str, ...]) -> tuple[Estimate, list[dict[str, Any]]]:
    """The estimate, and the records of the steps.

    Raises:
        SimeditError: the training did not end well.
    """
    base, inputs, styles, run = (scratch / name for name in ("base", "inputs", "styles", "run"))
    if tiny:
        tiny_pipeline().save_pretrained(base)
    else:
        build(base)
    config = scratch / "config.yaml"
    data = CONFIG | (TINY if tiny else {}) | {"base": str(base)}
    data["inputs"] = {"kind": "images", "path": str(inputs)}
    config.write_text(yaml.safe_dump(data), encoding="utf-8")
    training = load_config(TrainConfig, config, overrides)
    random = np.random.default_rng(0)
    for folder, count in ((inputs, 8), (styles, 5)):
        folder.mkdir()
        for i in range(count):
            # Large patches, as edges and textures of plain noise would be no frame's.
            patches = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
            patches.resize((training.width, training.height)).save(folder / f"{i}.png")
    command = [sys.executable, "-m", "simedit.training.cli", "--config", config, "--name", "measured"]
    command += ["--style-images", styles, "--out", run, "--specialist", scratch / "specialist"]
    command += ["--cpu"] if tiny else []
    command += ["--set", *overrides] if overrides else []
    if subprocess.run(list(map(str, command)), check=False).returncode:
        raise SimeditError("the training failed; its own message stands above")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return estimate(training), [json.loads(line) for line in lines]


def show(found: Estimate, records: list[dict[str, Any]]) -> None:
    """Print the last step's seconds and its peak memory beside the estimate."""
    record = records[-1]
    table = Table("phase", box=box.SIMPLE)
    for head in ("seconds, measured", "U-Net evaluations", "TFLOP, estimated", "TFLOP/s"):
        table.add_column(head, justify="right")
    for phase, seconds in record["seconds"].items():
        row = ["-"] * 3
        if phase in found.phases and seconds:  # the first step needs no reference
            count = found.phases[phase].each
            work = count * (found.needs.learning if phase == "update" else found.needs.forward) / 1e12
            row = [f"{count:,}", f"{work:.3g}", f"{work / seconds:.3g}"]
        table.add_row(phase, f"{seconds:.3g}", *row)
    table.add_row("step", f"{sum(record['seconds'].values()):.3g}", "-", "-", "-")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"step {record['step']}: {record['pairs']} pairs, {record['updates']} updates")
    console.print(table)
    peak = record["peak_memory"]
    measured = "not measured (no GPU)" if peak is None else f"{peak / 1e9:.3g} GB measured"
    console.print(f"peak memory of the device: {measured}, {found.device_bytes / 1e9:.3g} GB estimated")


def main(
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    tiny: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Measure a training step.

    Args:
        overrides: Settings of the training, as simedit-train takes them.
        tiny: Tiny networks on the CPU.
    """
    silence_loading()
    with tempfile.TemporaryDirectory(prefix="simedit-training-") as scratch:
        show(*measure(Path(scratch), tiny, overrides))


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main)))
