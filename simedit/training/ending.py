"""How a training ends: the specialist is tried on frames that it never saw, and what comes out is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich import box
from rich.table import Table

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.progress import tracked
from simedit.specialist import CARD, Specialist
from simedit.training.data import Inputs, fit
from simedit.training.sampler import Masks
from simedit.training.worth import measure, strip, verdict

FRAMES = 6
SHOWN = 3
MOST_OTHERS = 7
"""Other specialists that are compared with."""
WORTH, PICTURE = "worth.json", "worth.png"
_LEAST = 0.02
"""A frame that shows less of what is edited, as a share, says nothing."""
_TRIES = 5
_SEED = 1_000_003
_ALIKE = 0.5
"""Decibels that six frames do not tell apart."""


def held_out(inputs: Inputs, masks: Masks) -> tuple[np.ndarray, np.ndarray, bool]:
    """Up to FRAMES frames, uint8 [N, H, W, 3], their masks, bool [N, H, W], and whether they are new.

    Args:
        inputs: which give frames that no training sees, or else some of their own.
        masks: of inputs.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    new = inputs.unseen(0) is not None
    indices = range(FRAMES * _TRIES) if new else np.linspace(0, len(inputs) - 1, FRAMES * _TRIES).astype(int)
    for index in dict.fromkeys(int(i) for i in indices):
        frame, own = inputs.unseen(index) or inputs[index]
        mask = masks([len(inputs) + index if new else index], frame[None], [own])[0]
        if mask.mean() >= _LEAST:
            found.append((frame, mask))
        if len(found) == FRAMES:
            break
    if not found:
        raise SimeditError("what it is worth cannot be said: no frame shows enough of what is edited")
    frames, shown = zip(*found, strict=True)
    return np.stack(frames), np.stack(shown), new


def others_beside(specialist: Specialist, folders: Sequence[Path]) -> list[Specialist]:
    """Up to MOST_OTHERS specialists of other styles on the same base, from folders of specialists."""
    found: dict[str, Specialist] = {}
    for card in (card for folder in folders for card in sorted(folder.glob(f"*/{CARD}"))):
        if card.parent.name.startswith(".") or len(found) == MOST_OTHERS:
            continue
        try:
            other = Specialist.load(card.parent)
        except SimeditError:  # whoever wants to use it is told
            continue
        if other.card.style != specialist.card.style and other.card.base == specialist.card.base:
            found.setdefault(other.card.style, other)
    return list(found.values())


def untrained(specialist: Specialist, pipeline: SpecialistPipeline, name: str) -> Specialist:
    """The base alone, as a specialist of that name, behind the specialist's card and style image."""
    own = {f"style_attention.{k}": v for k, v in pipeline.style_attention.state_dict().items()}
    own |= {f"unet.conv_in.{k}": v for k, v in pipeline.unet.conv_in.state_dict().items()}
    weights = {k: own[k] if k in own else torch.zeros_like(v) for k, v in specialist.weights.items()}
    card = specialist.card.model_copy(update={"style": name, "training": None})
    return replace(specialist, card=card, weights=weights)


def edits_of(
    library: SpecialistLibrary,
    specialists: Sequence[Specialist],
    frames: np.ndarray,
    masks: np.ndarray,
    *,
    first: int = _SEED,
) -> dict[str, np.ndarray]:
    """By style, each specialist's edits of the frames, uint8 [N, H, W, 3], of one noise a frame.

    Args:
        library: without these specialists; it holds one at a time.
        first: the seed of the first frame's noise.
    """
    edits, seeds = {}, [first + i for i in range(len(frames))]
    for one in tracked(specialists, "trying it on frames it never saw", len(specialists)):
        library.add(one)
        styles = [one.card.style] * len(frames)
        edits[one.card.style] = library.edit(frames, styles=styles, masks=masks, seeds=seeds)
        library.remove(one.card.style)
    return edits


def compare(
    specialist: Specialist,
    others: Sequence[Specialist],
    pipeline: SpecialistPipeline,
    frames: np.ndarray,
    masks: np.ndarray,
) -> tuple[dict[str, Any], np.ndarray]:
    """What `simedit.training.worth.measure` finds, and pictures, uint8 [h, w, 3]: for each shown frame a
    photograph, the frame, the base's edit and the specialist's.

    Args:
        pipeline: the base, fresh; it is changed in place.
    """
    base = "base"
    while base in (specialist.card.style, *(other.card.style for other in others)):
        base += "_"
    alone = untrained(specialist, pipeline, base)
    edits = edits_of(SpecialistLibrary(pipeline), [specialist, alone, *others], frames, masks)
    own = edits.pop(specialist.card.style)
    height, width = frames.shape[1:3]
    photographs = [fit(photograph, width, height) for photograph in specialist.style_images]
    rows = [
        (photographs[i % len(photographs)], frames[i], edits[base][i], own[i])
        for i in range(min(SHOWN, len(frames)))
    ]
    pictures = {"raw": frames, "base": edits.pop(base), **edits}
    return measure(frames, masks, specialist.style_images, own, pictures), strip(rows)


