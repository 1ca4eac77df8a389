"""How well simulated rates predict real ones, in ranking and in level, and whether one arm does so better.

Whatever is uncertain is drawn anew in each draw, the same for all arms: the situations, weighed by the
Bayesian bootstrap, with Jeffreys' prior on each rate (`simedit.eval.metrics.draw_rates`); the real rates, if
they are counts; and the policies, by Dirichlet weights, which are the Bayesian bootstrap too. So a difference
speaks of policies like these and situations like these, and not of these alone. Policies are weighed and not
drawn with replacement, for a draw that misses some has fewer ranks to violate.
`python benchmarks/evidence_power.py` says how often such intervals hold the truth and such tests find a
difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simedit.eval.arms import Arm, alike, common, counts
from simedit.eval.compare import real_draws
from simedit.eval.fingerprints import differences
from simedit.eval.metrics import draw_rates, interval, mmrv, pearson_r
from simedit.eval.paired import holm
from simedit.eval.published import Rates
from simedit.eval.worth import METRICS, RealTrials, losses

SCHEMA = 1
DRAWS, WORTH_DRAWS, EVALUATIONS = 20_000, 400, 500
"""For intervals; of these for intervals of worths; real evaluations of each size."""
LEVEL = 0.05
TESTED = ("mmrv", "pearson_r")
"""The metrics that a claim is about: both are tested, with Holm's correction for two."""
_DECIMALS = 12


