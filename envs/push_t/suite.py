"""Push-T as a suite: push the T-shaped block onto its goal, in gym-pusht's drawing or in proxy-real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium as gym
from pydantic import Field

from simedit import extras
from simedit.envs.suite import Places, SuiteKind


class PushTSuite(SuiteKind):
    """gym-pusht's Push-T: 300 steps at 10 Hz; an action is where the agent should be, x and y in 0..512.

    Observations are {"image": uint8 [size, size, 3], "agent_pos": float64 [2], in the same units}; a policy
    with `needs = ("frame", "observation")` gets both. Success is a coverage of the goal above 0.95, which
    ends the episode, and progress the share of that. "measures" holds the coverage.

    In the domain "proxy_real" the seed draws the visit's look, and in "raw" nothing.

    Attributes:
        size: of the frames, pixels a side.
        starts: how many scenes: start N is gym-pusht's reset with the seed N. The state that comes of it
            (the agent's x and y, the block's x, y and angle) is what is read back.
    """

    kind: Literal["push_t"]
    size: int = Field(default=128, ge=64)
    starts: int = Field(default=50, gt=0)

    @property
    def max_steps(self) -> int:
        return 300  # gym-pusht's

    @property
    def tasks(self) -> Sequence[str]:
        return ("push",)

    @property
    def scenes(self) -> Mapping[str, Sequence[str]]:
        return {"start": tuple(map(str, range(self.starts)))}

    @property
    def domains(self) -> Mapping[str, Sequence[str]]:
        return {"raw": ("",), "proxy_real": ("",)}

    @property
    def realities(self) -> Sequence[str]:
        return ("proxy_real",)

    def suite(self) -> PushTSuite:
        return self

    def problems(self, places: Places) -> list[str]:
        if extras.has("gym_pusht"):
            return []
        return [f"Push-T needs gym-pusht: {extras.install('gym_pusht')}"]

    def meaning(self, places: Places) -> dict[str, Any]:
        """The settings; starts may be added to a study."""
        return self.model_dump(mode="json", exclude={"starts"})

    def editing(self) -> dict[str, Any]:
        """The mask is one of each region of `simedit.envs.push_t.scene.REGIONS`, of frames of "raw"."""
        from simedit.envs.push_t import masks

        return {"image_key": "image", "mask": {name: getattr(masks, name) for name in masks.REGIONS}}

    def make(self, domain: str, variant: str) -> gym.Env:
        """See `simedit.envs.suite.Suite.make`."""
        from simedit.envs.push_t.env import PushT

        return PushT(self.size, photographed=domain == "proxy_real")
