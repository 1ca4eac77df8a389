"""The feedback: scores to advantages, and what they say of edits (arXiv 2504.12833, 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simedit.training.config import ScoresConfig

Newest = Mapping[str, Tensor]
"""Of the baseline "prompt": float32 [M] by "score.wording", its newest finite scores, the oldest first."""


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


def judged(
    config: ScoresConfig, scores: Mapping[str, Tensor], wording: Tensor, newest: Newest
) -> tuple[Feedback, dict[str, Tensor]]:
    """The feedback of a training step, and the scores that the next one has to know.

    Args:
        config: has the weights and the baseline: the whole step (3.2), the edits of one input (GRPO, arXiv
            2402.03300, 4.1.2), or a wording's newest scores (as ddpo-pytorch tracks prompts' statistics).
        scores: by name float [N, G] of the whole step; NaN or infinite where there is none.
        wording: int64 [N].
        newest: what the step before gave.
    """
    among: dict[str, Sequence[Tensor]] = {}
    known = dict(newest)
    if config.baseline == "input":
        among = {name: [*score] for name, score in scores.items()}
    elif config.baseline == "prompt":
        for name, score in scores.items():
            keys = [f"{name}.{which}" for which in wording.tolist()]
            for key, row in zip(keys, score.float(), strict=True):
                both = torch.cat([known.get(key, row[:0]), row[row.isfinite()]])
                known[key] = both[-config.buffer_size :]
            among[name] = [known[k] if len(known[k]) >= config.min_count else score for k in keys]
    return feedback(scores, config.weights, clip=config.clip, among=among), known


def feedback(
    scores: Mapping[str, Tensor],
    weights: Mapping[str, float],
    *,
    clip: float = 5.0,
    among: Mapping[str, Sequence[Tensor]] | None = None,
) -> Feedback:
    """Add up the advantages of all scores, each by its weight (3.2).

    Args:
        scores: by name float [N, G] of a whole step; NaN or infinite where there is none.
        weights: of the same names.
        clip: bound on each advantage.
        among: by name, as `advantages`'s; of no name, all of the step.
    """
    sets = among or {}
    parts = [weights[n] * advantages(score, clip=clip, among=sets.get(n)) for n, score in scores.items()]
    finite = torch.stack([score.isfinite().all(1) for score in scores.values()])
    return Feedback(torch.stack(parts).sum(0), ~finite.all(0))


def advantages(scores: Tensor, *, clip: float = 5.0, among: Sequence[Tensor] | None = None) -> Tensor:
    """Scores normalised over all that were given, which should be a whole training step's (3.2).

    The paper's public code normalises over one sampling batch, which makes ranks depend on the batch size.

    Args:
        scores: float [N, G]; NaN where there is none.
        clip: bound on the result.
        among: N sets of scores, each of any shape, over which those of one input are normalised instead.

    Returns:
        [N, G] of zero mean and unit deviation; NaN where the score is, zero where all scores are equal.
    """
    if among is not None:
        return torch.stack([_normalised(row, of, clip) for row, of in zip(scores, among, strict=True)])
    return _normalised(scores, scores, clip)


def _normalised(scores: Tensor, among: Tensor, clip: float) -> Tensor:
    # In float32, equal scores have a mean a little beside them, and a deviation as small.
    known = among[among.isfinite()].double()
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
