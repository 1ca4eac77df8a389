"""How many real trials a simulation is worth.

The n at which a second real evaluation, of n trials for each policy and task, has an even chance to agree
with the real rates at hand at least as well as the simulation does:

    worth = min { n : P[ m(X_n, r) is no worse than m(s, r) ] >= 1/2 },   X_n,p ~ Binomial(n, R_p) / n

with m MMRV, Pearson r or the mean absolute error, s the simulated and r the measured real rates, and R_p what
the counts behind r leave possible (Jeffreys' Beta, as in `simedit.eval.metrics.draw_counted`; r itself where
it has no counts). Both sides are held against the same noisy r, so its noise favours neither. A simulation
that is a coin with the real chances, thrown n times for each policy and task, is worth n.

Where even the most trials that are tried agree less well more often than not, real rates as they are cannot
tell the simulation from reality, and its worth has no limit: infinity here, null in JSON. MMRV has a floor:
of a simulation that shows 0 the worth is the least that it can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simedit.eval.metrics import draw_counted, mmrv, pearson_r, rank_violations
from simedit.eval.published import Rates

METRICS = ("mmrv", "pearson_r", "mae")
"""For each of these a worth: in ranking, in correlation, and in level."""
SIZES = np.unique(np.geomspace(1, 10_000, 75).round().astype(int))
"""The n that are tried."""
_DECIMALS = 12  # equal fractions must tie


def losses(sim: np.ndarray, real: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """MMRV, minus r and the mean absolute error: of each, lower is better. r counts as 0 where it is
    undefined, as SIMPLER's does.

    Args:
        sim, real: rates, float [..., P].
        weights: of the policies, float [..., P], each sum 1.

    Returns:
        float [..., 3].
    """
    r = np.nan_to_num(pearson_r(sim, real, weights))
    error = (np.abs(sim - real) * weights).sum(-1)
    return np.stack([mmrv(sim, real, weights), -r, error], -1)


class RealTrials:
    """Real evaluations that the counts of one leave possible.

    Args:
        real: the rates at hand.
        policies, tasks: those that count; rates are averaged over the tasks.
        draws: how many evaluations of each size.
        seed: of the draws.

    Attributes:
        rates: float [P], those at hand.
        perfect: float [3], the median of `losses` for a simulation without any error: the noise of the rates
            at hand alone.
    """

    def __init__(
        self, real: Rates, policies: Sequence[str], tasks: Sequence[str], *, draws: int, seed: int
    ) -> None:
        random = np.random.default_rng((seed, 77))
        count = len(policies)
        again, exact, self.rates = (
            np.zeros((len(SIZES), draws, count)),
            np.zeros((draws, count)),
            np.zeros(count),
        )
        for p, policy in enumerate(policies):
            for t, task in enumerate(tasks):
                rate, counts = real.policies[policy].rate(task), real.policies[policy].counts(task)
                assert rate is not None
                chance = np.full(draws, rate)
                if counts is not None:
                    chance = draw_counted(counts.successes, counts.n, draws=draws, seed=(seed, 78, p, t))
                again[..., p] += random.binomial(SIZES[:, None], chance) / SIZES[:, None] / len(tasks)
                exact[:, p] += chance / len(tasks)
                self.rates[p] += rate / len(tasks)
        again, self.rates = again.round(_DECIMALS), self.rates.round(_DECIMALS)
        alike = np.full(count, 1 / count)
        self.perfect = np.median(losses(exact, self.rates, alike), 0)
        # What any weights need, so that many can be tried: [N, draws, P] each.
        self._again, self._worst = again, rank_violations(again, self.rates)
        self._square, self._error = again**2, np.abs(again - self.rates)

    def worth(self, sims: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What simulated rates are worth, infinity where there is no limit.

        Args:
            sims: float [B, A, P].
            weights: of the policies, float [B, P], each sum 1.

        Returns:
            float [B, A, 3], for each of METRICS.
        """
        own = losses(sims, self.rates, weights[:, None]) + 10.0**-_DECIMALS
        found = np.empty(own.shape)
        for b, share in enumerate(weights):
            as_well = (self._losses(share)[:, :, None] <= own[b]).mean(1) >= 0.5  # [N, A, 3]
            found[b] = np.where(as_well.any(0), SIZES[as_well.argmax(0)], np.inf)
        return found

    def _losses(self, share: np.ndarray) -> np.ndarray:
        """`losses` of every evaluation under the same weights, float [N, draws, 3]."""
        mean, real = self._again @ share, self.rates @ share
        across = self._again @ (share * self.rates) - mean * real
        spread = (self._square @ share - mean**2) * (self.rates**2 @ share - real**2)
        r = np.divide(across, np.sqrt(spread.clip(0)), out=np.zeros_like(across), where=spread > 1e-12)
        return np.stack([self._worst @ share, -r.clip(-1, 1), self._error @ share], -1)
