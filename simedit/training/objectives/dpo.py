"""`kind: dpo`: the better of two finished edits is made easier to denoise than the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from simedit.training.objectives import Objective, Setting, Work

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.training.policy import Policy
    from simedit.training.rollout import Rollout


class DPO(Objective):
    """Diffusion-DPO, online: on the best and the worst edit of each input (arXiv 2311.12908, eq. 14, with one
    weight for all timesteps, as in its public code). It learns from conditional predictions alone.

    Attributes:
        beta: how hard it holds to the reference, times the number of timesteps; of errors that are means over
            the latent's dimensions.
        levels: how many of the base's timesteps each pair is learned from, drawn anew, each with one noise
            for both edits.
    """

    kind: Literal["dpo"] = "dpo"
    beta: PositiveFloat = 5000.0
    levels: PositiveInt = 8
    trajectories: ClassVar[bool] = False
    guided: ClassVar[bool] = False
    watched: ClassVar[Mapping[str, str]] = {"in_order": "share of terms that favour the winner"}
    loss_title: ClassVar[str] = "loss - ln 2 (below 0: winners got likelier)"
    loss_at_first: ClassVar[float] = math.log(2)

    def learned(self, edits: int) -> int:
        return 2

    def terms(self, noisy: int) -> int:
        return self.levels

    def work(self, noisy: int, edits: int) -> Work:
        return Work(update=2 * self.levels, reference=2 * self.levels, first=2 * self.levels)

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
        from simedit.training.rollout import drawn_levels
        from simedit.training.update import under_copy

        policy = setting.policy
        trained = len(policy.pipeline.scheduler.alphas_cumprod)
        t, noise = drawn_levels(seeds, trained, self.levels, rollout.image.shape[1:])
        edits, winner = best_and_worst(totals)

        def evaluate(conditioning: Conditioning, latents: Tensor, rows: Tensor) -> Tensor:
            terms = zip(t[rows].T, noise[rows].transpose(0, 1), strict=True)
            found = [_errors(policy, conditioning, latents, edits[rows], *term) for term in terms]
            return torch.stack(found, 2)

        reference = under_copy(setting, self, rollout, evaluate, REFERENCE, batch_size=batch_size, tick=tick)
        return {"edits": edits, "winner": winner, "t": t, "noise": noise, "reference": reference}

    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        from torch.nn.functional import softplus

        t, noise = prepared["t"][:, term], prepared["noise"][:, term]
        found = _errors(setting.policy, conditioning, latents, prepared["edits"], t, noise)
        grown = found - prepared["reference"][:, :, term].to(found.device)
        winner = prepared["winner"].to(found.device)[:, None]
        worse = (grown.gather(1, winner) - grown.gather(1, 1 - winner)).squeeze(1)
        return softplus(self.beta / 2 * worse), {"in_order": (worse.detach() < 0).float()}


def _errors(
    policy: Policy, conditioning: Conditioning, latents: Tensor, edits: Tensor, t: Tensor, noise: Tensor
) -> Tensor:
    """[N, P], the mean squared errors of the noise predicted in P finished edits of each of N inputs.

    Args:
        conditioning: of the inputs, repeated P times.
        latents: [N, G, L, 4, h, w].
        edits: int64 [N, P], which of each input's.
        t, noise: int64 [N] and float32 [N, 4, h, w]: each input's timestep and noise.
    """
    from simedit.training.rollout import noised

    each = edits.shape[1]
    _, noisy, _ = noised(policy, latents, edits, t, noise)
    predicted = policy.predict(conditioning, noisy, t.repeat(each))
    errors = predicted - noise.to(predicted).repeat(each, 1, 1, 1)
    return (errors**2).mean((1, 2, 3)).unflatten(0, (each, -1)).T
