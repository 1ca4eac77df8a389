"""Trains and edits what ablations need, and measures it on frames that no training saw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.lab.ablations.config import (
    TRAIN_CONFIG,
    Ablation,
    Variant,
    card,
    training,
    variants,
)
from simedit.lab.ablations.needs import lacking
from simedit.lab.beside import cores
from simedit.lab.build import style_config, train_style
from simedit.lab.photographs import save_style, style_photographs
from simedit.lab.stages import do, keep_plan, read_json, write_json
from simedit.locks import locked
from simedit.metrics import Scene
from simedit.metrics.catalogue import chosen, load
from simedit.packaged import lab_data, specialist_folder
from simedit.progress import tracked
from simedit.specialist import Specialist, read_card
from simedit.training.checkpoint import step_folders
from simedit.training.log import METRICS

_NOISES = 1_000
"""By which another seed's noises are farther."""


@dataclass(frozen=True)
class Job:
    """What one variant needs for one seed. Jobs of one folder are the same work, and done once.

    Attributes:
        folder: its own.
        ablation, variant, seed: whose it is.
        frames: a file of `_held_out`'s.
    """

    folder: Path
    ablation: Ablation
    variant: Variant
    seed: int
    frames: Path

    @property
    def found(self) -> Path:
        """What was measured."""
        name = "curves" if self.ablation.curves else "end"
        return self.folder / f"{name}-{self.ablation.frames}.found.json"


def jobs(out: Path, ablation: Ablation) -> tuple[list[Job], dict[str, str]]:
    """All that an ablation needs, in the order of its variants and their seeds; and by name, why the other
    variants are left out.

    Raises:
        SimeditError: a variant's settings do not fit, or there is no such specialist.
    """
    found, left_out = [], {}
    for variant in variants(ablation):
        if ablation.kind == "training":
            config, _ = training(ablation, variant, 0)
        else:  # whose frames are as large, and from the same simulator
            config = style_config(Path("base"), (), TRAIN_CONFIG)
        if reason := lacking(config):
            left_out[variant.name] = reason
            continue
        frames = out / f"frames-{ablation.frames}-{config.width}x{config.height}.npz"
        for seed in range(ablation.seeds):
            found.append(Job(_folder(out, ablation, variant, seed), ablation, variant, seed, frames))
    return found, left_out


def do_ablations(out: Path, ablations: Mapping[str, Ablation], at_once: int) -> None:
    """Do what `out` lacks of the ablations. What was stopped goes on.

    Args:
        at_once: how many jobs are worked on at once, one core each.

    Raises:
        SimeditError: nothing of an ablation can be had here, or one was begun in `out` with other settings,
            or another process works there.
    """
    wanted: dict[Path, Job] = {}
    for name, ablation in ablations.items():
        found, left_out = jobs(out, ablation)
        if not found:
            raise SimeditError(f"no variant of {name} can be had here: {'; '.join(left_out.values())}")
        wanted |= {job.found: job for job in found}
    with locked(out, "simedit-lab ablate"):
        for name, ablation in ablations.items():
            (out / name).mkdir(exist_ok=True)
            keep_plan(out / name, ablation)
        for job in wanted.values():
            _held_out(job)
        # Jobs of one folder one after the other: a training is one process's.
        groups: dict[Path, list[Job]] = {}
        for job in wanted.values():
            if not job.found.exists():
                groups.setdefault(job.folder, []).append(job)
        # Apart, for an edit takes a fraction of a training's time, and the time left is told by their number.
        for kind, title in (("training", "trainings"), ("edits", "variants edited")):
            _work([group for group in groups.values() if group[0].ablation.kind == kind], title, at_once)


def at_once() -> int:
    """How many jobs are worked on at once: one a core, or one on a GPU."""
    import torch

    return 1 if torch.cuda.is_available() else cores()


def work(out: Path, ablations: Mapping[str, Ablation]) -> tuple[list[str], list[list[str]], list[str]]:
    """How much there is to do: a table's head and rows; and which variants are left out, with the reason.

    Raises:
        SimeditError: as `jobs`.
    """
    rows, left_out, known = [], [], set()
    for name, ablation in ablations.items():
        found, without = jobs(out, ablation)
        left_out += [f"{name}: {variant}: {reason}" for variant, reason in without.items()]
        new = {job.folder for job in found} - known
        done = sum(job.found.exists() for job in found)
        what = "trainings" if ablation.kind == "training" else "times editing"
        shown = len(variants(ablation)) - len(without)
        rows.append(
            [name, f"{shown} of {shown + len(without)}", f"{len(new)} {what}", f"{done} of {len(found)}"]
        )
        known |= new
    return ["ablation", "variants", "new work", "done"], rows, left_out


def _work(groups: Sequence[list[Job]], title: str, at_once: int) -> None:
    at_once = min(at_once, len(groups))
    if at_once <= 1:
        for _ in tracked(map(_do, groups), title, len(groups)):
            pass
        return
    with get_context("spawn").Pool(at_once, _one_thread) as pool:
        for _ in tracked(pool.imap_unordered(_do, groups), title, len(groups)):
            pass


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _do(group: list[Job]) -> None:
    for job in group:
        log = job.folder / "log.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as lines, redirect_stdout(lines), redirect_stderr(lines):
            stages = {"trained": lambda job=job: _train(job)} if job.ablation.kind == "training" else {}
            measured = job.found.name.removesuffix(".found.json")
            stages[f"measured-{measured}"] = lambda job=job: _measure(job)
            do(job.folder, stages, lambda *_, **__: None)


