"""What is minimised on what a rollout kept: one objective a file of this folder, found by being there."""

from __future__ import annotations

import pkgutil
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from importlib import import_module
from operator import or_
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Protocol

from pydantic import Field

from simedit.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from simedit.pipeline import Conditioning
    from simedit.samplers import Schedule
    from simedit.training.config import SamplingConfig, ScoresConfig
    from simedit.training.policy import Encoded, Policy
    from simedit.training.rollout import Rollout


class Setting(Protocol):
    """What learns, and from what: `simedit.training.sampler.Sampler` in a training."""

    policy: Policy
    schedule: Schedule

    def encode(self, rollout: Rollout, /) -> Encoded:
        """What the inputs are conditioned on, on the policy's device."""
        ...

    def value(self, inputs: Tensor, styles: Tensor, latents: Tensor, /) -> Tensor:
        """The scores of edits, each by its weight, float32 [N, P], lower is better; differentiable.

        Args:
            inputs, styles: int64 [N], as `simedit.training.rollout.Rollout` has them.
            latents: [N, P, 4, h, w], final ones of P edits of each input.
        """
        ...


class Work(NamedTuple):
    """Predictions that an objective asks for, of one input, each of `branches` U-Net evaluations.

    Attributes:
        update: with their backward passes, in each epoch.
        reference: without, once, before the updates.
        first: the same in the first step, when the policy is still its reference.
    """

    update: int
    reference: int
    first: int


class Objective(Config):
    """The settings of one objective, and how they become a loss.

    An objective is a subclass in a module of its own beside this one, with `kind: Literal["its name"]`. The
    module imports nothing heavy: every command that reads a training's config imports it.
    """

    kind: str
    trajectories: ClassVar[bool] = True
    """Whether it learns from denoising steps: whole trajectories are kept, else the final latents alone."""
    guided: ClassVar[bool] = True
    """Whether it learns from guided predictions, of all branches, else from the conditional one alone."""
    copies: ClassVar[tuple[str, ...]] = ()
    """Copies of the policy that it keeps beside the reference; checkpoints hold them. Each is at first what
    feedback starts from; `finish` may change it."""
    sampled_by: ClassVar[str | None] = None
    """The one of its `copies` that edits are sampled with; None is the policy as it is."""
    differentiates: ClassVar[bool] = False
    """Whether it learns from the scores' gradients (`Setting.value`), through the decoder."""
    watched: ClassVar[Mapping[str, str]] = {}
    """What `loss` tells beside the loss, with its curve's title; a step's record has the mean."""
    loss_title: ClassVar[str] = "loss"
    loss_at_first: ClassVar[float] = 0.0
    """The loss of a policy that is still its reference; the curve is drawn from there."""

    def check(self, *, scores: ScoresConfig, sampling: SamplingConfig) -> None:
        """Check that it can learn by a training's other settings.

        Raises:
            ValueError: it cannot; the message says what to change.
        """

    @property
    def chained(self) -> int:
        """Through how many predictions, each made from the one before it, a backward pass goes."""
        return 1

    @abstractmethod
    def learned(self, edits: int) -> int:
        """How many of an input's G edits it learns from, together in one backward pass."""

    @abstractmethod
    def terms(self, noisy: int) -> int:
        """How many backward passes an input takes in an epoch, of a schedule with so many noisy steps."""

    @abstractmethod
    def work(self, noisy: int, edits: int) -> Work:
        """What an input costs."""

    @abstractmethod
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
        """What a step's updates need beside the rollout, found once, before them.

        Args:
            rollout: of N inputs, one process's share.
            totals: [N, G], see `simedit.training.feedback.Feedback`.
            seeds: of each input, for whatever is drawn.
            first: whether the policy is its reference, for nothing was learned yet.
            batch_size, tick: as `simedit.training.update.under_copy`'s.

        Returns:
            Tensors on the CPU, of N rows each.
        """

    @abstractmethod
    def loss(
        self,
        setting: Setting,
        conditioning: Conditioning,
        latents: Tensor,
        prepared: Mapping[str, Tensor],
        term: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """[N], and by name [N] of what is `watched`, without gradients.

        Args:
            conditioning: of the N inputs, once for each edit that is learned from (`rollout.repeated`).
            latents: the rollout's, on the policy's device.
            prepared: what `prepare` gave of these inputs.
            term: 0 to `terms` - 1.
        """

    def finish(self, policy: Policy, step: int) -> None:
        """After a step's updates: what becomes of the `copies`.

        Args:
            step: how many steps are done, this one among them.
        """


def _found() -> tuple[type[Objective], ...]:
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Objective) and value.__module__ == module.__name__
    )


if TYPE_CHECKING:
    AnyObjective = Objective
else:  # the type of a config's field that takes any objective
    AnyObjective = Annotated[reduce(or_, _found()), Field(discriminator="kind")]
