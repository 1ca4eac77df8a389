"""How much work the Push-T study does, and the kinds of pictures that policies learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from simedit.config import Config
from simedit.policies.flow import FlowConfig

ARMS = {
    "raw": "the simulation's pictures",
    "colours": "those, each region in random colours",
    "laid": "those, the photographs of the table and the block laid on them without diffusion",
    "edited": "those, edited",
    "proxy_real": "as many episodes in proxy-real",
}
"""What policies are pretrained on: pictures of the same episodes, but for the last."""

SHIPPED = ("raw", "edited")
"""Those whose policies ship."""


class Source(Config):
    """A LeRobot dataset of Push-T, and where in it positions in the table's plane are.

    Attributes:
        dataset: its folder.
        hub: where it can be downloaded, for who lacks it.
        first: the first episode that is taken.
        camera: the feature that a policy sees; needed where there are several.
        state, action: the columns that hold positions, float [..., A].
        numbers: which numbers of each are x and y.
        signs: 1, or -1 where an axis points the other way than in the raw pictures.
        relative: whether actions are added to the state, or are places themselves.
        crop: the square of a frame that shows the table: top, left and side, pixels. By default a frame that
            is no square is squeezed into one.
    """

    dataset: Path
    hub: str | None = None
    first: NonNegativeInt = 0
    camera: str | None = None
    state: str = "observation.state"
    action: str = "action"
    numbers: tuple[NonNegativeInt, NonNegativeInt] = (0, 1)
    signs: tuple[Literal[1, -1], Literal[1, -1]] = (1, 1)
    relative: bool = False
    crop: tuple[NonNegativeInt, NonNegativeInt, PositiveInt] | None = None


class Data(Config):
    """Datasets in place of the expert's episodes, and a recipe in place of one trained for proxy-real.

    Positions are taken less the mean and by the spread of a dataset's own states (of `held_out` by those of
    `pool`): simulation and robot measure the table in different units.

    Attributes:
        raw: gym-pusht's pictures, in its own flat colours.
        pool, held_out: the real world's, to learn from and to judge by.
        recipe: what edits: a folder of `simedit-train recipe`, its passes' regions background and block.
    """

    raw: Source
    pool: Source
    held_out: Source
    recipe: Path


class Plan(Config):
    """How much work a study does.

    Attributes:
        seed: of everything drawn.
        episodes: that policies are pretrained on; "edited" and "laid" are the raw ones.
        held_out: episodes in proxy-real that nothing learns from.
        pool: episodes in proxy-real that an untrained policy passes over once; the first are "proxy_real"'s.
        tuned: how many of these pretrained policies are tuned with.
        policies: of each arm, which differ in their seed.
        steps, tuned_steps: of a pretraining and a tuning, batches of 128 frames.
        starts: of the episodes in proxy-real that each policy plays.
        network: the policies' size.
        training: settings of the specialists' trainings, as `simedit-train --set`.
        data: datasets of one's own. Nothing is trained to edit then, and nothing is played, for a dataset
            cannot be played in; `episodes`, `held_out` and `pool` are at most how many are taken.
        shipped: whether the recipe and the policies are those that ship, in place of a training.
    """

    seed: NonNegativeInt = 0
    episodes: PositiveInt = 200
    held_out: Annotated[int, Field(ge=2)] = 40
    pool: PositiveInt = 400
    tuned: PositiveInt = 10
    policies: PositiveInt = 3
    steps: PositiveInt = 5000
    tuned_steps: PositiveInt = 500
    starts: PositiveInt = 50
    network: FlowConfig = FlowConfig(hidden=96, blocks=2)
    training: tuple[str, ...] = ()
    data: Data | None = None
    shipped: bool = False

    @model_validator(mode="after")
    def _fitting(self) -> Plan:
        if self.data is not None and self.shipped:
            raise ValueError("policies that ship know the lab's episodes alone: give data or shipped")
        if self.data is not None:
            pool, held_out = self.data.pool, self.data.held_out
            overlap = pool.first < held_out.first + self.held_out and held_out.first < pool.first + self.pool
            if pool.dataset == held_out.dataset and overlap:
                raise ValueError("pool and held_out have episodes in common: set data.held_out.first or pool")
        return self
