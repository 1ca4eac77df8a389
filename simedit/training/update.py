"""Learning: the gradient of D3PO's loss over ranked pairs, and the reference's log-probabilities for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simedit.samplers import Schedule
from simedit.training.config import UpdateConfig
from simedit.training.pairs import Pairs, doubled, log_probs
from simedit.training.policy import Encoded, Policy
from simedit.training.preference import d3po_loss

Encode = Callable[[Pairs], Encoded]
"""What pairs are conditioned on, on the policy's device."""


@dataclass(frozen=True)
class Ranked:
    """Pairs that say which edit is better.

    Attributes:
        pairs: N pairs.
        winner: int64 [N], 0 or 1.
        noisy: int64 [N, T], which of the schedule's noisy steps each pair is learned from.
        reference: float32 [N, 2, T], these steps' log-probabilities under the reference.
    """

    pairs: Pairs
    winner: Tensor
    noisy: Tensor
    reference: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: Tensor) -> Ranked:
        return Ranked(self.pairs[rows], self.winner[rows], self.noisy[rows], self.reference[rows])


@dataclass(frozen=True)
class Sums:
    """Over pairs x denoising steps: their number, their summed loss, and how many ratios met the clamp."""

    terms: int = 0
    loss: float = 0.0
    clamped: float = 0.0


def chosen_steps(noise_seeds: Sequence[int], noisy: int, share: float) -> Tensor:
    """int64 [N, T]: for each pair, T = share x noisy (at least 1) of its noisy steps, in random order.

    Args:
        noise_seeds: the pairs' seeds; they alone decide.
        noisy: how many noisy steps there are.
    """
    count = max(1, round(share * noisy))
    # Stream 3: 0 to 2 are the pair's noise.
    orders = [np.random.default_rng([seed, 3]).permutation(noisy)[:count] for seed in noise_seeds]
    return torch.from_numpy(np.stack(orders))


def reference_log_probs(
    policy: Policy,
    encode: Encode,
    pairs: Pairs,
    noisy: Tensor,
    schedule: Schedule,
    *,
    batch_size: int,
    tick: Callable[[int], None] = lambda pairs: None,
) -> Tensor:
    """float32 [N, 2, T], without gradients, of the steps `noisy` [N, T] under the policy's reference.

    Args:
        batch_size: pairs at once.
        tick: told how many pairs are done so far, after each batch.
    """
    steps = torch.tensor(schedule.noisy_steps)[noisy]
    parts = []
    for rows in torch.arange(len(pairs)).split(batch_size):
        batch = pairs[rows]
        with torch.no_grad(), policy.reference():
            conditioning = doubled(policy.conditioning(encode(batch)))
            latents = batch.latents.to(policy.device)
            found = [log_probs(policy, conditioning, latents, schedule, one) for one in steps[rows].T]
            parts.append(torch.stack(found, 2).cpu())
        tick(int(rows[-1]) + 1)  # which may save what is trained: not inside, where the reference is
    return torch.cat(parts)


def accumulate(
    policy: Policy,
    encode: Encode,
    ranked: Ranked,
    schedule: Schedule,
    config: UpdateConfig,
    *,
    total: int,
) -> Sums:
    """Add the gradient of the mean loss over `total` pairs and their steps to the policy's parameters.

    One backward pass takes `config.batch_size` pairs at one denoising step each; the sum over passes, and
    over processes, is the gradient of one big batch.

    Args:
        total: pairs that share this update, over all processes; `ranked` are this process's.
    """
    steps = torch.tensor(schedule.noisy_steps)[ranked.noisy]
    sums = Sums()
    if not len(ranked):  # of this update's pairs all are other processes'
        return sums
    for rows in torch.arange(len(ranked)).split(config.batch_size):
        batch = ranked.pairs[rows]
        encoded, latents = encode(batch), batch.latents.to(policy.device)
        winner = ranked.winner[rows].to(policy.device)
        for j in range(steps.shape[1]):
            # Anew for each backward pass: it goes through the style attention too.
            conditioning = doubled(policy.conditioning(encoded))
            found = log_probs(policy, conditioning, latents, schedule, steps[rows, j])
            reference = ranked.reference[rows, :, j].to(policy.device)
            loss = d3po_loss(found, reference, winner, beta=config.beta, clamp=config.clamp).sum()
            (loss / (total * steps.shape[1])).backward()
            ratios = (found.detach() - reference).exp()
            sums = Sums(
                terms=sums.terms + len(rows),
                loss=sums.loss + loss.item(),
                clamped=sums.clamped + ((ratios - 1).abs() > config.clamp).float().mean(1).sum().item(),
            )
    return sums
