"""How much work the Push-T study does, and the kinds of pictures that policies learn from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

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
