"""Does the attention score keep an edit at the thing that is named? One drawer's front, in the lab.

    python benchmarks/localisation.py runs/localisation   # all of it; resumable; needs the extra sim

The base that ships is told of cupboards alone. First it is taught 'make the top drawer out of gold', of any
of the three drawers: to paint the drawer's front, though in a quarter of the pairs all of the cabinet is,
and, by a loss of its own, to attend to the drawer at the words `top drawer` (localisation_base.py). Then it
is looked at: where its attention lies at these words, with and without that lesson, and what the score says
of planted edits. Of eight edits of a frame each ranking takes its best. Last come trainings with feedback by
these rankings.

Edits are measured raw, no mask laid over them, on frames that no training saw. A pixel has changed if it
differs by a tenth of the range, in the mean over colours, from the frame as the autoencoder gives it back:
`inside` is the share of the changed that lie on the drawer's front, `covered` that of the front that changed,
`spilled` that of the rest of the frame that did.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from localisation_base import (
    DRAWERS,
    HEIGHT,
    STYLE,
    TARGET,
    WIDTH,
    front,
    painted,
    pictures,
    render,
    teach,
    tensor,
    told,
)
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from simedit.drafts import whole
from simedit.errors import run_cli
from simedit.eval.terminal import print_table
from simedit.lab.ablations.config import TRAIN_CONFIG
from simedit.lab.ablations.study import edited
from simedit.lab.build import style_config
from simedit.lab.photographs import style_photographs
from simedit.lab.quality import strip
from simedit.lab.stages import do, read_json, write_json
from simedit.packaged import lab_data
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.scores import Targets
from simedit.scores.attention import Attention
from simedit.specialist import Specialist
from simedit.training.cli import scores_of
from simedit.training.cli import train as train_specialist
from simedit.training.config import TrainConfig
from simedit.training.data import fit
from simedit.training.feedback import feedback

CHOICE, CHANGED = 8, 0.1
SETTINGS = (
    *("steps=8", "keep=1000", "sampling.steps=8", "sampling.edits=4", "update.learning_rate=3e-4"),
    *("sampling.window=2", "sampling.window_every=8", "scores.baseline=input", "objective={kind: ppo}"),
    "regions={inputs: files, styles: full-frame}",
)
FIRST = "inside"
ARMS: dict[str, tuple[str, ...]] = {
    FIRST: ("scores.semantic.outside=0",),
    "inside, attention": ("scores.semantic.outside=0", "scores.attention={}"),
    "inside, attention x 3": ("scores.semantic.outside=0", "scores.attention={weight: 3}"),
    "inside, outside": ("scores.semantic.outside=20",),
}
"""By what edits are ranked: edges and eq. 9 inside the mask; and by attention; and by eq. 9's pixel error."""
SHOWN = (FIRST, "inside, attention", "inside, outside")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    silence_loading()
    torch.set_num_threads(1)
    runs = {f"{i}-{seed}": (arm, seed) for seed in range(args.seeds) for i, arm in enumerate(ARMS)}
    stages = {stage.__name__: partial(stage, folder) for stage in (render, teach, look, choose)}
    stages |= {f"train-{name}": partial(train, folder / name, *run) for name, run in runs.items()}
    do(folder, stages, lambda *told, **_: print(*told))
    show(folder, runs)


