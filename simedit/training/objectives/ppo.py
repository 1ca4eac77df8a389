"""`kind: ppo`: edits better than the baseline are made likelier, the others less, denoising step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat

from simedit.settings import Share
from simedit.training.objectives import Objective, Setting, Work

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.training.rollout import Rollout


class PPO(Objective):
    """PPO over the denoising steps of all edits (DDPO-IS with clipping, arXiv 2305.13301, 4.3).

    Log-likelihoods are means over the latent's dimensions, as in its public code: hence the small clip.

    Attributes:
        clip: a ratio to the policy that sampled teaches no more beyond 1 - clip .. 1 + clip.
        kl: weight of each step's divergence from the reference, in closed form, a mean over the latent's
            dimensions. Above 0 the reference's expected latents are kept beside the trajectories, in float32.
        timesteps: the share of the denoising steps learned from, drawn anew for each input.
    """

    kind: Literal["ppo"] = "ppo"
    clip: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    kl: NonNegativeFloat = 0.0
    timesteps: Share = 1.0

    @property
    def watched(self) -> Mapping[str, str]:  # type: ignore[override]
        always = {
            "clipped": "share of clipped ratios",
            "ratio": "mean ratio to the policy that sampled",
            "kl_sampled": "KL from the policy that sampled (half the squared log ratio)",
        }
        return always | ({"kl_reference": "KL from the reference, a dimension"} if self.kl else {})

    def learned(self, edits: int) -> int:
        return edits

    def terms(self, noisy: int) -> int:
        return max(1, round(self.timesteps * noisy))

    def work(self, noisy: int, edits: int) -> Work:
        each = edits * self.terms(noisy)
        reference = each if self.kl else 0
        return Work(update=each, reference=reference, first=reference)

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

        from simedit.training.policy import REFERENCE
        from simedit.training.rollout import chosen_steps, scored
        from simedit.training.update import under_copy

        every = torch.tensor(setting.schedule.noisy_steps)
        noisy = chosen_steps(seeds, len(every), self.terms(len(every)))
        edits = torch.arange(totals.shape[1]).expand(len(rollout), -1)
        steps = every[noisy]
        sampled = rollout.log_probs.gather(2, noisy[:, None].expand(-1, totals.shape[1], -1))
        found = {"edits": edits, "advantages": -totals, "steps": steps, "sampled": sampled}
        if self.kl:

            def evaluate(conditioning: Conditioning, latents: Tensor, rows: Tensor) -> Tensor:
                policy, schedule = setting.policy, setting.schedule
                means = [
                    scored(policy, conditioning, latents, schedule, edits[rows], one)[1]
                    for one in steps[rows].T
                ]
                return torch.stack(means, 2)

            found["reference"] = under_copy(
                setting, self, rollout, evaluate, REFERENCE, batch_size=batch_size, tick=tick
            )
        return found

    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        from simedit.training.rollout import scored

        steps = prepared["steps"][:, term]
        found, means = scored(
            setting.policy, conditioning, latents, setting.schedule, prepared["edits"], steps
        )
        log_ratios = found - prepared["sampled"][:, :, term].to(found.device)
        loss = ppo_loss(log_ratios, prepared["advantages"].to(found.device), clip=self.clip).mean(1)
        known = log_ratios.detach()
        watched = {
            "clipped": ((known.exp() - 1).abs() > self.clip).float().mean(1),
            "ratio": known.exp().mean(1),
            "kl_sampled": (known**2 / 2).mean(1),
        }
        if self.kl:
            std = setting.schedule.std[steps].to(means)[:, None]
            moved = (means - prepared["reference"][:, :, term].to(means.device)) ** 2
            divergence = (moved.flatten(2).mean(2) / (2 * std**2)).mean(1)
            loss = loss + self.kl * divergence
            watched["kl_reference"] = divergence.detach()
        return loss, watched


def ppo_loss(log_ratios: Tensor, advantages: Tensor, *, clip: float) -> Tensor:
    """PPO's clipped loss (arXiv 1707.06347, eq. 7, to be minimised), of the shape given.

    Args:
        log_ratios: of the likelihood under the policy to that under the one that sampled.
        advantages: of the same shape, higher is better.
        clip: see `PPO`.
    """
    import torch

    ratios = log_ratios.exp()
    return torch.maximum(-advantages * ratios, -advantages * ratios.clamp(1 - clip, 1 + clip))
