"""Learning: the gradient of an objective over what a rollout kept, and what it asks of copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from simedit.pipeline import Conditioning
from simedit.settings import Scales
from simedit.training.objectives import Objective, Setting
from simedit.training.rollout import Rollout, repeated


@dataclass(frozen=True)
class Kept:
    """What is learned from.

    Attributes:
        rollout: of N inputs.
        prepared: what the objective wants beside it, of N rows each.
    """

    rollout: Rollout
    prepared: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.rollout)

    def __getitem__(self, rows: Tensor) -> Kept:
        return Kept(self.rollout[rows], {name: value[rows] for name, value in self.prepared.items()})


@dataclass(frozen=True)
class Sums:
    """Over inputs x terms: their number, their summed loss, and the sums of what the objective watches."""

    terms: int = 0
    loss: float = 0.0
    watched: dict[str, float] = field(default_factory=dict)


def under_copy(
    setting: Setting,
    objective: Objective,
    rollout: Rollout,
    evaluate: Callable[[Conditioning, Tensor, Tensor], Tensor],
    name: str,
    *,
    batch_size: int,
    tick: Callable[[int], None] = lambda inputs: None,
) -> Tensor:
    """[N, ...] on the CPU, without gradients: something of all inputs under a copy of the policy.

    Args:
        evaluate: (conditioning as for the objective's loss, latents on the policy's device, rows) -> [n, ...]
            of these rows.
        name: the copy's.
        batch_size: inputs at once.
        tick: told how many inputs are done so far, after each batch.
    """
    policy, parts = setting.policy, []
    for rows in torch.arange(len(rollout)).split(batch_size):
        batch = rollout[rows]
        with torch.no_grad(), policy.being(name):
            conditioning = _conditioning(setting, objective, batch)
            parts.append(evaluate(conditioning, batch.latents.to(policy.device), rows).cpu())
        tick(int(rows[-1]) + 1)  # which may save what is trained: not inside, where the copy is
    return torch.cat(parts)


def accumulate(setting: Setting, objective: Objective, kept: Kept, *, batch_size: int, total: int) -> Sums:
    """Add the gradient of the mean loss over `total` inputs and their terms to the policy's parameters.

    One backward pass takes `batch_size` inputs at one term each; the sum over passes, and over processes, is
    the gradient of one big batch.

    Args:
        total: inputs that share this update, over all processes; `kept` are this process's.
    """
    terms = objective.terms(len(setting.schedule.noisy_steps))
    sums = Sums(watched=dict.fromkeys(objective.watched, 0.0))
    if not len(kept):  # of this update's inputs all are other processes'
        return sums
    for rows in torch.arange(len(kept)).split(batch_size):
        batch = kept[rows]
        latents = batch.rollout.latents.to(setting.policy.device)
        for term in range(terms):
            # Anew for each backward pass: it goes through the style attention too.
            conditioning = _conditioning(setting, objective, batch.rollout)
            each, watched = objective.loss(setting, conditioning, latents, batch.prepared, term)
            loss = each.sum()
            (loss / (total * terms)).backward()
            sums = Sums(
                terms=sums.terms + len(rows),
                loss=sums.loss + loss.item(),
                watched={name: sums.watched[name] + watched[name].sum().item() for name in sums.watched},
            )
    return sums


def _conditioning(setting: Setting, objective: Objective, rollout: Rollout) -> Conditioning:
    """Of each edit that is learned from."""
    found = setting.policy.conditioning(setting.encode(rollout))
    if not objective.guided:
        found = replace(found, scales=[Scales(image=1, style=1, text=1)])
    return repeated(found, objective.learned(rollout.latents.shape[1]))
