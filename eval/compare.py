"""Policies compared: which trials count, rates over the same trials for all, and metrics with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simedit.eval.config import StudyConfig
from simedit.eval.metrics import (
    draw_counted,
    draw_rates,
    interval,
    mean_interval,
    mmrv,
    pearson_r,
    pearson_r_simpler,
    wilson,
)
from simedit.eval.published import Rates
from simedit.eval.trials import Outcome, Result, Trial, scenes

DRAWS = 20_000
FEWEST_SITUATIONS = 9
"""Of each task, for intervals of metrics and for claims: as many as the robot has poses in SIMPLER. With
fewer, noise pulls r so far from 1 that its interval misses the truth more often than one time in four."""
FEWEST_POLICIES = 3
"""For r's interval and for claims: two policies have r 1 or -1, whatever their rates are."""
# Twelve decimals: averages that are equal fractions must tie, and floating point alone would not let them.
_DECIMALS = 12


@dataclass
class Tally:
    """How a group of trials ended."""

    successes: int = 0
    n: int = 0
    errors: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count a trial; an error is none of the n."""
        self.errors += outcome == "error"
        self.n += outcome != "error"
        self.successes += outcome == "success"

    @property
    def counts(self) -> dict[str, int]:
        """As in the report's JSON."""
        return {"n": self.n, "successes": self.successes, "errors": self.errors}


def is_policy_error(result: Result) -> bool:
    """Whether it was the policy that broke, not the environment; `simedit.eval.rollout` words it so."""
    return result.outcome == "error" and result.message.startswith("policy ")


def counted(config: StudyConfig, result: Result) -> Outcome:
    """A result's outcome as the study counts it."""
    if config.count_policy_errors_as == "failure" and is_policy_error(result):
        return "failure"
    return result.outcome


def comparable(
    config: StudyConfig, outcomes: Mapping[Trial, Outcome]
) -> tuple[set[Trial], list[tuple[str, str]]]:
    """The trials that rates are over: those which every policy finished, so that none is better for having
    broken where it is hard.

    Returns:
        these trials; and every domain and task without any, where all finished ones stand in for them: each
        policy has a rate of its own there, and they are not compared.
    """
    finished = [trial for trial, outcome in outcomes.items() if outcome != "error"]
    players: dict[tuple[Any, ...], int] = {}
    for trial in finished:
        players[_place(trial)] = players.get(_place(trial), 0) + 1
    same = {trial for trial in finished if players[_place(trial)] == len(config.policies)}
    shared = {(trial.domain, trial.task) for trial in same}
    alone = dict.fromkeys((t.domain, t.task) for t in finished if (t.domain, t.task) not in shared)
    return same | {t for t in finished if (t.domain, t.task) in alone}, list(alone)


def _place(t: Trial) -> tuple[Any, ...]:
    return t.situation, t.domain, t.variant, t.style, t.seed


def blocks(
    config: StudyConfig,
    outcomes: Mapping[Trial, Outcome],
    same: set[Trial],
    alone: Sequence[tuple[str, str]],
    real: Rates,
) -> dict[str, dict[str, Any]]:
    """From domain to a block for each task and, with several, "average"; see `summarise`.

    Args:
        outcomes: of every wanted trial that is stored, as the study counts it.
        same, alone: from `comparable`.
    """
    policies = list(config.policies)
    found: dict[str, dict[str, Any]] = {domain: {} for domain in config.domains}
    sims: dict[str, np.ndarray] = {}
    tasks = list(config.tasks)
    for seed, task in enumerate(tasks):
        won, held = _clusters(config, task, {t: outcomes[t] for t in outcomes if t in same})
        errors = dict.fromkeys(((d, p) for d in config.domains for p in policies), 0)
        for trial, outcome in outcomes.items():
            if trial.task == task:
                errors[trial.domain, trial.policy] += outcome == "error"
        sims[task] = draw_rates(won, held, draws=DRAWS, seed=seed)
        for d, domain in enumerate(config.domains):
            entries = {}
            for p, policy in enumerate(policies):
                n, successes = int(held[d, p].sum()), int(won[d, p].sum())
                entries[policy] = {
                    **bare_entry(
                        successes / n if n else None,
                        None if domain in config.realities else real.policies[policy].rate(task),
                    ),
                    "n": n,
                    "successes": successes,
                    "errors": errors[domain, policy],
                    "wilson": wilson(won[d, p], held[d, p]),
                }
            situations = 0 if (domain, task) in alone else int((held[d] > 0).all(0).sum())
            draws = sims[task][:, d], real_draws(real, policies, task, tasks)
            found[domain][task] = block(entries, draws, situations)
    if len(tasks) > 1:
        reals = np.mean([real_draws(real, policies, task, tasks) for task in tasks], 0)
        for d, domain in enumerate(config.domains):
            parts = list(found[domain].values())
            entries = {p: average([part["policies"][p] for part in parts]) for p in policies}
            draws = np.mean([sims[task][:, d] for task in tasks], 0), reals
            situations = min(part["situations"] for part in parts)
            found[domain]["average"] = block(entries, draws, situations)
    return found


