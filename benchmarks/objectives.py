"""Which objective reaches the same score sooner? In the lab, from the base alone, on frames no training saw.

    python benchmarks/objectives.py prepare runs/objectives            # frames and masks; needs the extra sim
    python benchmarks/objectives.py train runs/objectives --at-once 2  # arms, materials, seeds; resumable
    python benchmarks/objectives.py tell runs/objectives               # results.json, objectives.png, a table
    python benchmarks/objectives.py tell runs/objectives --seconds runs/alone  # seconds of trainings there

Every training is that of lab/ablations/train.yaml with the settings of its arm, on the CPU, one thread each.
After each step its specialist edits the held-out frames. `semantic` and `structural` are the scores that were
trained on, there (eq. 8 and 9; lower is better); `lite_patches`, by an encoder that nothing was trained on,
and `ssim` watch over them. U-Net evaluations are counted as `simedit-train --dry-run` does, those with
a backward pass as one; seconds are of sampling, scoring and learning. Where other work ran beside trainings,
one seed of each, trained alone in a second folder, tells the seconds of all.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.errors import SimeditError, run_cli
from simedit.eval.terminal import print_table
from simedit.lab.ablations.config import TRAIN_CONFIG
from simedit.lab.build import style_config
from simedit.lab.photographs import save_style
from simedit.packaged import lab_data
from simedit.progress import tracked

WITHOUT_CANNY = ("scores.structural_weight=0",)  # it has no gradient
ARMS: dict[str, tuple[str, ...]] = {
    "d3po": ("steps=10",),
    "d3po, 3 denoising steps": ("steps=10", "sampling.steps=3"),
    "d3po, window of 2": ("steps=10", "sampling.window=2"),
    "ppo, window of 2": (
        "steps=10",
        *("sampling.window=2", "sampling.window_every=4", "sampling.edits=4"),
        "scores.baseline=input",
        "objective={kind: ppo}",
    ),
    "dpo": ("steps=8", "objective={kind: dpo, beta: 500}"),
    "nft": ("steps=8", "objective={kind: nft}"),
    "draft": ("steps=10", "objective={kind: draft}", *WITHOUT_CANNY),
    "draft, last 4": ("steps=4", "objective={kind: draft, last: 4}", *WITHOUT_CANNY),
}
"""Settings of each, on top of `COMMON`. The first is what the others are compared with; none takes more
evaluations."""
COMMON = ("sampling.steps=8", "update.learning_rate=3e-4")
MATERIALS, SEEDS = ("gold", "white_marble"), 3
WIDTH, HEIGHT, FRAMES, HELD_OUT = 160, 128, 64, 16
METRICS = ("semantic", "structural", "lite_patches", "ssim")
LOWER = ("semantic", "structural")


@dataclass(frozen=True)
class Job:
    folder: Path
    arm: str
    material: str
    seed: int

    @property
    def run(self) -> Path:
        return self.folder / self.arm.replace(" ", "_").replace(",", "") / f"{self.material}-{self.seed}"

    @property
    def found(self) -> Path:
        return self.run / "found.json"

    @property
    def settings(self) -> tuple[str, ...]:
        folders = {
            "inputs": {
                "kind": "images",
                "path": str(self.folder / "frames"),
                "masks": str(self.folder / "masks"),
            },
            "regions": {"inputs": "files", "styles": "full-frame"},
        }
        return (
            *(f"{key}={json.dumps(value)}" for key, value in folders.items()),
            f"seed={self.seed}",
            "keep=1000",
            *COMMON,
            *ARMS[self.arm],
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("prepare", "train", "tell"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-once", type=int, default=1, help="trainings at once, one core each")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--seconds", type=Path, help="tell: a folder of the same arms to take seconds from")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), help="of: " + "; ".join(ARMS))
    args = parser.parse_args()
    if strange := set(args.arms) - set(ARMS):
        raise SimeditError(f"no such arm: {', '.join(sorted(strange))}; there are {'; '.join(ARMS)}")
    folder = args.folder.resolve()
    jobs = [Job(folder, a, m, s) for s in range(args.seeds) for a in args.arms for m in MATERIALS]
    if args.command == "prepare":
        prepare(folder)
    elif args.command == "train":
        train(jobs, args.at_once)
    else:
        tell(folder, [job for job in jobs if job.found.exists()], args.seconds)


def prepare(folder: Path) -> None:
    """Write what trainings edit, FOLDER/frames and masks, the held-out frames, and the photographs."""
    from simedit.envs.drawer.inputs import TwinInputs
    from simedit.lab.quality import held_out
    from simedit.training.config import TwinConfig

    inputs = TwinInputs(TwinConfig(frames=FRAMES, jitter=0.05), WIDTH, HEIGHT, 0)
    for i in range(FRAMES):
        for name, picture in zip(("frames", "masks"), inputs[i], strict=True):
            with whole(folder / name / f"{i:03}.png") as draft:
                Image.fromarray(picture.astype(np.uint8) * (255 if name == "masks" else 1)).save(draft)
    inputs.close()
    frames, masks = held_out(HELD_OUT, width=WIDTH, height=HEIGHT)
    with whole(folder / "held-out.npz") as draft, draft.open("wb") as file:
        np.savez_compressed(file, frames=frames, masks=masks)
    for material in MATERIALS:
        save_style(material, folder / "photographs" / material)


def train(jobs: list[Job], at_once: int) -> None:
    """Do what is not done."""
    left = [job for job in jobs if not job.found.exists()]
    with get_context("spawn").Pool(at_once, _one_thread) as pool:
        for job, error in tracked(pool.imap_unordered(_do, left), "trainings", len(left)):
            if error:
                print(f"{job.arm}, {job.material}, {job.seed}: {error}")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _do(job: Job) -> tuple[Job, str]:
    from simedit.training.cli import train as train_specialist

    job.run.mkdir(parents=True, exist_ok=True)
    with (job.run / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            if not (job.run / "specialist").exists():
                resume = (job.run / "run" / "checkpoints").exists()
                new: dict[str, Any] = {
                    "config": TRAIN_CONFIG,
                    "style_images": job.folder / "photographs" / job.material,
                    "name": job.material,
                    "out": job.run / "run",
                    "specialist": job.run / "specialist",
                    "overrides": (f"base={lab_data('base')}", *job.settings),
                }
                train_specialist(**{"resume": job.run / "run"} if resume else new, cpu=True)
            measure(job)
        except SimeditError as error:
            return job, str(error)
    return job, ""


def measure(job: Job) -> None:
    """Write what each checkpoint is worth on the held-out frames, and what it cost to come there."""
    import torch

    from simedit.lab.ablations.study import edited, measured
    from simedit.scores import Targets
    from simedit.scores.encoders import load_encoder
    from simedit.scores.semantic import Semantic
    from simedit.scores.structural import load_structural
    from simedit.specialist import Specialist
    from simedit.training.checkpoint import step_folders
    from simedit.training.data import fit
    from simedit.training.estimate import estimate

    config = style_config(lab_data("base"), job.settings, TRAIN_CONFIG)
    with np.load(job.folder / "held-out.npz") as held:
        frames, masks = held["frames"], held["masks"]
    checkpoints = job.run / "run" / "checkpoints"
    folders = {0: checkpoints / "step_0000", **step_folders(checkpoints)}
    semantic = config.scores.semantic
    scores = {
        "structural": load_structural(config.scores.structural, "cpu"),
        "semantic": Semantic(load_encoder(semantic, "cpu"), semantic.outside),
    }
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for step in sorted(folders):
        specialist = Specialist.load(folders[step])
        styles = tuple(specialist.style_images)
        edits = edited(specialist, frames, job.seed)
        found, _ = measured(edits, frames, masks, styles)
        shown = np.stack([fit(styles[i % len(styles)], WIDTH, HEIGHT) for i in range(len(frames))])
        images = [torch.from_numpy(x).permute(0, 3, 1, 2) / 255 for x in (frames, shown, edits)]
        full = torch.ones(len(frames), HEIGHT, WIDTH, dtype=torch.bool)
        targets = Targets(images[0], torch.from_numpy(masks), images[1], full)
        for name, score in scores.items():
            values[name].append(float(score(images[2][:, None], targets).mean()))
        for name in ("lite_patches", "ssim"):
            values[name].append(float(np.mean(found[name])))
    lines = (job.run / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    spent = np.cumsum([0.0, *(sum(json.loads(line)["seconds"].values()) for line in lines)])
    costs = [
        sum(p.total for p in estimate(config.model_copy(update={"steps": n})).phases.values()) for n in (1, 2)
    ]
    evaluations = [0] + [costs[0] + (costs[1] - costs[0]) * n for n in range(len(folders) - 1)]
    content = {
        "values": values,
        "seconds": spent.tolist(),
        "evaluations": evaluations,
        "cpus": os.cpu_count(),
    }
    with whole(job.found) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def tell(folder: Path, jobs: list[Job], alone: Path | None) -> None:
    """Write results.json and objectives.png, and print the table."""
    found = {(job.arm, job.material, job.seed): json.loads(job.found.read_text("utf-8")) for job in jobs}
    for (arm, material, _), one in found.items():
        if alone is not None:
            timed = Job(alone.resolve(), arm, material, 0).found
            if not timed.exists():
                raise SimeditError(f"{timed} is not there: train that arm in {alone}")
            one["seconds"] = json.loads(timed.read_text("utf-8"))["seconds"]
    if not found:
        raise SimeditError(f"{folder} has no training that is done: train first")
    arms = [arm for arm in ARMS if any(arm == key[0] for key in found)]
    goal = {
        material: np.mean(
            [f["values"]["semantic"][-1] for (a, m, _), f in found.items() if (a, m) == (arms[0], material)]
        )
        for material in MATERIALS
    }
    rows, results = [], []
    for arm in arms:
        for material in MATERIALS:
            several = [f for (a, m, _), f in found.items() if (a, m) == (arm, material)]
            if not several:
                continue
            curve = np.mean([f["values"]["semantic"] for f in several], 0)
            cost, spent = several[0]["evaluations"], np.mean([f["seconds"] for f in several], 0)
            at = reached(curve, goal[material])
            told = {
                "arm": arm,
                "material": material,
                "seeds": len(several),
                **{
                    m: [float(np.mean([f["values"][m][k] for f in several])) for k in (0, -1)]
                    for m in METRICS
                },
                "best": float(curve.min()),
                "evaluations": cost[-1],
                "seconds": float(spent[-1]),
                "evaluations_to_goal": None if at is None else cost[at],
                "seconds_to_goal": None if at is None else float(spent[at]),
            }
            results.append(told)
            rows.append(
                [
                    arm,
                    material,
                    str(len(several)),
                    *(f"{told[m][0]:.3f} > {told[m][1]:.3f}" for m in METRICS),
                    f"{cost[-1]:,}",
                    "never" if at is None else f"{told['evaluations_to_goal']:,}",
                    f"{spent[-1]:.0f}",
                    "never" if at is None else f"{told['seconds_to_goal']:.0f}",
                ]
            )
    print_table(["arm", "material", "seeds", *METRICS, "evaluations", "to goal", "seconds", "to goal"], rows)
    with whole(folder / "results.json") as draft:
        draft.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    _figure(folder / "objectives.png", arms, found)


def reached(curve: np.ndarray, goal: float) -> int | None:
    """The first step after which a curve is at the goal or below; None if it never is."""
    return next((k for k, value in enumerate(curve) if value <= goal), None)


def _figure(path: Path, arms: list[str], found: dict[tuple[str, str, int], Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(METRICS), 3 * 2 * len(MATERIALS)), layout="constrained")
    grid = figure.subplots(2 * len(MATERIALS), len(METRICS), squeeze=False)
    for row, (material, over) in enumerate((m, o) for m in MATERIALS for o in ("evaluations", "seconds")):
        for axis, metric in zip(grid[row], METRICS, strict=True):
            for number, arm in enumerate(arms):
                several = [f for (a, m, _), f in found.items() if (a, m) == (arm, material)]
                for k, f in enumerate(several):
                    axis.plot(f[over], f["values"][metric], color=f"C{number}", alpha=0.25, lw=0.8)
                    if k == 0:
                        mean = np.mean([one["values"][metric] for one in several], 0)
                        cost = np.mean([one[over] for one in several], 0)
                        axis.plot(cost, mean, color=f"C{number}", label=arm)
            axis.set_title(
                f"{material}: {metric} ({'lower' if metric in LOWER else 'higher'} is better)", fontsize=9
            )
            axis.set_xlabel("U-Net evaluations" if over == "evaluations" else "seconds, one thread")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(arms))
    with whole(path) as draft:
        figure.savefig(draft, dpi=110, format="png")


if __name__ == "__main__":
    run_cli(main)