def evidence(arms: Sequence[Arm], contrasts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What `simedit-eval evidence --json` prints: plain JSON, a function of what is stored alone.

    "arms" has of each arm a block for each task and, with several, "average": the policies' rates with their
    errors, simulated less real; MMRV, r, the mean absolute error ("mae") and the mean error ("bias"); and how
    many real trials it is "worth" (`simedit.eval.worth`). "perfect" has of each block what a simulation
    without error would show, for the real rates have noise.

    "contrasts" has of each pair the first's advantage over the second, above 0 where it predicts better: MMRV
    and the mean absolute error of the second less the first's, r of the first less the second's, with
    intervals, a one-sided p of each advantage and, of MMRV and r, "p_holm"; and how many more real trials the
    first is worth ("saved"). Compared are trials of the seeds and, where both are edited, of the styles that
    both have. Where the first alone has several styles, "one_style" has the mean of what each style by itself
    shows: as many trials as the second has.

    Args:
        arms: one or more.
        contrasts: pairs of their names.

    Raises:
        SimeditError: fewer than three policies in common, unknown or differing real rates, or too few
            situations.
    """
    policies, tasks = common(arms)
    real, named = arms[0].real, {arm.name: arm for arm in arms}
    wholes = [[task] for task in tasks] + ([list(tasks)] if len(tasks) > 1 else [])
    trials = {
        _name(whole): RealTrials(real, policies, whole, draws=EVALUATIONS, seed=1 + len(whole))
        for whole in wholes
    }

    def drawn_of(some: Sequence[Arm]) -> Draws:
        return Draws({task: counts(some, policies, task) for task in tasks}, real, policies, DRAWS)

    drawn = drawn_of(arms)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "policies": list(policies),
        "tasks": list(tasks),
        "real": {"name": real.label, "stand_in": real.stand_in, "source": real.source},
        "perfect": {
            name: dict(zip(METRICS, _signed(of.perfect), strict=True)) for name, of in trials.items()
        },
        "arms": [
            {
                "name": arm.name,
                "trials": sum(outcome != "error" for outcome in arm.outcomes.values()),
                "wanted": arm.wanted,
                "seeds": arm.seeds,
                "styles": arm.styles,
                "blocks": {_name(whole): _block(drawn, a, whole, trials[_name(whole)]) for whole in wholes},
            }
            for a, arm in enumerate(arms)
        ],
        "contrasts": [],
    }
    for first, second in contrasts:
        one, two = alike(named[first], named[second])
        pair = drawn_of([one, two])
        contrast: dict[str, Any] = {"arm": first, "against": second, "seeds": one.seeds, "styles": one.styles}
        contrast["blocks"] = {
            _name(whole): advantages(pair, whole) | {"saved": _saved(pair, whole, trials[_name(whole)])}
            for whole in wholes
        }
        if len(one.styles) > 1 and not two.styles:
            parts = drawn_of([*(one.only(styles=[style]) for style in one.styles), two])
            contrast["one_style"] = {_name(whole): advantages(parts, whole) for whole in wholes}
        found["contrasts"].append(contrast)
    return found | {"warnings": list(_warnings(arms, policies, found))}


class Draws:
    """Rates of arms, and what may as well have been: see the module.

    Args:
        counts: from task to successes and trials, int [A, P, U] each.
        real: the policies' rates.
        draws: how many.

    Attributes:
        weights: of the policies, float [draws, P], each sum 1.
    """

    def __init__(
        self,
        counts: Mapping[str, tuple[np.ndarray, np.ndarray]],
        real: Rates,
        policies: Sequence[str],
        draws: int,
    ) -> None:
        self.policies, self.counts, self._real = policies, counts, real
        tasks = list(counts)
        self._sims = {
            task: draw_rates(*counts[task], draws=draws, seed=seed) for seed, task in enumerate(tasks)
        }
        self._reals = {task: real_draws(real, policies, task, tasks, draws=draws) for task in tasks}
        self.weights = np.random.default_rng((len(tasks), 99)).dirichlet(np.ones(len(policies)), draws)

    def sims(self, whole: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the tasks' rates, float [A, P], and draws of it, float [draws, A, P]."""
        rates = [won.sum(-1) / held.sum(-1) for won, held in (self.counts[task] for task in whole)]
        return np.mean(rates, 0).round(_DECIMALS), np.mean([self._sims[task] for task in whole], 0)

    def reals(self, whole: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The same of the real rates, float [P] and [draws, P]."""
        rates = [[self._real.policies[policy].rate(task) for policy in self.policies] for task in whole]
        return np.mean(np.array(rates, float), 0).round(_DECIMALS), np.mean(
            [self._reals[t] for t in whole], 0
        )

    @property
    def alike(self) -> np.ndarray:
        """Weights that are all alike, float [P]."""
        return np.full(len(self.policies), 1 / len(self.policies))


def _name(whole: Sequence[str]) -> str:
    return whole[0] if len(whole) == 1 else "average"


def _signed(found: np.ndarray) -> list[float]:
    """`losses` as they are known: r is better the higher it is."""
    return [float(found[0]), float(-found[1]), float(found[2])]


def _block(drawn: Draws, a: int, whole: Sequence[str], trials: RealTrials) -> dict[str, Any]:
    (sims, drawn_sims), (real, drawn_real) = drawn.sims(whole), drawn.reals(whole)
    sim, some = sims[a], drawn_sims[:, a]
    entries = {
        policy: {
            "sim": float(sim[p]),
            "real": float(real[p]),
            "error": float(sim[p] - real[p]),
            "error_ci": interval(some[:, p] - drawn_real[:, p], float(sim[p] - real[p])),
            "n": int(sum(drawn.counts[task][1][a, p].sum() for task in whole)),
        }
        for p, policy in enumerate(drawn.policies)
    }
    found: dict[str, Any] = {"mmrv": None, "mmrv_ci": None, "pearson_r": None, "pearson_r_ci": None}
    metrics: Mapping[str, Callable[..., np.ndarray]] = {"mmrv": mmrv, "pearson_r": pearson_r}
    for key, metric in metrics.items():
        if np.ptp(real) > 0 and np.isfinite(value := float(metric(sim, real))):
            found[key] = value
            found[f"{key}_ci"] = interval(metric(some, drawn_real, drawn.weights), value)
    worth = trials.worth(sim[None, None], drawn.alike[None])[0, 0]
    drawn_worth = trials.worth(some[:WORTH_DRAWS, None], drawn.weights[:WORTH_DRAWS])[:, 0]
    return {
        **found,
        "mae": float(np.abs(sim - real).mean()),
        "bias": float((sim - real).mean()),
        "worth": {
            metric: {"trials": _limit(worth[m]), "ci": _ends(drawn_worth[:, m], worth[m])}
            for m, metric in enumerate(METRICS)
        },
        "policies": entries,
    }


def advantages(pair: Draws, whole: Sequence[str]) -> dict[str, Any]:
    """The advantage of all arms but the last, in the mean, over the last, in the tasks `whole`: a block of
    "contrasts" in `evidence`."""
    (sims, drawn_sims), (real, drawn_real) = pair.sims(whole), pair.reals(whole)
    own = losses(sims, real, pair.alike)
    drawn = losses(drawn_sims, drawn_real[:, None], pair.weights[:, None])
    values, differences = own[-1] - own[:-1].mean(0), drawn[:, -1] - drawn[:, :-1].mean(1)
    found = {
        metric: {
            "advantage": float(values[m].round(_DECIMALS)) + 0.0,
            "ci": interval(differences[:, m], float(values[m])),
            # The draws without an advantage, and the one that was seen as one of them: never 0.
            "p": float((1 + (differences[:, m] <= 10.0**-_DECIMALS).sum()) / (1 + len(differences))),
        }
        for m, metric in enumerate(METRICS)
    }
    for metric, p in zip(TESTED, holm([found[metric]["p"] for metric in TESTED]), strict=True):
        found[metric]["p_holm"] = p
    return found


def _saved(pair: Draws, whole: Sequence[str], trials: RealTrials) -> dict[str, Any]:
    """How many real trials for each policy and task the first of two arms is worth more than the second."""
    sims, drawn = pair.sims(whole)
    worths = trials.worth(sims[None], pair.alike[None])
    more = trials.worth(drawn[:WORTH_DRAWS], pair.weights[:WORTH_DRAWS])

    def difference(found: np.ndarray) -> np.ndarray:
        both = np.isinf(found).all(1)
        return np.where(both, 0, found[:, 0] - np.where(both, 0, found[:, 1]))

    values, differences = difference(worths)[0], difference(more)
    return {
        metric: {
            "worth": [_limit(worths[0, arm, m]) for arm in (0, 1)],
            "trials": _limit(values[m]),
            "ci": _ends(differences[:, m], values[m]),
        }
        for m, metric in enumerate(METRICS)
    }


def _limit(trials: float) -> int | None:
    """A number of trials; None where it has no limit."""
    return int(trials) if np.isfinite(trials) else None


def _ends(values: np.ndarray, estimate: float) -> list[int | None]:
    """The central 95 % of numbers of trials, some of them infinite, widened to the estimate."""
    low, high = np.quantile(values, [0.025, 0.975], method="inverted_cdf")
    return [_limit(min(low, estimate)), _limit(max(high, estimate))]


def claims(contrast: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a contrast shows an advantage in MMRV and in r, over all tasks: the corrected p is below 0.05
    and, where there is "one_style", that advantage is above 0 too."""
    last = list(contrast["blocks"])[-1]
    block, alone = contrast["blocks"][last], contrast.get("one_style", contrast["blocks"])[last]
    return {m: block[m]["p_holm"] < LEVEL and alone[m]["advantage"] > 0 for m in TESTED}


def claim(contrast: Mapping[str, Any]) -> str:
    """What a contrast shows, in a sentence, and no more than its tests allow."""
    found = claims(contrast)
    shown = [label for metric, label in zip(TESTED, ("MMRV", "r"), strict=True) if found[metric]]
    arm, better = contrast["arm"], f"predict better than {contrast['against']}"
    return (
        f"{arm} is shown to {better} in {' and '.join(shown)}."
        if shown
        else f"{arm} is not shown to {better}."
    )


def _warnings(arms: Sequence[Arm], policies: Sequence[str], found: Mapping[str, Any]) -> Iterable[str]:
    real = found["real"]
    if real["stand_in"]:
        yield f'No robot measured the rates called "{real["name"]}", a stand-in: {real["source"]}'
    for arm, told in zip(arms, found["arms"], strict=True):
        if told["trials"] < told["wanted"]:
            yield f"{arm.name} is not finished: {told['trials']} of {told['wanted']} trials are."
        if left := [policy for policy in arm.policies if policy not in policies]:
            yield f"Policies of {arm.name} that not every arm has are left out: {', '.join(left)}."
    if differ := differences([player for arm in arms for player in arm.players]):
        yield f"Not all trials were played with the same: {differ}."
    exact = [p for p in policies if any(arms[0].real.policies[p].counts(t) is None for t in found["tasks"])]
    if exact:
        yield f"Real rates without counts are taken as exact: {', '.join(exact)}."
