"""How long a build still takes, from how long the one that ships took."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from simedit.errors import SimeditError
from simedit.packaged import lab_data
from simedit.progress import left_in_words

if TYPE_CHECKING:
    from simedit.lab.build import Plan

_SIZES: dict[str, Callable[[dict[str, Any]], float]] = {
    "pairs": lambda plan: plan["scenes"] + plan["pictures"],
    "autoencoder": lambda plan: plan["vae_steps"] * plan["vae_batch"],
    "latents": lambda plan: sum(plan["pairs"]),
    "base": lambda plan: plan["base_steps"] * plan["base_batch"],
    "specialists": lambda plan: len(plan["styles"]),
    "distilled": lambda plan: len(plan["styles"]),
    "quality": lambda plan: len(plan["styles"]),
    "demonstrations": lambda plan: plan["episodes"],
    "real": lambda plan: len(plan["poses"]) * plan["seeds"],
}
"""How much work a stage is by a plan; others take what they take."""
_TRUSTED = 10.0
"""Minutes that the card counts for beside what was measured: a small stage mostly starts processes."""


class Remaining:
    """The time that chains of stages, which go on side by side, still take.

    Args:
        plan: of the build.
        chains: the names of their stages.
    """

    def __init__(self, plan: Plan, chains: Sequence[Sequence[str]]) -> None:
        self._expected: dict[str, float] = {}
        self._chains = chains
        self._begun: dict[str, float] = {}
        self._took: dict[str, float] = {}
        with suppress(SimeditError):  # a package without weights, whose build tells nothing
            card = json.loads(lab_data("card.json").read_text(encoding="utf-8"))
            ours, theirs = plan.model_dump(mode="json"), card["plan"]
            for name, stage in card["stages"].items():
                size = _SIZES.get(name, lambda plan: 1)
                self._expected[name] = stage["minutes"] * size(ours) / size(theirs)

    def begun(self, name: str) -> None:
        self._begun[name] = monotonic()

    def ended(self, name: str, minutes: float) -> None:
        self._took[name] = minutes

    def in_words(self) -> str:
        """Such as "about 4 min left in all"; empty if nothing is left, or nobody knows."""
        known = self._took.keys() & self._expected.keys()
        expected = sum(self._expected[name] for name in known)
        pace = (sum(self._took[name] for name in known) + _TRUSTED) / (expected + _TRUSTED)
        left = max(sum(self._left(name, pace) for name in chain) for chain in self._chains)
        return f"{words} in all" if (words := left_in_words(60 * left)) else ""

    def _left(self, name: str, pace: float) -> float:
        if name in self._took:
            return 0.0
        since = (monotonic() - self._begun[name]) / 60 if name in self._begun else 0.0
        return max(0.0, self._expected.get(name, 0.0) * pace - since)