def against(
    student: Specialist,
    teacher: Specialist,
    pipeline: SpecialistPipeline,
    frames: np.ndarray,
    masks: np.ndarray,
) -> tuple[dict[str, Any], np.ndarray]:
    """How near a distilled specialist's edits are to its teacher's, and the teacher's to its own with other
    noise.

    Args:
        teacher: as its card has it.
        pipeline: the base, fresh; it is changed in place.
        frames, masks: as `held_out`'s.

    Returns:
        JSON: "student" and "noise", the mean over the frames of the PSNR inside the masks, dB, and
        "evaluations" of the U-Net an edit, "before" as many as the teacher's; and pictures, uint8 [h, w, 3],
        for each shown frame itself, two edits of the teacher and the student's.
    """
    library = SpecialistLibrary(pipeline)
    wanted, other, own = (
        edits_of(library, [one], frames, masks, first=first)[one.card.style]
        for one, first in ((teacher, _SEED), (teacher, 2 * _SEED), (student, _SEED))
    )
    found = {
        "student": _psnr(own, wanted, masks),
        "noise": _psnr(other, wanted, masks),
        "evaluations": student.card.steps * student.card.scales.branches,
        "before": teacher.card.steps * teacher.card.scales.branches,
    }
    rows = [(frames[i], wanted[i], other[i], own[i]) for i in range(min(SHOWN, len(frames)))]
    return found, strip(rows)


def _psnr(edits: np.ndarray, wanted: np.ndarray, masks: np.ndarray) -> float:
    errors = [((a[m] - b[m].astype(float)) ** 2).mean() for a, b, m in zip(edits, wanted, masks, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-3)) for error in errors]))


def lost(found: dict[str, Any]) -> str:
    """One plain sentence on what `against` found."""
    few, many = found["evaluations"], found["before"]
    apart = (
        f"It takes {few} U-Net evaluation{'s' * (few != 1)} an edit, its teacher {many}: its edits are "
        f"{found['student']:.1f} dB (PSNR) from the teacher's, whose own are {found['noise']:.1f} dB apart "
        f"with other noise"
    )
    if found["student"] > found["noise"] - _ALIKE:
        return f"{apart}, so that no more is lost than noise changes, or hardly."
    return (
        f"{apart}, so that more is lost than noise changes. What helps: more warm_start.steps and "
        f"warm_start.edits, a higher lora_rank, or more sampling.steps."
    )


def table(found: dict[str, Any]) -> Table:
    """What was found, for a terminal."""
    shown = Table(
        box=box.SIMPLE, title="On frames that it was not trained on" if found["new"] else "On its own inputs"
    )
    for head in ("", "distance to its photographs", "edges kept"):
        shown.add_column(head, justify="left" if not head else "right")
    apart = dict(found["distance"])
    edit = apart.pop("edit")
    shown.add_row("this specialist", f"{edit:.1f}", f"{found['edges']:.0%}")
    others = {name: value for name, value in apart.items() if name not in ("raw", "base")}
    shown.add_row("the base alone", f"{apart['base']:.1f}")
    shown.add_row("the raw frames", f"{apart['raw']:.1f}")
    if others:
        name = min(others, key=lambda other: others[other])
        shown.add_row(f"the nearest of {len(others)} others, {name}", f"{others[name]:.1f}")
    shown.add_row("the photographs, laid on the frames", "", f"{found['edges_laid']:.0%}")
    return shown


def write(folder: Path, found: dict[str, Any], pictures: np.ndarray) -> None:
    """Keep what was found, and the pictures, in the run folder.

    Raises:
        SimeditError: they cannot be written.
    """
    with whole(folder / WORTH) as draft:
        draft.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    with whole(folder / PICTURE) as draft:
        Image.fromarray(pictures).save(draft)


def sentence(specialist: Specialist, found: dict[str, Any]) -> str:
    """`simedit.training.worth.verdict` of the specialist."""
    return verdict(specialist.card.style.replace("_", " "), found)
