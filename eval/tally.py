"""How a run goes: what ended, what was tried again, and how long the rest takes by what trials took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from simedit.eval.trials import Result, Trial

OUTCOMES = ("success", "failure", "error")


class Tally:
    """Counts a run's trials as they end.

    Args:
        todo: the trials of this run.
        stored: results that were there before.
        workers: how many trials are played at once.

    Attributes:
        total, ended: trials of this run.
        counts: how many trials of each domain have each outcome, earlier ones among them.
        retries: how many attempts died and are tried again.
        last: the trial that ended last.
    """

    def __init__(self, todo: Sequence[Trial], stored: Mapping[Trial, Result], workers: int) -> None:
        self.total, self.ended, self.retries, self.workers = len(todo), 0, 0, workers
        self.last: Trial | None = None
        again = set(todo)
        self.counts: dict[str, Counter[str]] = {trial.domain: Counter() for trial in todo}
        for trial, result in stored.items():
            if trial not in again:
                self.counts.setdefault(trial.domain, Counter())[result.outcome] += 1
        self._to_go = Counter(trial.domain for trial in todo)
        self._took: dict[str, list[float]] = {}
        self._at = monotonic()

    def finished(self, result: Result, seconds: float) -> None:
        """A trial has ended for this run, after so long."""
        domain = result.trial.domain
        self.ended, self.last, self._at = self.ended + 1, result.trial, monotonic()
        self.counts[domain][result.outcome] += 1
        self._to_go[domain] -= 1
        self._took.setdefault(domain, []).append(seconds)

    def postponed(self, result: Result, seconds: float) -> None:
        """An attempt died; its trial comes again."""
        self.retries += 1

    def left(self) -> float | None:
        """Seconds: the mean of each domain's trials for those to go there, shared by the workers. A domain of
        which none has ended counts as the slowest; None before any has."""
        means = {domain: sum(took) / len(took) for domain, took in self._took.items()}
        if not means:
            return None if self.total else 0.0
        slowest = max(means.values())
        rest = sum(count * means.get(domain, slowest) for domain, count in self._to_go.items())
        return max(0.0, rest / self.workers - (monotonic() - self._at))

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        left = self.left()
        return {
            "ended": self.ended,
            "total": self.total,
            "retries": self.retries,
            "workers": self.workers,
            "seconds_left": None if left is None else round(left, 1),
            "domains": {
                domain: {outcome: counts[outcome] for outcome in OUTCOMES}
                | {"to_go": self._to_go[domain], "success_rate": rate(counts)}
                for domain, counts in self.counts.items()
            },
        }


def rate(counts: Mapping[str, int]) -> float | None:
    """The share of successes among trials that are no errors; None without any."""
    played = counts["success"] + counts["failure"]
    return counts["success"] / played if played else None
