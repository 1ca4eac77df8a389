"""One loop for all of the lab's trainings: AdamW, a cosine schedule, averaged weights, exact resumption."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

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
        learning_rate: of AdamW after 5 % of warm-up; it falls to 0 along a cosine.
        title: of the progress bar.
        decay: of the average.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=1e-4)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    average = EMAModel(parameters, decay=decay)
    state_file, step = folder / STATE, 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        average.load_state_dict(state["average"])
        step = state["step"]
    folder.mkdir(parents=True, exist_ok=True)
    saved = time.perf_counter()

    def save() -> None:
        new = state_file.with_suffix(".new")
        torch.save(
            {
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "average": average.state_dict(),
                "step": step,
            },
            new,
        )
        os.replace(new, state_file)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("loss {task.fields[loss]:.4f}")) as progress:
        bar = progress.add_task(title, total=steps, completed=step, loss=float("nan"))
        recent = float("nan")
        while step < steps:
            value = loss(step)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            average.step(parameters)
            step += 1
            now = value.item()
            recent = now if recent != recent else 0.98 * recent + 0.02 * now
            progress.update(bar, completed=step, loss=recent)
            if time.perf_counter() - saved > SAVE_SECONDS or step == steps:
                save()
                saved = time.perf_counter()
    average.copy_to(parameters)
