"""Seconds and peak memory of a training step, measured, beside the dry run's estimate and a plain loop.

    python benchmarks/training_step.py                                # Stable Diffusion 1.5's size, on a GPU
    python benchmarks/training_step.py --set samples=32 update.batch_size=4
    python benchmarks/training_step.py --size lab --peer              # the lab's base, and a plain loop
    python benchmarks/training_step.py --size tiny                    # tiny networks, on the CPU

`simedit-train` runs two steps on random frames and style images, with random weights but for the lab's, Canny
edges and the texture encoder: this measures, and makes no specialist. The scores' own models are not part of
it. The full size needs about 5 GB of disk, in --base or in the temporary folder. What counts is the second
step: the first needs no reference. The plain loop is that of plain_training.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
import yaml
from full_size_load import build
from PIL import Image
from plain_training import step_seconds
from rich import box
from rich.console import Console
from rich.table import Table
from rows import note

from simedit.config import load_config
from simedit.errors import SimeditError, run_cli
from simedit.packaged import lab_data
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
SIZES: dict[str, dict[str, Any]] = {
    "full": {},
    "lab": {
        "samples": 16,
        "width": 160,
        "height": 128,
        "precision": "fp32",
        "sampling": {"steps": 4, "batch_size": 8},
        "update": {"batch_size": 4, "accumulation": 2, "gradient_checkpointing": False},
    },
    "tiny": {
        "samples": 8,
        "width": 64,
        "height": 64,
        "precision": "fp32",
        "sampling": {"steps": 8, "batch_size": 4},
        "update": {"batch_size": 2, "accumulation": 2},
    },
}
Size = Literal["full", "lab", "tiny"]


def prepare(
    scratch: Path, size: Size, base: Path | None, overrides: tuple[str, ...]
) -> tuple[Path, TrainConfig]:
    """The training's file, and what it says; random inputs and style images beside it."""
    inputs, styles, base = scratch / "inputs", scratch / "styles", base or scratch / "base"
    if size == "lab":
        base = lab_data("base")
    elif size == "tiny":
        tiny_pipeline().save_pretrained(base)
    elif not (base / "model_index.json").is_file():  # which is written last
        build(base)
    config = scratch / "config.yaml"
    data = CONFIG | SIZES[size] | {"base": str(base)}
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
    return config, training


def measure(config: Path, size: Size, overrides: tuple[str, ...]) -> list[dict[str, Any]]:
    """The records of the steps.

    Raises:
        SimeditError: the training did not end well.
    """
    run, styles = config.parent / "run", config.parent / "styles"
    command = [sys.executable, "-m", "simedit.training.cli", "--config", config, "--name", "measured"]
    command += ["--style-images", styles, "--out", run, "--specialist", config.parent / "specialist"]
    command += ["--cpu"] if size != "full" else []
    command += ["--set", *overrides] if overrides else []
    if subprocess.run(list(map(str, command)), check=False).returncode:
        raise SimeditError("the training failed; its own message stands above")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def peer_seconds(config: Path, training: TrainConfig, size: Size) -> dict[str, float]:
    """Seconds of the plain loop's phases, the second of two steps."""
    frames, styles = (
        np.stack([np.asarray(Image.open(path)) for path in sorted((config.parent / folder).glob("*.png"))])
        for folder in ("inputs", "styles")
    )
    device = "cuda" if size == "full" and torch.cuda.is_available() else "cpu"
    return [step_seconds(training, frames, styles, device) for _ in range(2)][-1]


def show(found: Estimate, records: list[dict[str, Any]], plain: dict[str, float]) -> None:
    """Print the last step's seconds and its peak memory beside the estimate, and the plain loop's."""
    record = records[-1]
    table = Table("phase", box=box.SIMPLE)
    for head in (
        "seconds, measured",
        "U-Net evaluations",
        "TFLOP, estimated",
        "TFLOP/s",
        "plain loop",
        "ratio",
    ):
        table.add_column(head, justify="right")
    for phase, seconds in record["seconds"].items():
        row = ["-"] * 3
        if phase in found.phases and seconds:  # the first step needs no reference
            count = found.phases[phase].each
            work = count * (found.needs.learning if phase == "update" else found.needs.forward) / 1e12
            row = [f"{count:,}", f"{work:.3g}", f"{work / seconds:.3g}"]
        table.add_row(phase, f"{seconds:.3g}", *row, *compared(plain.get(phase), seconds))
    step = sum(record["seconds"].values())
    whole = compared(sum(plain.values()) if plain else None, step)
    table.add_row("step", f"{step:.3g}", "-", "-", "-", *whole)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"step {record['step']}: {record['pairs']} pairs, {record['updates']} updates")
    console.print(table)
    peak = record["peak_memory"]
    measured = "not measured (no GPU)" if peak is None else f"{peak / 1e9:.3g} GB measured"
    console.print(f"peak memory of the device: {measured}, {found.device_bytes / 1e9:.3g} GB estimated")
    note(
        pairs=record["pairs"],
        **{f"{phase}_seconds": seconds for phase, seconds in record["seconds"].items()},
        seconds=step,
        plain_loop_seconds=sum(plain.values()) or None,
        peak_gb=peak and peak / 1e9,
        estimated_gb=found.device_bytes / 1e9,
    )


def compared(plain: float | None, seconds: float) -> tuple[str, str]:
    return ("-", "-") if plain is None else (f"{plain:.3g}", f"{plain / seconds:.2f}" if seconds else "-")


def main(
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    size: Size = "full",
    base: Path | None = None,
    peer: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Measure a training step.

    Args:
        overrides: Settings of the training, as simedit-train takes them.
        size: Stable Diffusion 1.5's, the lab's or tiny networks; the latter two on the CPU.
        base: Where the full size's random weights are kept; made if they are not there.
        peer: Measure the plain loop of plain_training.py too.
    """
    silence_loading()
    with tempfile.TemporaryDirectory(prefix="simedit-training-") as scratch:
        config, training = prepare(Path(scratch), size, base, overrides)
        plain = peer_seconds(config, training, size) if peer else {}
        show(estimate(training), measure(config, size, overrides), plain)


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main)))