def _clusters(
    config: StudyConfig, task: str, outcomes: Mapping[Trial, Outcome]
) -> tuple[np.ndarray, np.ndarray]:
    """Successes and trials, int [domain, policy, situation] each."""
    places = [
        {name: index for index, name in enumerate(names)}
        for names in (config.domains, config.policies, scenes(config))
    ]
    won, held = np.zeros((2, *map(len, places)), int)
    for t, outcome in outcomes.items():
        if t.task == task:
            index = tuple(
                place[name] for place, name in zip(places, (t.domain, t.policy, t.scene), strict=True)
            )
            held[index] += 1
            won[index] += outcome == "success"
    return won, held


def real_draws(
    real: Rates, policies: Sequence[str], task: str, tasks: Sequence[str], *, draws: int = DRAWS
) -> np.ndarray:
    """Real rates of one of the tasks that their counts leave possible, float [draws, policies]; those without
    counts are exact."""
    columns = []
    for index, policy in enumerate(policies):
        rates = real.policies[policy]
        if counts := rates.counts(task):
            seed = (2 + index, len(tasks) - tasks.index(task))  # unlike those of simulated rates
            columns.append(draw_counted(counts.successes, counts.n, draws=draws, seed=seed))
        else:
            rate = rates.rate(task)
            columns.append(np.full(draws, np.nan if rate is None else rate))
    return np.stack(columns, -1)


def bare_entry(sim: float | None, real: float | None) -> dict[str, Any]:
    """A policy's entry where only rates are known."""
    return {"sim": sim, "real": real, "n": None, "successes": None, "errors": None, "wilson": None}


def average(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the rates and its own interval, with the sums of the counts."""

    def values(key: str) -> list[Any] | None:
        found = [entry[key] for entry in entries]
        return None if None in found else found

    def total(key: str) -> int | None:
        return None if (found := values(key)) is None else sum(found)

    def mean(key: str) -> float | None:
        return None if (found := values(key)) is None else round(sum(found) / len(found), _DECIMALS)

    sims, intervals = values("sim"), values("wilson")
    return {
        **bare_entry(mean("sim"), mean("real")),
        **{key: total(key) for key in ("n", "successes", "errors")},
        "wilson": None if sims is None or intervals is None else mean_interval(sims, intervals),
    }


def block(
    entries: dict[str, dict[str, Any]], draws: tuple[np.ndarray, np.ndarray] | None, situations: int | None
) -> dict[str, Any]:
    """Metrics over the policies, null unless there are two or more with both rates over the same trials.

    MMRV is null too where all real rates are equal, r where those of either side are. Intervals are null with
    too few situations; r's also with too few policies, and MMRV's where all simulated rates are equal.

    Args:
        draws: simulated and real rates, float [draws, policies] each; None where no trials are known.
        situations: that every policy played; in an average, in the task with fewest. None where no trials are
            known.
    """
    found: dict[str, Any] = dict.fromkeys(
        ("mmrv", "mmrv_ci", "pearson_r", "pearson_r_ci", "pearson_r_simpler")
    )
    rates = [(entry["sim"], entry["real"]) for entry in entries.values()]
    if len(rates) > 1 and situations != 0 and not any(None in pair for pair in rates):
        sim, real = np.array(rates, float).T
        found["pearson_r_simpler"] = pearson_r_simpler(sim, real)
        drawn = draws if situations is not None and situations >= FEWEST_SITUATIONS else None
        if np.ptp(real) > 0:
            found["mmrv"] = float(mmrv(sim, real))
            if drawn is not None and np.ptp(sim) > 0:
                found["mmrv_ci"] = interval(mmrv(*drawn), found["mmrv"])
        if np.isfinite(r := float(pearson_r(sim, real))):
            found["pearson_r"] = r
            if drawn is not None and len(rates) >= FEWEST_POLICIES:
                found["pearson_r_ci"] = interval(pearson_r(*drawn), r)
    return {**found, "situations": situations, "policies": entries}