def _folder(out: Path, ablation: Ablation, variant: Variant, seed: int) -> Path:
    """Named by all that the work depends on."""
    if ablation.kind == "training":
        config, _ = training(ablation, variant, seed)
        what: Any = [ablation.style, variant.photographs, config.model_dump(mode="json")]
    else:
        of = read_card(specialist_folder(ablation.specialist))
        what = [ablation.specialist, card(ablation, variant, of).model_dump(mode="json"), seed]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
    return out / ablation.kind / digest


def _held_out(job: Job) -> None:
    """Frames and masks that jobs share, on disk."""
    from simedit.lab.quality import held_out

    if job.frames.exists():
        return
    width, height = map(int, job.frames.stem.rpartition("-")[2].split("x"))
    frames, masks = held_out(job.ablation.frames, width=width, height=height)
    with whole(job.frames) as draft, draft.open("wb") as file:
        np.savez_compressed(file, frames=frames, masks=masks)


def _train(job: Job) -> None:
    photographs = job.folder / "photographs"
    if not photographs.exists():
        save_style(job.ablation.style, job.folder / "all")
        for number in range(job.variant.photographs):
            name = f"{number}.png"
            with whole(photographs / name) as draft:
                draft.write_bytes((job.folder / "all" / name).read_bytes())
    _, settings = training(job.ablation, job.variant, job.seed)
    train_style(
        job.ablation.style,
        photographs,
        base=lab_data("base"),
        run=job.folder / "run",
        target=job.folder / "specialist",
        settings=settings,
        training=TRAIN_CONFIG,
    )


def _measure(job: Job) -> None:
    with np.load(job.frames) as held:
        frames, masks = held["frames"], held["masks"]
    curves: dict[str, list[float]] = {}
    if job.ablation.kind == "training":
        checkpoints = job.folder / "run" / "checkpoints"
        folders = {0: checkpoints / "step_0000", **step_folders(checkpoints)}
        if not job.ablation.curves:
            folders = {step: folders[step] for step in (0, max(folders))}
        specialists = {step: Specialist.load(folder) for step, folder in folders.items()}
        # All of the material's, however many the training had.
        styles = tuple(style_photographs(job.ablation.style))
        lines = (job.folder / "run" / METRICS).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        curves = {name: [record[name] for record in records] for name in ("structural", "semantic")}
    else:
        one = Specialist.load(specialist_folder(job.ablation.specialist))
        specialists = {0: replace(one, card=card(job.ablation, job.variant, one.card))}
        styles = tuple(one.style_images)
    found, left_out = {}, {}
    for step, specialist in specialists.items():
        found[step], left_out = measured(specialist, frames, masks, styles, job.seed)
    write_json(job.found, {"at": found, "curves": curves, "left_out": left_out})


def measured(
    specialist: Specialist, frames: np.ndarray, masks: np.ndarray, styles: tuple[np.ndarray, ...], seed: int
) -> tuple[dict[str, list[float | None]], dict[str, str]]:
    """By metric, the values of a specialist's edits of the frames, null where undefined; and why metrics are
    left out.

    The mask tells metrics where the edit belongs, and not the editor: what is changed elsewhere is seen.
    """
    library, style = _library(specialist.card.base), specialist.card.style
    library.add(specialist)
    seeds = [_NOISES * seed + i for i in range(len(frames))]
    edits = library.edit(frames, styles=[style] * len(frames), seeds=seeds)
    library.remove(style)
    metrics, left_out = _metrics(Scene(frames[0], masks[0], styles))
    found: dict[str, list[float | None]] = {name: [] for name in metrics}
    for edit, frame, mask in zip(edits, frames, masks, strict=True):
        scene = Scene(frame, mask, styles)
        for name, metric in metrics.items():
            value = float(metric(edit[None], scene)[0])
            found[name].append(value if np.isfinite(value) else None)
    return found, left_out


@lru_cache(1)
def _library(base: str) -> Any:
    from simedit.library import SpecialistLibrary
    from simedit.pipeline import SpecialistPipeline, silence_loading

    silence_loading()
    return SpecialistLibrary(SpecialistPipeline.from_pretrained(base))


_loaded: dict[str, Any] = {}


def _metrics(scene: Scene) -> tuple[dict[str, Any], dict[str, str]]:
    """Those that need no download, and why the others are left out."""
    if not _loaded:
        kinds, left_out = chosen((), scene, {})
        found, failed = load(kinds, (), {}, "cpu")
        _loaded.update(metrics=found, left_out=left_out | failed)
    return _loaded["metrics"], _loaded["left_out"]


def seconds(job: Job) -> float:
    """That a job took, of one core."""
    return sum(float(read_json(file)) for file in sorted(job.folder.glob("*.spent")))
