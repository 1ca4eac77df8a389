"""From scores to preferences to a loss: the arithmetic of arXiv 2504.12833, 3.1 and 3.2, pure."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import softplus


def advantages(scores: Tensor, *, clip: float = 5.0) -> Tensor:
    """Scores normalised over all that were given, which should be a whole training step's (3.2).

    The paper's public code normalises over one sampling batch, which makes ranks depend on the batch size.

    Args:
        scores: float [N, 2]; NaN where there is none.
        clip: bound on the result.

    Returns:
        [N, 2] of zero mean and unit deviation; NaN where the score is, zero where all scores are equal.
    """
    # In float32, equal scores have a mean a little beside them, and a deviation as small.
    known = scores[scores.isfinite()].double()
    if len(known) < 2:
        return 0 * scores
    return ((scores - known.mean()) / (known.std() + 1e-8)).clamp(-clip, clip).to(scores.dtype)


def total(structural: Tensor, semantic: Tensor, *, alpha: float = 1.0, clip: float = 5.0) -> Tensor:
    """[N, 2], lower is better: the structural advantage + alpha x the semantic one (3.2)."""
    return advantages(structural, clip=clip) + alpha * advantages(semantic, clip=clip)


def d3po_loss(
    log_probs: Tensor, reference: Tensor, winner: Tensor, *, beta: float = 0.1, clamp: float = 0.1
) -> Tensor:
    """D3PO's loss of one denoising step (arXiv 2504.12833, eq. 7; arXiv 2311.13231).

    The probability ratios are clamped before beta is applied, as in the paper's public code: a pair whose
    winner is already that much likelier, and its loser that much less likely, teaches no more.

    Args:
        log_probs: [N, 2], under the policy, of the two edits' next latents: means over the latent's
            dimensions, as `simedit.samplers.step` gives them.
        reference: [N, 2], the same under the reference.
        winner: int64 [N], 0 or 1.
        beta, clamp: see simedit.training.config.UpdateConfig.

    Returns:
        [N], differentiable in log_probs.
    """
    log_ratios = (log_probs - reference).clamp(math.log1p(-clamp), math.log1p(clamp))
    better = log_ratios.gather(1, winner[:, None])
    worse = log_ratios.gather(1, 1 - winner[:, None])
    return softplus(beta * (worse - better)).squeeze(1)
