"""A training's state on disk: each checkpoint is a specialist's folder with what going on needs beside it.

step_0003               after three whole steps
step_0003_interrupted   within the fourth, with the edits sampled so far
  card.json, adapter.safetensors, style_*.png   a specialist (simedit.specialist)
  optimizer.safetensors                         AdamW's moments
  progress.json                                 `Progress`
  reference.safetensors                         after a warm start: what feedback started from; so, by its
                                                name, any other copy of the policy that an objective keeps
  pairs.safetensors                             in an interrupted one
  scores.safetensors                            of the baseline "prompt": the newest of each wording
.unfinished             what is being written or removed; it goes with the next save

Whatever else lies beside them, copies and hidden folders too, is neither counted nor touched.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field, fields, replace
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import FiniteFloat, NonNegativeInt, PositiveInt, Strict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor
from torch.optim import Optimizer

from simedit.errors import SimeditError, shortened
from simedit.specialist import WEIGHTS, Specialist
from simedit.training.log import checked
from simedit.training.rollout import Rollout

OPTIMIZER, PROGRESS, PAIRS = "optimizer.safetensors", "progress.json", "pairs.safetensors"
SCORES = "scores.safetensors"
MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What AdamW keeps of a parameter."""
UNFINISHED = ".unfinished"

_NAME = re.compile(r"step_([0-9]{4,})(_interrupted)?")
_MOST_PARAMETERS = 1_000_000


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    Attributes:
        step: whole training steps done.
        processes: that train, each on its share of the inputs.
        updates: updates done in the step after them.
        sums: what those updates' record has so far.
        seconds: spent in that step so far, by phase.
        record: of the last whole step, as metrics.jsonl is to hold it.
        warm: steps of the warm start done.
    """

    step: Annotated[NonNegativeInt, Strict()]
    processes: Annotated[PositiveInt, Strict()] = 1
    updates: Annotated[NonNegativeInt, Strict()] = 0
    sums: dict[str, Annotated[FiniteFloat, Strict()]] = field(default_factory=dict)
    seconds: dict[str, Annotated[FiniteFloat, Strict()]] = field(default_factory=dict)
    record: dict[str, Any] | None = None
    warm: Annotated[NonNegativeInt, Strict()] = 0


@dataclass(frozen=True)
class Checkpoint:
    """A training's whole state: all else follows from its config and seed.

    Attributes:
        optimizer: one dict of tensors for each parameter, empty before the first update.
        rollout: what an interrupted step sampled so far.
        copies: weights by name: "reference", what the feedback started from where it is not the base, and
            what an objective keeps.
        newest: scores that the next feedback has to know (`simedit.training.feedback.Newest`).
    """

    specialist: Specialist
    optimizer: list[dict[str, Tensor]]
    progress: Progress
    rollout: Rollout | None = None
    copies: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    newest: dict[str, Tensor] = field(default_factory=dict)


def optimizer_state(optimizer: Optimizer) -> list[dict[str, Tensor]]:
    """The optimizer's state, parameter by parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [dict(optimizer.state[p]) if p in optimizer.state else {} for p in parameters]


