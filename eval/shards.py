"""A study in parts, one a machine: which trials each plays."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simedit.errors import SimeditError
from simedit.eval.trials import Trial


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`, from 1 on."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "3/16".

        Raises:
            SimeditError: it is no such thing.
        """
        if found := re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text):
            number, count = map(int, found.groups())
            if 1 <= number <= count:
                return cls(number, count)
        raise SimeditError(f"--shard is K/N with 1 <= K <= N < 100000, such as 3/16, not {text!r}")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, wanted: Iterable[Trial]) -> list[Trial]:
        """This shard's trials, in the order of `wanted`.

        Each trial is in exactly one of the shards, whatever the order of `wanted` is. Shards share each
        policy's trials of a domain and style evenly, and neighbours stay together, so that each builds few
        variants.
        """
        wanted = list(wanted)
        groups: dict[tuple[str, str, str], list[Trial]] = {}
        for trial in wanted:
            groups.setdefault((trial.policy, trial.domain, trial.style), []).append(trial)
        keys = sorted(groups)
        mine: set[Trial] = set()
        for key, extra in zip(
            keys, _extras(keys, [len(groups[key]) for key in keys], self.count), strict=True
        ):
            group = sorted(groups[key], key=lambda t: (t.variant, t.task, t.scene, t.seed))
            ends = np.cumsum(len(group) // self.count + extra)
            mine.update(group[ends[self.number - 2] if self.number > 1 else 0 : ends[self.number - 1]])
        return [trial for trial in wanted if trial in mine]


def _extras(keys: list[tuple[str, str, str]], sizes: list[int], count: int) -> np.ndarray:
    """Which shards get one trial more than others, of the trials of each group that do not go up in them.

    Sought is the least sum of squares of how many more each shard has got: in all, of each policy, domain and
    style. Whole numbers only, so it is the same on every machine.

    Returns:
        int64 [groups, count] of 0 and 1.
    """
    chosen = np.zeros((len(keys), count), np.int64)
    sums: dict[tuple[str, ...], np.ndarray] = {}
    better = True
    while better:
        better = False
        for row, size, (policy, domain, style) in zip(chosen, sizes, keys, strict=True):
            of = [("all",), ("policy", policy), ("domain", domain), ("style", domain, style)]
            held = [sums.setdefault(key, np.zeros(count, np.int64)) for key in of]
            for one in held:
                one -= row
            # What is evened out in all comes first: it is what a shard costs.
            cost = np.sum(held, axis=0) + held[0]
            first = np.lexsort((np.arange(count), cost))[: size % count]
            if row.sum() < len(first) or cost[first].sum() < cost[row == 1].sum():
                row[:], better = 0, True
                row[first] = 1
            for one in held:
                one += row
    return chosen
