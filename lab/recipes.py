"""How the lab's policies are trained: differently graded skill, for a ladder would be too easy to rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simedit.envs.drawer.kitchens import KITCHENS
from simedit.envs.drawer.poses import TASKS

_NETWORK = {"features": 48}
"""Half of `NetworkConfig`'s, so that eleven policies are small enough to ship: they see as well."""


@dataclass(frozen=True)
class Recipe:
    """How a policy is trained.

    Attributes:
        eyes_steps, hand_steps: of the optimiser, first for the network that sees, then for the one that acts.
        episodes: the share of the demonstrations that it learns from, those recorded first.
        tasks: those whose episodes it learns from.
        kitchens: those whose pictures it learns from.
        augmented: whether the eyes learn from pictures of a moved robot, and both from brighter, darker and
            tinted ones; else from the episodes' own, as they are.
        network: what differs from `simedit.policies.cloned.NetworkConfig`'s defaults.
    """

    eyes_steps: int = 3000
    hand_steps: int = 1000
    episodes: float = 1.0
    tasks: tuple[str, ...] = TASKS
    kitchens: tuple[str, ...] = tuple(KITCHENS)
    augmented: bool = True
    network: Mapping[str, Any] = field(default_factory=lambda: _NETWORK)


RECIPES = {
    "last": Recipe(),
    "half": Recipe(kitchens=tuple(KITCHENS)[::2]),
    "early": Recipe(eyes_steps=300, hand_steps=200),
    "begin": Recipe(eyes_steps=20, hand_steps=20),
    "few": Recipe(episodes=0.1),
    "plain": Recipe(augmented=False),
    "reflex": Recipe(network=_NETWORK | {"recurrent": False}),
    "coarse": Recipe(network=_NETWORK | {"width": 40, "height": 32}),
    "untold": Recipe(network=_NETWORK | {"told": False}),
    "opening": Recipe(tasks=("open",)),
    "closing": Recipe(tasks=("close",)),
}
