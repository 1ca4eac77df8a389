"""The feedback: scores to advantages, and what they say of edits (arXiv 2504.12833, 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Feedback:
    """What the scores of a step's edits, G of each of N inputs, come to.

    Attributes:
        totals: [N, G], lower is better; minus it is the edits' advantage.
        lost: bool [N], inputs of which an edit has no score.
    """

    totals: Tensor
    lost: Tensor

    @property
    def margins(self) -> Tensor:
        """[N], how far apart the best and the worst edit of an input are; NaN without a score."""
        return self.totals.amax(1) - self.totals.amin(1)

    @property
    def useful(self) -> Tensor:
        """bool [N]: equally good edits teach nothing, nor do those without a score."""
        return (self.margins > 0) & ~self.lost

    @property
    def best(self) -> Tensor:
        """int64 [N], the best edit of each input."""
        return self.totals.nan_to_num(torch.inf).argmin(1)


def feedback(scores: Mapping[str, Tensor], weights: Mapping[str, float], *, clip: float = 5.0) -> Feedback:
    """Add up the advantages of all scores, each by its weight (3.2).

    Args:
        scores: by name float [N, G] of a whole step; NaN or infinite where there is none.
        weights: of the same names.
        clip: bound on each advantage.
    """
    parts = [weights[name] * advantages(score, clip=clip) for name, score in scores.items()]
    finite = torch.stack([score.isfinite().all(1) for score in scores.values()])
    return Feedback(torch.stack(parts).sum(0), ~finite.all(0))


def advantages(scores: Tensor, *, clip: float = 5.0) -> Tensor:
    """Scores normalised over all that were given, which should be a whole training step's (3.2).

    The paper's public code normalises over one sampling batch, which makes ranks depend on the batch size.

    Args:
        scores: float [N, G]; NaN where there is none.
        clip: bound on the result.

    Returns:
        [N, G] of zero mean and unit deviation; NaN where the score is, zero where all scores are equal.
    """
    # In float32, equal scores have a mean a little beside them, and a deviation as small.
    known = scores[scores.isfinite()].double()
    if len(known) < 2:
        return 0 * scores
    return ((scores - known.mean()) / (known.std() + 1e-8)).clamp(-clip, clip).to(scores.dtype)


def best_and_worst(totals: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [N, 2], which two of each input's edits are the best and the worst, in ascending order; and int64
    [N], 0 or 1, which of the two is the best.

    Args:
        totals: [N, G], lower is better.
    """
    best, worst = totals.nan_to_num(torch.inf).argmin(1), totals.argmax(1)
    return torch.stack([best, worst], 1).sort(1).values, (best > worst).long()
