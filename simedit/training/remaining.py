"""How long a training still takes, from what its phases took so far."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic


class Remaining:
    """Told what a training tells `show`, knows how much of it is left.

    Phases that are not of every training step, such as a warm start, have a time of their own and none in the
    whole.

    Args:
        weights: the phases of a training step in their order, and what they are taken to cost until they
            were measured.
        skipped: one of them that the first step does without.

    Attributes:
        weights: as given.
        step, steps: steps done, and of how many.
        phase: the one in progress; None between steps.
    """

    def __init__(self, weights: Mapping[str, float], skipped: str | None = None):
        self.step = self.steps = 0
        self.phase: str | None = None
        self.weights, self._skipped = dict(weights), skipped
        self._seconds: dict[str, float] = {}  # of whole phases, as measured
        self._share = 0.0  # of the phase in progress
        self._at: float | None = None  # when anything was told last
        self._begin = (0.0, 0)  # of what is measured: when, and how much was done
        self._left: float | None = None
        self._left_of_phase: float | None = None

    def reached(self, phase: str, done: int, of: int) -> None:
        """As `show` is told."""
        now = monotonic()
        if phase == "step":
            self.step, self.steps = done, of
            self.phase, self._share = None, 0.0
            if self._at is not None:
                self._at = now
        else:
            self._measure(phase, done, of, now)
        self._left, self._left_of_phase = self._estimate()

    def left(self) -> float | None:
        """Seconds to the training's end; None while nobody knows."""
        return self._ticked(self._left)

    def left_of_phase(self) -> float | None:
        """Seconds to the end of the phase in progress; None while nobody knows."""
        return self._ticked(self._left_of_phase)

    def steps_done(self) -> float:
        """Steps, with the estimated part of the one in progress."""
        if self.phase not in self.weights or self.step >= self.steps:
            return self.step
        done, left = self._parts()
        return self.step + (done / (done + left) if left else 1.0)

    def _measure(self, phase: str, done: int, of: int, now: float) -> None:
        if phase != self.phase:
            self.phase = phase
            # What is told first may be the middle of a phase, which began before this process did.
            self._begin = (now, done) if self._at is None else (self._at, 0)
        begun, before = self._begin
        if done > before:
            self._seconds[phase] = (now - begun) / (done - before) * of
        self._share, self._at = done / max(1, of), now

    def _estimate(self) -> tuple[float | None, float | None]:
        """Seconds to the end of the training, and of the phase in progress."""
        whole = part = None
        if self.phase in self._seconds:
            part = self._seconds[self.phase] * (1 - self._share)
        if self.step >= self.steps > 0:
            whole = 0.0
        elif self._measured() and (self.phase is None or self.phase in self.weights):
            whole = self._parts()[1] + sum(self._each().values()) * (self.steps - self.step - 1)
        return whole, part

    def _measured(self) -> list[str]:
        return [phase for phase in self.weights if phase in self._seconds]

    def _each(self) -> dict[str, float]:
        """Seconds of each phase of a step; if none was measured, weights."""
        measured = self._measured()
        weight = sum(self.weights[phase] for phase in measured)
        scale = sum(self._seconds[phase] for phase in measured) / weight if measured else 1.0
        return {p: self._seconds.get(p, scale * weight) for p, weight in self.weights.items()}

    def _parts(self) -> tuple[float, float]:
        """Of the step in progress: done, left."""
        each = self._each()
        if self.step == 0 and self._skipped in each:
            each[self._skipped] = 0.0
        order = list(each)
        at = -1 if self.phase is None else order.index(self.phase)
        begun = 0.0 if self.phase is None else each[self.phase] * self._share
        done = sum(each[phase] for phase in order[: max(0, at)]) + begun
        return done, sum(each.values()) - done

    def _ticked(self, seconds: float | None) -> float | None:
        if seconds is None or self._at is None:
            return seconds
        return max(0.0, seconds - (monotonic() - self._at))