def held_out(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(folder / "held-out.npz") as made:
        return made["frames"], made["parts"], made["kept"]


@torch.no_grad()
def look(folder: Path) -> None:
    """looked.json: by base and drawer, how dense the attention is on each front and on the cabinet, 1 in the
    mean; the score of edits that paint those; and on how many frames it is above that of the drawer's own.
    maps.npz: where the taught base attends to TARGET."""
    frames, parts, _ = held_out(folder)
    regions = {drawer: front(parts, drawer) for drawer in DRAWERS} | {"cabinet": parts >= 0}
    photograph, rows = fit(style_photographs(STYLE)[0], WIDTH, HEIGHT), []
    edits = torch.stack([painted(frames, masks, photograph) for masks in regions.values()], 1)
    targets = targets_of(frames, parts >= 0, frames)
    for base in (lab_data("base"), folder / "base"):
        pipeline = SpecialistPipeline.from_pretrained(base)
        for k, drawer in enumerate(DRAWERS):
            score = Attention(pipeline, told(drawer, STYLE), f"{drawer} drawer")
            maps, values = score.maps(targets.inputs), score(edits, targets)
            row: dict[str, Any] = {"base": "taught" if base == folder / "base" else "shipped", "told": drawer}
            for name, masks in regions.items():
                shown = adaptive_avg_pool2d(torch.from_numpy(masks).float().unsqueeze(1), maps.shape[-2:])[
                    :, 0
                ]
                row[f"on {name}"] = float(((maps * shown).sum((1, 2)) / shown.mean((1, 2))).mean())
            for name, value in zip(regions, values.T, strict=True):
                row[f"{name} painted"] = f"{value.mean():.3f} ({int((value > values[:, k]).sum())})"
            rows.append(row)
            if row["base"] == "taught" and drawer == TARGET:
                np.savez_compressed(folder / "maps.npz", maps=maps.numpy())
    write_json(folder / "looked.json", rows)


def targets_of(frames: np.ndarray, masks: np.ndarray, styles: np.ndarray) -> Targets:
    full = torch.ones(len(frames), HEIGHT, WIDTH, dtype=torch.bool)
    return Targets(tensor(frames), torch.from_numpy(masks), tensor(styles), full)


def changes(edits: np.ndarray, kept: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    changed = np.abs(edits.astype(float) - kept).mean(-1) / 255 > CHANGED
    shares = changed[masks].sum() / max(1, changed.sum()), changed[masks].mean(), changed[~masks].mean()
    return dict(zip(("inside", "covered", "spilled"), map(float, shares), strict=True))


def settings_of(folder: Path, arm: str, drawer: str = TARGET) -> tuple[str, ...]:
    inputs = {"kind": "images", "path": str(folder / "images"), "masks": str(folder / "masks")}
    style = {"instruction": told(drawer), "noun": f"{drawer} drawer", "style_noun": None}
    scales = {"scales": {"image": 1, "style": 1, "text": 1}}
    here = (f"inputs={json.dumps(inputs)}", f"style={json.dumps(style | scales)}")
    return (f"base={folder / 'base'}", *here, *SETTINGS, *ARMS[arm])


def choose(folder: Path) -> None:
    """chosen.json: by drawer, what changed in all edits, and in that which each ranking takes of CHOICE. One
    more ranking than those trained by asks for little change anywhere. chosen.npz: TARGET's pictures."""
    frames, parts, kept = held_out(folder)
    pipeline, photographs = SpecialistPipeline.from_pretrained(folder / "base"), style_photographs(STYLE)
    styles = np.stack([fit(photographs[i % len(photographs)], WIDTH, HEIGHT) for i in range(len(frames))])
    found = {}
    for drawer in DRAWERS:
        masks, settings = front(parts, drawer), {arm: settings_of(folder, arm, drawer) for arm in ARMS}
        configs = {arm: style_config(folder / "base", s, TRAIN_CONFIG) for arm, s in settings.items()}
        configs = {arm: config.named(STYLE) for arm, config in configs.items()}
        edits, targets = sampled(pipeline, configs[FIRST], frames, styles), targets_of(frames, masks, styles)
        rankings = {}
        for arm, config in configs.items():
            scores = scores_of(config, pipeline, torch.device("cpu"))
            rankings[arm] = {name: s(edits, targets) for name, s in scores.items()}, config.scores.weights
        scored, weights = rankings[FIRST]
        change = (edits - targets.inputs.unsqueeze(1)).square().mean((2, 3, 4))
        rankings["inside, all change"] = {**scored, "change": change}, {**weights, "change": 1.0}
        each = [changes(pictures(edits[:, g]), kept, masks) for g in range(CHOICE)]
        found[drawer] = {"(mean)": {key: float(np.mean([one[key] for one in each])) for key in each[0]}}
        chosen = {
            name: pictures(edits[torch.arange(len(edits)), feedback(*ranking).best])
            for name, ranking in rankings.items()
        }
        found[drawer] |= {name: changes(best, kept, masks) for name, best in chosen.items()}
        if drawer == TARGET:
            np.savez_compressed(folder / "chosen.npz", **chosen)  # type: ignore[arg-type]
    write_json(folder / "chosen.json", found)


def sampled(
    pipeline: SpecialistPipeline, config: TrainConfig, frames: np.ndarray, styles: np.ndarray
) -> Tensor:
    """float32 [N, CHOICE, 3, H, W] in 0..1, edits by the base alone."""
    given = tensor(frames), tensor(styles), config.style.instruction
    schedule = pipeline.schedule("euler_ancestral", config.sampling.steps)
    seeds = [[torch.Generator().manual_seed(1000 * g + i) for i in range(len(frames))] for g in range(CHOICE)]
    many = [pipeline(*given, generator=s, scales=config.style.scales, schedule=schedule) for s in seeds]
    return torch.stack(many, 1)


def train(run: Path, arm: str, seed: int) -> None:
    """A training with feedback, and what its edits and those from before it change."""
    folder, (frames, parts, kept) = run.parent, held_out(run.parent)
    run.mkdir(exist_ok=True)
    new: dict[str, Any] = {
        "config": TRAIN_CONFIG,
        "style_images": folder / "photographs",
        "name": STYLE,
        "out": run / "run",
        "specialist": run / "specialist",
        "overrides": (f"seed={seed}", *settings_of(folder, arm)),
    }
    going_on = (run / "run" / "checkpoints").exists()
    with (run / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        if not (run / "specialist").exists():
            train_specialist(**{"resume": run / "run"} if going_on else new, cpu=True)
    steps = {"before": run / "run" / "checkpoints" / "step_0000", "after": run / "specialist"}
    edits = {name: edited(Specialist.load(where), frames, 0) for name, where in steps.items()}
    found = {name: changes(one, kept, front(parts, TARGET)) for name, one in edits.items()}
    write_json(run / "found.json", found)
    np.savez_compressed(run / "edits.npz", **edits)  # type: ignore[arg-type]


def show(folder: Path, runs: dict[str, tuple[str, int]]) -> None:
    """Print the tables; write localisation.png."""

    def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        print_table(head, [[f"{x:.3f}" if isinstance(x, float) else x for x in row] for row in rows])

    def last(arm: str) -> str:
        return arm.split(", ")[-1]

    looked, chosen = read_json(folder / "looked.json"), read_json(folder / "chosen.json")
    table([*looked[0]], [[*row.values()] for row in looked])
    head = [*chosen[TARGET]["(mean)"]]
    best = [[drawer, name, *row.values()] for drawer, found in chosen.items() for name, row in found.items()]
    table(["told", "best of eight by", *head], best)

    rows, (frames, *_) = [], held_out(folder)
    with np.load(folder / "maps.npz") as looked_at, np.load(folder / "chosen.npz") as best_of:
        sheet = {"frame": frames, "attention": lit(frames, looked_at["maps"])}
        sheet |= {f"best: {last(arm)}": best_of[arm] for arm in SHOWN}
    for name, (arm, seed) in runs.items():
        found = read_json(folder / name / "found.json")
        rows += [
            [arm, seed, when, *found[when].values()] for when in found if when == "after" or name == "0-0"
        ]
        with np.load(folder / name / "edits.npz") as made:
            if not seed and arm in SHOWN:
                sheet |= {"before": made["before"], f"after: {last(arm)}": made["after"]}
    table(["trained by", "seed", "", *head], rows)
    flat = {f"{name}{' ' * i}": images[i] for name, images in sheet.items() for i in range(5)}
    with whole(folder / "localisation.png") as draft:
        Image.fromarray(strip(flat, columns=5)).save(draft, format="png")


def lit(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Frames gone dark but for a glow, the stronger the more of a map, [N, h, w], lies there."""
    size = [
        np.array(Image.fromarray(m / m.max()).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) for m in maps
    ]
    glow = np.clip(size, 0, 1)[..., None] * np.array([255, 140, 40])
    return np.clip(frames * 0.35 + 0.65 * glow, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    run_cli(main)
