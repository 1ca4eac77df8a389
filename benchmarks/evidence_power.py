"""What a study such as benchmarks/evidence.py can show: many are simulated whose truth is known; minutes.

python benchmarks/evidence_power.py --policies 8 12 --real 54 108 216
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from simedit.errors import run_cli
from simedit.eval.evidence import LEVEL, TESTED, Draws, advantages
from simedit.eval.metrics import mmrv, pearson_r
from simedit.eval.published import Rates, TaskRates
from simedit.eval.rates_file import Counts
from simedit.eval.terminal import print_table

# A simulated study: a policy succeeds in a situation with a chance whose log-odds are its skill, the
# situation's ease and how the two go together, shared by reality and simulations; a simulation adds errors of
# its own, for each policy and task and for each situation of these.
SITUATIONS, SEEDS, TASKS = 27, (6, 3), ("open", "close")
"""Of a task; trials of the two arms in each, edited and photographs."""


def chances(
    random: np.random.Generator, policies: int, errors: Sequence[float], situations: int = SITUATIONS
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Chances of success, float [P, task, situation], in reality and in simulations with such errors."""

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape)

    skill = np.linspace(-3, 3, policies)[:, None, None] + 0.8 * normal(policies, 2, 1)
    odds = skill + normal(1, 2, situations) + normal(policies, 2, situations)
    sims = [odds + e * normal(policies, 2, 1) + 0.7 * normal(policies, 2, situations) for e in errors]
    return _share(odds), [_share(each) for each in sims]


def truth(random: np.random.Generator, policies: int, errors: Sequence[float]) -> dict[str, float]:
    """The mean advantage of the first simulation over the second, without sampling."""
    found = []
    for _ in range(400):
        real, sims = chances(random, policies, errors, 400)
        one, two, rates = (each.mean((1, 2)) for each in (*sims, real))
        found.append([mmrv(two, rates) - mmrv(one, rates), pearson_r(one, rates) - pearson_r(two, rates)])
    return dict(zip(TESTED, map(float, np.mean(found, 0)), strict=True))


def drawn(
    random: np.random.Generator, policies: int, real_trials: int, errors: Sequence[float], draws: int
) -> Draws:
    """A study of those chances: two arms, and so many real trials for each policy and task."""
    real, sims = chances(random, policies, errors)
    names = [str(p) for p in range(policies)]
    won = random.binomial(real_trials, real.mean(-1))
    rates = {
        name: TaskRates(
            {task: Counts(successes=int(won[p, t]), n=real_trials) for t, task in enumerate(TASKS)}
        )
        for p, name in enumerate(names)
    }
    played = {}
    for t, task in enumerate(TASKS):
        held = np.stack([np.full((policies, SITUATIONS), seeds) for seeds in SEEDS])
        played[task] = random.binomial(held, np.stack([sim[:, t] for sim in sims])), held
    return Draws(played, Rates(source="simulated", policies=rates), names, draws)


def rates_of_claims(
    policies: int,
    real_trials: int,
    errors: Sequence[float],
    studies: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Over simulated studies, for MMRV and r: the true advantage, how often an interval holds it, and how
    often it is claimed, the corrected p being below 0.05."""
    random = np.random.default_rng(seed)
    true = truth(random, policies, errors)
    blocks = [advantages(drawn(random, policies, real_trials, errors, draws), TASKS) for _ in range(studies)]
    return {
        metric: {
            "true": true[metric],
            "held": float(np.mean([_holds(block[metric]["ci"], true[metric]) for block in blocks])),
            "claimed": float(np.mean([block[metric]["p_holm"] < LEVEL for block in blocks])),
        }
        for metric in TESTED
    }


def _holds(ci: Sequence[float], value: float) -> bool:
    return ci[0] - 0.002 <= value <= ci[1] + 0.002  # the truth has an error of its own


def _share(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def power(policies: Sequence[int], real_trials: Sequence[int], studies: int) -> None:
    rows = []
    for errors, count, n in itertools.product(((0.7, 0.7), (0.45, 0.9), (0.3, 1.2)), policies, real_trials):
        for metric, found in rates_of_claims(count, n, errors, studies).items():
            study = [" / ".join(map(str, errors)), count, n, {"mmrv": "MMRV", "pearson_r": "r"}[metric]]
            rows.append([*study, f"{found['true']:+.3f}", f"{found['held']:.2f}", f"{found['claimed']:.2f}"])
    print("Errors: of log-odds, of the edited arm / of photographs. Held: by 95 % intervals.")
    print_table(["errors", "policies", "real trials", "in", "advantage", "held", "claimed"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policies", type=int, nargs="*", default=[8, 12], help="how many")
    parser.add_argument(
        "--real", type=int, nargs="*", default=[54, 108, 216], help="trials a policy and task"
    )
    parser.add_argument("--studies", type=int, default=300, help="of each kind")
    args = parser.parse_args()
    power(args.policies, args.real, args.studies)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
