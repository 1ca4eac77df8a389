"""`kind: nft`: all of an input's finished edits are learned from, the good ones towards, the others away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from simedit.training.objectives import Objective, Setting, Work

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.training.policy import Policy
    from simedit.training.rollout import Rollout

OLD = "old"
"""The copy of the policy that lags behind it, and samples."""
SMALLEST = 1e-5
"""A mean error smaller than this does not raise a term's weight further."""


class NFT(Objective):
    """DiffusionNFT (arXiv 2509.16117, theorem 3.2), in clean latents and with each term's weight as in its
    public code, but without the term there that holds to the reference. It learns from conditional
    predictions alone.

    An edit's optimality, 0..1, is 1/2 + advantage / (2 clip). Advantages are over the step's deviation, as
    the paper's are; here they are centred on their input's mean, as the paper's are on their prompt's.

    Attributes:
        beta: how far the two implicit policies lie from the old one, in steps from it to the policy.
        clip: the advantage from which on an edit is as good, or as bad, as can be.
        levels: how many of the base's timesteps each input is learned from, drawn anew, each with one noise
            for all its edits.
        lag: the old policy's share that it keeps in step i is lag x i,
        most_lag: and at most this.
    """

    kind: Literal["nft"] = "nft"
    beta: PositiveFloat = 1.0
    clip: PositiveFloat = 5.0
    levels: PositiveInt = 8
    lag: NonNegativeFloat = 0.001
    most_lag: Annotated[float, Field(ge=0, lt=1)] = 0.5
    trajectories: ClassVar[bool] = False
    guided: ClassVar[bool] = False
    copies: ClassVar[tuple[str, ...]] = (OLD,)
    sampled_by: ClassVar[str | None] = OLD
    watched: ClassVar[Mapping[str, str]] = {"in_order": "share of edits that moved as their advantage asks"}
    loss_title: ClassVar[str] = "loss"

    def learned(self, edits: int) -> int:
        return edits

    def terms(self, noisy: int) -> int:
        return self.levels

    def work(self, noisy: int, edits: int) -> Work:
        each = edits * self.levels
        return Work(update=each, reference=each, first=each)

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

        from simedit.training.rollout import drawn_levels
        from simedit.training.update import under_copy

        trained = len(setting.policy.pipeline.scheduler.alphas_cumprod)
        t, noise = drawn_levels(seeds, trained, self.levels, rollout.image.shape[1:])

        def evaluate(conditioning: Conditioning, latents: Tensor, rows: Tensor) -> Tensor:
            terms = zip(t[rows].T, noise[rows].transpose(0, 1), strict=True)
            return torch.stack([_errors(setting.policy, conditioning, latents, *term) for term in terms], 2)

        old = under_copy(setting, self, rollout, evaluate, OLD, batch_size=batch_size, tick=tick)
        return {"t": t, "noise": noise, "old": old, "optimality": self.optimality(totals)}

    def optimality(self, totals: Tensor) -> Tensor:
        """[N, G] in 0..1 of totals [N, G]."""
        advantages = totals.mean(1, keepdim=True) - totals
        return (1 + (advantages / self.clip).clamp(-1, 1)) / 2

    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        t, noise = prepared["t"][:, term], prepared["noise"][:, term]
        found = _errors(setting.policy, conditioning, latents, t, noise)
        old = prepared["old"][:, :, term].to(found)
        optimality = prepared["optimality"].to(found)
        # Predictions are mixed: so are their errors, for what they are compared with is one.
        towards = _weighed((1 - self.beta) * old + self.beta * found)
        away = _weighed((1 + self.beta) * old - self.beta * found)
        loss = (optimality * towards + (1 - optimality) * away).mean(1) / self.beta
        grown = (found.detach() ** 2 - old**2).mean((2, 3, 4))
        return loss, {"in_order": (grown * (optimality - 0.5) < 0).float().mean(1)}

    def finish(self, policy: Policy, step: int) -> None:
        policy.follow(OLD, min(self.lag * step, self.most_lag))


def _errors(policy: Policy, conditioning: Conditioning, latents: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """[N, G, 4, h, w], how far each of N inputs' G edits, predicted from noise, is from what it is.

    Args:
        conditioning: of the inputs, repeated G times.
        latents: [N, G, L, 4, h, w].
        t, noise: int64 [N] and float32 [N, 4, h, w]: each input's timestep and noise.
    """
    import torch

    from simedit.training.rollout import noised

    each = latents.shape[1]
    edits = torch.arange(each).expand(len(t), -1)
    clean, noisy, alpha = noised(policy, latents, edits, t, noise)
    predicted = policy.predict(conditioning, noisy, t.repeat(each))
    errors = (noisy - (1 - alpha).sqrt() * predicted) / alpha.sqrt() - clean
    return errors.unflatten(0, (each, -1)).transpose(0, 1)


def _weighed(errors: Tensor) -> Tensor:
    """[N, G], mean squared errors of [N, G, 4, h, w] over their mean size, which has no gradient."""
    size = errors.detach().abs().mean((2, 3, 4), keepdim=True).clamp(min=SMALLEST)
    return (errors**2 / size).mean((2, 3, 4))
