"""A training's state on disk: each checkpoint is a specialist's folder with what going on needs beside it.

step_0003               after three whole steps
step_0003_interrupted   within the fourth, with the pairs sampled so far
  card.json, adapter.safetensors, style_*.png   a specialist (simedit.specialist)
  optimizer.safetensors                         AdamW's moments
  progress.json                                 `Progress`
  pairs.safetensors                             in an interrupted one
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from simedit.errors import SimeditError
from simedit.specialist import Specialist
from simedit.training.pairs import Pairs

OPTIMIZER, PROGRESS, PAIRS = "optimizer.safetensors", "progress.json", "pairs.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        step: whole training steps done.
        processes: that train, each on its share of the pairs.
        updates: updates done in the step after them.
        sums: what those updates' record has so far.
    """

    step: int
    processes: int = 1
    updates: int = 0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A training's whole state: all else follows from its config and seed.

    Attributes:
        optimizer: one dict of tensors for each parameter, empty before the first update.
        pairs: those sampled so far in an interrupted step.
    """

    specialist: Specialist
    optimizer: list[dict[str, Tensor]]
    progress: Progress
    pairs: Pairs | None = None


def optimizer_state(optimizer: Optimizer) -> list[dict[str, Tensor]]:
    """The optimizer's state, parameter by parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [dict(optimizer.state[p]) if p in optimizer.state else {} for p in parameters]


def set_optimizer_state(optimizer: Optimizer, state: list[dict[str, Tensor]]) -> None:
    """The reverse of `optimizer_state`. Moments get their parameters' order in memory, as if made here."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {
        i: {
            key: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            for key, value in one.items()
        }
        for i, (one, parameter) in enumerate(zip(state, parameters, strict=False))
        if one
    }
    optimizer.load_state_dict(whole)


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint into `folder`, whole or not at all, and drop all but the newest `keep`.

    Raises:
        SimeditError: it cannot be written (a full disk, for instance); the older ones are untouched.
    """
    progress = checkpoint.progress
    name = f"step_{progress.step:04d}" + ("_interrupted" if checkpoint.pairs is not None else "")
    path = folder / name
    tensors = {
        f"{i}.{key}": value.cpu().contiguous()
        for i, one in enumerate(checkpoint.optimizer)
        for key, value in one.items()
    }
    # As deep as its final place, for the card's path to the base is relative.
    new, old = folder / f".new-{name}", folder / f".old-{name}"
    try:
        for left in folder.glob(".*"):  # by a killed process
            shutil.rmtree(left, ignore_errors=True)
        checkpoint.specialist.save(new)
        save_file(tensors, new / OPTIMIZER)
        if checkpoint.pairs is not None:
            pairs = {f.name: getattr(checkpoint.pairs, f.name).contiguous() for f in fields(Pairs)}
            save_file(pairs, new / PAIRS)
        (new / PROGRESS).write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")
        if path.exists():
            path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)
        *others, newest = _all(folder)
        interrupted = [p for p in others if (p / PAIRS).exists()]
        whole = [p for p in (*others, newest) if p not in interrupted]
        for gone in (*interrupted, *whole[:-keep]):
            # Hidden first: of a process killed meanwhile no half-deleted checkpoint is to stay.
            shutil.rmtree(gone.rename(folder / f".old-{gone.name}"))
    # safetensors wraps the operating system's errors in its own.
    except (OSError, SafetensorError, SimeditError) as error:
        shutil.rmtree(new, ignore_errors=True)
        found = latest(folder)
        raise SimeditError(
            f"cannot write the checkpoint {path}: {error}. "
            + (f"Make room: the one before it, {found.name}, is whole." if found else "Make room.")
        ) from error
    return path


def step_folders(folder: Path) -> dict[int, Path]:
    """The checkpoints in `folder` after one whole step or more, by the number of steps, in order."""
    whole = (path for path in _all(folder) if not (path / PAIRS).exists())
    numbered = {int(path.name.removeprefix("step_")): path for path in whole}
    return {step: path for step, path in numbered.items() if step > 0}


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`; an interrupted step counts as newer than the step before it."""
    return next(reversed(_all(folder)), None)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SimeditError: something is missing or broken.
    """
    try:
        specialist = Specialist.load(path)
        progress = Progress(**json.loads((path / PROGRESS).read_text(encoding="utf-8")))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(path / OPTIMIZER).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        pairs = Pairs(**load_file(path / PAIRS)) if (path / PAIRS).exists() else None
    except (OSError, ValueError, TypeError, SafetensorError, SimeditError) as error:
        raise SimeditError(
            f"the checkpoint {path} is broken ({error}): remove its folder to go on from the one before it"
        ) from error
    optimizer = [state.get(i, {}) for i in range(max(state, default=-1) + 1)]
    return Checkpoint(specialist, optimizer, progress, pairs)


def _all(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step_*") if (path / PROGRESS).exists())