def set_optimizer_state(optimizer: Optimizer, state: list[dict[str, Tensor]]) -> None:
    """The reverse of `optimizer_state`. Moments get their parameters' order in memory, as if made here.

    Raises:
        SimeditError: the state is not of this optimizer's parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if len(state) > len(parameters):
        raise SimeditError(f"its optimizer has {len(state)} parameters, not {len(parameters)}")
    whole = optimizer.state_dict()
    whole["state"] = {i: _moments(i, one, parameters[i]) for i, one in enumerate(state) if one}
    optimizer.load_state_dict(whole)


def _moments(index: int, state: dict[str, Tensor], parameter: Tensor) -> dict[str, Tensor]:
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    shape = tuple(parameter.shape)
    if shapes != dict.fromkeys(MOMENTS, shape) | {"step": ()}:
        raise SimeditError(f"its optimizer's parameter {index} holds {shapes}, and its weights are {shape}")
    if any(value.dtype != torch.float32 for value in state.values()):
        raise SimeditError(f"its optimizer's parameter {index} is not in float32")
    return {
        key: value if key == "step" else torch.empty_like(parameter).copy_(value)
        for key, value in state.items()
    }


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint into `folder`, whole or not at all, and drop all but the newest `keep`.

    Raises:
        SimeditError: it holds numbers that are not finite, or cannot be written (a full disk, for instance);
            the older ones are untouched.
    """
    progress = checkpoint.progress
    if lost := _not_finite(checkpoint):
        raise SimeditError(
            f"after step {progress.step} {lost}, so that is not saved: a base whose weights are not, or an "
            f"update.learning_rate much too high, makes them so"
        )
    path = folder / (f"step_{progress.step:04d}" + ("_interrupted" if checkpoint.rollout is not None else ""))
    scratch = folder / UNFINISHED
    new, before = scratch / path.name, scratch / f"before-{path.name}"
    try:
        tidy(folder)
        scratch.mkdir(parents=True, exist_ok=True)
        _at(checkpoint.specialist, path).save(new)
        tensors = {
            f"{i}.{key}": value.cpu().contiguous()
            for i, one in enumerate(checkpoint.optimizer)
            for key, value in one.items()
        }
        # Not save_file, which keeps its files to their owner and hides the system's errors in its own.
        (new / OPTIMIZER).write_bytes(safetensors.torch.save(tensors))
        if checkpoint.rollout is not None:
            (new / PAIRS).write_bytes(safetensors.torch.save(checkpoint.rollout.tensors()))
        if checkpoint.newest:
            (new / SCORES).write_bytes(safetensors.torch.save(checkpoint.newest))
        for name, weights in checkpoint.copies.items():
            copy = {key: value.cpu().contiguous() for key, value in weights.items()}
            (new / f"{name}.safetensors").write_bytes(safetensors.torch.save(copy))
        text = json.dumps(asdict(progress), allow_nan=False) + "\n"
        (new / PROGRESS).write_text(text, encoding="utf-8")
        if path.exists():
            path.rename(before)
        new.rename(path)
        *others, newest = _all(folder).items()
        interrupted = [path for (_, stopped), path in others if stopped]
        whole = [path for _, path in (*others, newest) if path not in interrupted]
        for gone in (*interrupted, *whole[:-keep]):
            # Moved first: of a process killed meanwhile no half-deleted checkpoint is to stay.
            gone.rename(scratch / f"gone-{gone.name}")
        shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, SafetensorError, SimeditError) as error:
        tidy(folder)
        raise SimeditError(f"cannot write the checkpoint {path}: {_reason(error, latest(folder))}") from error
    return path


def tidy(folder: Path) -> None:
    """Remove what a killed process left unfinished in `folder`; a checkpoint that it was replacing stays.

    Call it only where none but this process writes there.
    """
    scratch = folder / UNFINISHED
    for before in scratch.glob("before-*"):
        if not (path := folder / before.name.removeprefix("before-")).exists():
            before.rename(path)
    shutil.rmtree(scratch, ignore_errors=True)


def step_folders(folder: Path) -> dict[int, Path]:
    """The checkpoints in `folder` after one whole step or more, by the number of steps, in order."""
    found = _all(folder).items()
    return {step: path for (step, interrupted), path in found if step > 0 and not interrupted}


