"""`kind: draft`: the scores' own gradients, through the decoder and the last denoising steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from simedit.training.objectives import Objective, Setting, Work

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.training.config import SamplingConfig, ScoresConfig
    from simedit.training.rollout import Rollout


class DRaFT(Objective):
    """DRaFT-K (arXiv 2309.17400): what is minimised is the weighted sum of the scores themselves, not
    normalised, of all of an input's edits. The last steps are taken anew, with the noise that they had.

    It follows the scores wherever they lead, mistakes of theirs included: watch it by one not learned from.

    Attributes:
        last: K, through how many of the last denoising steps the gradient goes.
    """

    kind: Literal["draft"] = "draft"
    last: PositiveInt = 1
    differentiates: ClassVar[bool] = True
    loss_title: ClassVar[str] = "weighted sum of the scores (lower is better)"

    def check(self, *, scores: ScoresConfig, sampling: SamplingConfig) -> None:
        for name, weight in scores.weights.items():
            if weight and not getattr(scores, name).differentiable:
                raise ValueError(
                    f"it learns from the scores' gradients, and the {name} score of this kind has none: let "
                    f"it weigh nothing (scores.{name}_weight=0), or take another kind"
                )
        if sampling.window is not None:
            raise ValueError(
                "it learns from the last denoising steps, not from a window: drop sampling.window"
            )
        if self.last > sampling.steps:
            raise ValueError(f"last: {self.last} is more than there are denoising steps ({sampling.steps})")

    @property
    def chained(self) -> int:
        return self.last

    def learned(self, edits: int) -> int:
        return edits

    def terms(self, noisy: int) -> int:
        return 1

    def work(self, noisy: int, edits: int) -> Work:
        return Work(update=edits * self.last, reference=0, first=0)

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
        from simedit.training.rollout import drawn_noise

        noisy, start = setting.schedule.noisy_steps, len(setting.schedule) - self.last
        steps = range(sum(step < start for step in noisy), len(noisy))
        noise = drawn_noise(seeds, rollout.latents.shape[1], steps, rollout.image.shape[1:])
        return {"input": rollout.input, "style": rollout.style, "noise": noise}

    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        import torch

        from simedit import samplers

        policy, schedule, each = setting.policy, setting.schedule, latents.shape[1]

        def of_all(values: Tensor) -> Tensor:
            return values.transpose(0, 1).flatten(0, 1).to(policy.device, dtype)

        def model(x: Tensor, t: Tensor) -> Tensor:
            return policy.predict(conditioning, x, t)

        dtype = torch.promote_types(latents.dtype, torch.float32)
        noise = iter(prepared["noise"].unbind(2))
        x = of_all(latents[:, :, -1 - self.last])
        for step in range(len(schedule))[-self.last :]:
            x = samplers.expected(model, x, torch.full((len(x),), step), schedule)
            if schedule.std[step]:
                x = x + schedule.std[step].to(x) * of_all(next(noise))
        ends = x.unflatten(0, (each, -1)).transpose(0, 1)
        return setting.value(prepared["input"], prepared["style"], ends).mean(1), {}
