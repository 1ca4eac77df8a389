"""`kind: d3po`: the better of two edits is made likelier, denoising step by denoising step (the paper's)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat

from simedit.settings import Share
from simedit.training.objectives import Objective, Setting, Work

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.training.rollout import Rollout


class D3PO(Objective):
    """D3PO on the best and the worst edit of each input (arXiv 2504.12833, eq. 7; arXiv 2311.13231).

    Attributes:
        beta: the temperature.
        clamp: probability ratios are clamped to 1 - clamp .. 1 + clamp.
        timesteps: the share of the denoising steps learned from, drawn anew for each sample.
    """

    kind: Literal["d3po"] = "d3po"
    beta: PositiveFloat = 0.1
    clamp: Annotated[float, Field(gt=0, lt=1)] = 0.1
    timesteps: Share = 1.0
    watched: ClassVar[Mapping[str, str]] = {"clamped": "share of clamped ratios"}
    # It moves little from there.
    loss_title: ClassVar[str] = "loss - ln 2 (below 0: winners got likelier)"
    loss_at_first: ClassVar[float] = math.log(2)

    def learned(self, edits: int) -> int:
        return 2

    def terms(self, noisy: int) -> int:
        return max(1, round(self.timesteps * noisy))

    def work(self, noisy: int, edits: int) -> Work:
        each = 2 * self.terms(noisy)
        return Work(update=each, reference=each, first=0)  # sampling found what the first step needs

    def prepare(
        self,
        setting: Setting,
        rollout: Rollout,
        totals: Tensor,
        *,
        seeds: Sequence[int],
        first: bool,
        batch_size: int,
        tick: Callable[[int], None],
    ) -> dict[str, Tensor]:
        import torch

        from simedit.training.feedback import best_and_worst
        from simedit.training.policy import REFERENCE
        from simedit.training.rollout import chosen_steps, log_probs
        from simedit.training.update import under_copy

        every = torch.tensor(setting.schedule.noisy_steps)
        noisy = chosen_steps(seeds, len(every), self.terms(len(every)))
        edits, winner = best_and_worst(totals)
        steps = every[noisy]
        if first:
            rows = torch.arange(len(rollout))[:, None, None]
            reference = rollout.log_probs[rows, edits[:, :, None], noisy[:, None]]
        else:

            def evaluate(conditioning: Conditioning, latents: Tensor, rows: Tensor) -> Tensor:
                policy, schedule = setting.policy, setting.schedule
                found = [
                    log_probs(policy, conditioning, latents, schedule, edits[rows], one)
                    for one in steps[rows].T
                ]
                return torch.stack(found, 2)

            reference = under_copy(
                setting, self, rollout, evaluate, REFERENCE, batch_size=batch_size, tick=tick
            )
        return {"edits": edits, "winner": winner, "steps": steps, "reference": reference}

    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        from simedit.training.rollout import log_probs

        policy, schedule = setting.policy, setting.schedule
        edits, steps = prepared["edits"], prepared["steps"][:, term]
        found = log_probs(policy, conditioning, latents, schedule, edits, steps)
        winner = prepared["winner"].to(found.device)
        reference = prepared["reference"][:, :, term].to(found.device)
        loss = d3po_loss(found, reference, winner, beta=self.beta, clamp=self.clamp)
        ratios = (found.detach() - reference).exp()
        return loss, {"clamped": ((ratios - 1).abs() > self.clamp).float().mean(1)}


def d3po_loss(
    log_probs: Tensor, reference: Tensor, winner: Tensor, *, beta: float = 0.1, clamp: float = 0.1
) -> Tensor:
    """D3PO's loss of one denoising step (arXiv 2504.12833, eq. 7; arXiv 2311.13231).

    The probability ratios are clamped before beta is applied, as in the paper's public code: a pair whose
    winner is already that much likelier, and its loser that much less likely, teaches no more.

    Args:
        log_probs: [N, 2], under the policy, of the two edits' next latents: means over the latent's
            dimensions, as `simedit.samplers.step` gives them.
        reference: [N, 2], the same under the reference.
        winner: int64 [N], 0 or 1.
        beta, clamp: see `D3PO`.

    Returns:
        [N], differentiable in log_probs.
    """
    from torch.nn.functional import softplus

    log_ratios = (log_probs - reference).clamp(math.log1p(-clamp), math.log1p(clamp))
    better = log_ratios.gather(1, winner[:, None])
    worse = log_ratios.gather(1, 1 - winner[:, None])
    return softplus(beta * (worse - better)).squeeze(1)