def latest(folder: Path) -> Path | None:
    """The newest checkpoint in `folder`; an interrupted step counts as newer than the step before it."""
    return next(reversed(_all(folder).values()), None)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        SimeditError: something is missing, broken or not finite.
    """
    try:
        specialist = Specialist.load(path)
        progress = _read_progress(path)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _tensors(path / OPTIMIZER).items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        if not all(0 <= index < _MOST_PARAMETERS for index in state):
            raise ValueError(f"{OPTIMIZER} numbers a parameter {max(state, key=abs)}")
        optimizer = [state.get(i, {}) for i in range(max(state, default=-1) + 1)]
        rollout = Rollout.of(_tensors(path / PAIRS)) if (path / PAIRS).exists() else None
        newest = _tensors(path / SCORES) if (path / SCORES).exists() else {}
        own = (WEIGHTS, OPTIMIZER, PAIRS, SCORES)
        copies = {f.stem: _tensors(f) for f in sorted(path.glob("*.safetensors")) if f.name not in own}
        found = Checkpoint(specialist, optimizer, progress, rollout, copies, newest)
        if lost := _not_finite(found):
            raise ValueError(lost)
    # RuntimeError: of deep JSON, of types that cannot be reckoned with.
    except (OSError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise broken(path, error) from error
    except (SafetensorError, SimeditError) as error:
        raise broken(path, error) from error
    return found


def broken(path: Path, reason: object) -> SimeditError:
    """The error for a checkpoint that cannot be gone on from."""
    return SimeditError(
        f"the checkpoint {path} is broken ({shortened(reason, 300)}): remove its folder to go on from the "
        f"one before it"
    )


def _read_progress(path: Path) -> Progress:
    data = json.loads((path / PROGRESS).read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not data.keys() <= {f.name for f in fields(Progress)}:
        raise ValueError(f"{PROGRESS} must hold an object of {', '.join(f.name for f in fields(Progress))}")
    try:
        progress = TypeAdapter(Progress).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        raise ValueError(f"{PROGRESS}: {where}: {first['msg']}") from None
    record = progress.record
    if record is not None and checked(record)["step"] != progress.step:
        raise ValueError(f"{PROGRESS} has the record of step {record['step']}")
    named = _number(path)
    if named is not None and progress.step != named[0]:
        raise ValueError(f"{PROGRESS} is that of step {progress.step}")
    return progress


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file.name}: {error}") from error


def _not_finite(checkpoint: Checkpoint) -> str | None:
    """What to say of weights and moments that are not finite, if any are. A rollout may hold such numbers:
    they are not learned from."""
    named = checkpoint.specialist.weights | {
        f"the {name}'s {key}": value
        for name, copy in checkpoint.copies.items()
        for key, value in copy.items()
    }
    named |= {f"the newest scores of {key}": value for key, value in checkpoint.newest.items()}
    for i, one in enumerate(checkpoint.optimizer):
        named |= {f"the optimizer's {i}.{key}": value for key, value in one.items()}
    lost = [name for name, value in named.items() if not value.isfinite().all()]
    return f"{len(lost)} of the weights are not finite, such as {lost[0]}" if lost else None


def _at(specialist: Specialist, path: Path) -> Specialist:
    """It as it is to lie at `path`: on disk the way to a base in a folder is relative."""
    card = specialist.card
    if not os.path.isabs(card.base):
        return specialist
    base = os.path.relpath(card.base, path.resolve())
    return replace(specialist, card=card.model_copy(update={"base": base}))


def _reason(error: Exception, newest: Path | None) -> str:
    said = str((isinstance(error, OSError) and error.strerror) or error).rstrip(".")
    # Of a specialist's weights the system's error comes as words of another's.
    full = any(os.strerror(number) in said for number in (ENOSPC, EDQUOT, EFBIG))
    whole = f"the one before it, {newest.name}, is whole" if newest else ""
    hint = "Make room" + (f": {whole}" if whole else "") if full else whole.capitalize()
    return f"{said}. {hint}." if hint else f"{said}."


def _number(path: Path) -> tuple[int, bool] | None:
    """The steps that a checkpoint's name counts, and whether it is an interrupted one's."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.name != f"step_{int(match[1]):04d}{match[2] or ''}":
        return None
    return int(match[1]), match[2] is not None


def _all(folder: Path) -> dict[tuple[int, bool], Path]:
    """By step, an interrupted one after the whole one; what links name is not the training's."""
    found = {
        number: path
        for path in folder.glob("step_*")
        if (number := _number(path)) is not None and not path.is_symlink() and (path / PROGRESS).is_file()
    }
    return dict(sorted(found.items()))
