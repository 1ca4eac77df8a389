"""One loop for the base's trainings: Muon, a cosine schedule, averaged weights, exact resumption."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from simedit.lab.beside import take_cores
from simedit.lab.muon import Muon
from simedit.progress import counting

SAVE_SECONDS = 120
STATE = "state.pt"


def fit(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    folder: Path,
    title: str,
    decay: float = 0.999,
) -> None:
    """Train `module` in place; afterwards it holds the exponential average of its weights.

    A run that was stopped goes on from its last state in `folder`, saved every two minutes. As `loss` gets
    the step's number and draws from nothing else, the result is the same.

    Args:
        loss: from the step's number, 0 to steps - 1, to a scalar.
        learning_rate: after 5 % of warm-up; it falls to 0 along a cosine. AdamW trains what is no matrix and
            embeddings, Muon the rest.
        title: of the progress bar.
        decay: of the average.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in parameters if p.ndim > 1 and id(p) not in tables]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    optimizers = [Muon(matrices, learning_rate), torch.optim.AdamW(rest, learning_rate, weight_decay=0)]
    schedules = [get_cosine_schedule_with_warmup(each, steps // 20, steps) for each in optimizers]
    average = EMAModel(parameters, decay=decay)
    parts: dict[str, Any] = {"module": module, "average": average}
    parts |= {"muon": optimizers[0], "adamw": optimizers[1], "rate0": schedules[0], "rate1": schedules[1]}
    state_file, step = folder / STATE, 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step = state["step"]
    folder.mkdir(parents=True, exist_ok=True)
    saved = time.perf_counter()

    def save() -> None:
        new = state_file.with_suffix(".new")
        torch.save(
            {
                **{name: part.state_dict() for name, part in parts.items()},
                "step": step,
            },
            new,
        )
        os.replace(new, state_file)

    with counting(title, steps, done=step) as show:
        recent = float("nan")
        while step < steps:
            take_cores()
            value = loss(step)
            module.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            for part in (*optimizers, *schedules):
                part.step()
            average.step(parameters)
            step += 1
            now = value.item()
            recent = now if recent != recent else 0.98 * recent + 0.02 * now
            show(step, f"loss {recent:.4f}")
            if time.perf_counter() - saved > SAVE_SECONDS or step == steps:
                save()
                saved = time.perf_counter()
    average.copy_to(parameters)
