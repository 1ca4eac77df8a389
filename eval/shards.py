"""A study in parts, one a machine: which trials each plays."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from simedit.errors import SimeditError
from simedit.eval.trials import Trial

_Sums = dict[tuple[str, ...], np.ndarray]


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
    style. First each group chooses anew while that helps, then pairs of groups exchange shards. Whole numbers
    only, so it is the same on every machine.

    Returns:
        int64 [groups, count] of 0 and 1.
    """
    chosen = np.zeros((len(keys), count), np.int64)
    margins = [
        {("all",), ("policy", policy), ("domain", domain), ("style", domain, style)}
        for policy, domain, style in keys
    ]
    sums = {margin: np.zeros(count, np.int64) for of in margins for margin in of}
    while sum(_choose(*group, sums) for group in zip(chosen, sizes, margins, strict=True)):
        pass
    pairs = list(itertools.combinations(range(len(keys)), 2))
    while sum(_exchange(chosen[i], chosen[j], margins[i], margins[j], sums) for i, j in pairs):
        pass
    return chosen


def _choose(row: np.ndarray, size: int, of: set[tuple[str, ...]], sums: _Sums) -> bool:
    """Give a group's extra trials to the shards that have least; whether that was better."""
    for margin in of:
        sums[margin] -= row
    # What is evened out in all counts twice: it is what a shard costs.
    cost = np.sum([sums[margin] for margin in of], axis=0) + sums[("all",)]
    first = np.lexsort((np.arange(len(row)), cost))[: size % len(row)]
    better = row.sum() < len(first) or cost[first].sum() < cost[row == 1].sum()
    if better:
        row[:] = 0
        row[first] = 1
    for margin in of:
        sums[margin] += row
    return bool(better)


def _exchange(
    row: np.ndarray, other: np.ndarray, of: set[tuple[str, ...]], others: set[tuple[str, ...]], sums: _Sums
) -> bool:
    """Let two groups exchange two shards; whether that was better."""
    giving, taking = np.flatnonzero(row > other), np.flatnonzero(other > row)
    if not len(giving) or not len(taking):
        return False
    # What both count in stays as it is.
    ours, theirs = of - others, others - of
    cost = np.sum([sums[m] for m in ours], axis=0) - np.sum([sums[m] for m in theirs], axis=0)
    a, b = giving[np.argmax(cost[giving])], taking[np.argmin(cost[taking])]
    better = cost[b] - cost[a] + len(ours) + len(theirs) < 0
    if better:
        move = np.zeros_like(row)
        move[a], move[b] = -1, 1
        row += move
        other -= move
        for margin in ours:
            sums[margin] += move
        for margin in theirs:
            sums[margin] -= move
    return bool(better)
