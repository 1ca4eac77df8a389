"""What changed between two runs: rates over the trials that both finished, and how well each predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simedit.eval.compare import DRAWS, FEWEST_POLICIES, FEWEST_SITUATIONS, real_draws
from simedit.eval.headline import domain_name
from simedit.eval.metrics import draw_rates, interval, mmrv, pearson_r, wilson
from simedit.eval.paired import by_situations, difference_interval, holm, mcnemar
from simedit.eval.trials import Trial
from simedit.eval.two_runs import Run, differing, shared

SCHEMA = 1
LEVEL = 0.05
"""A corrected p below it is called a change."""
_DECIMALS = 12  # as in `simedit.eval.compare`: equal fractions must tie


def changes(first: Run, second: Run) -> dict[str, Any]:
    """What `simedit-eval compare --json` prints: plain JSON, a function of the two run folders alone.

    "rates" has a row for each policy and domain, over all tasks, and "by_task" one for each task of these;
    each is a family of its own in Holm's correction. Of each row "p" is the test over situations
    (`simedit.eval.paired.by_situations`) and "p_trials" McNemar's. "metrics" has MMRV and r of both runs over
    the trials that every common policy finished in both, and their difference, with situations weighed anew,
    the same for both runs, as in the report's intervals.
    """
    trials = shared(first, second)
    runs = (first, second)
    ended = [[run.outcomes[trial] for run in runs] for trial in trials]
    found = {
        "schema": SCHEMA,
        "runs": [
            {"name": run.name, "folder": str(run.folder), "trials": run.summary["trials"]} for run in runs
        ],
        "shared": len(trials),
        "gained": ended.count(["failure", "success"]),
        "lost": ended.count(["success", "failure"]),
        "only": [_finished(run) - len(trials) for run in runs],
        "rates": _rows(first, second, ("policy", "domain")),
        "by_task": _rows(first, second, ("policy", "domain", "task")),
        "metrics": list(_metrics(first, second)),
        "differs": differing(first, second),
    }
    return found | {"warnings": list(_warnings(runs, found))}


def headline(found: Mapping[str, Any]) -> str:
    """What changed, in a sentence or two, and no more than the tests allow."""
    count = found["shared"]
    if not found["gained"] + found["lost"]:
        every = f"All {count} trials" if count > 1 else "The one trial"
        return f"{every} that both runs finished ended the same."
    moved = [row for row in found["rates"] if row["p_holm"] < LEVEL]
    if moved:
        listed = "; ".join(
            f"{row['policy']} in {domain_name(row['domain'])}, {row['rates'][0]:.2f} to {row['rates'][1]:.2f}"
            for row in moved
        )
        said = f"Changed beyond chance: {listed}."
    else:
        said = "No policy's rate in any domain changed by more than chance may change it."
    return (
        f"{found['gained'] + found['lost']} of the {count} trials that both runs finished ended otherwise: "
        f"{found['gained']} gained, {found['lost']} lost. {said}"
    )


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign; what rounds to nothing has none."""
    text = f"{value:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def _finished(run: Run) -> int:
    return sum(outcome != "error" for outcome in run.outcomes.values())


def _warnings(runs: Sequence[Run], found: Mapping[str, Any]) -> Iterable[str]:
    for run in runs:
        counts = run.summary["trials"]
        if counts["missing"]:
            yield (
                f"{run.name} is not finished: {counts['finished']} of {counts['wanted']} trials are. "
                "Compared is what both have."
            )
        if counts["errors"]:
            yield f"{run.name}: {counts['errors']} trials ended in an error; they are compared with nothing."
    if any(found["only"]):
        one, two = found["only"]
        yield (
            f"Left out for the other run did not finish them: {one} trials of {runs[0].name} and {two} of "
            f"{runs[1].name}."
        )
    told = [run.summary["warnings"] for run in runs]
    progress = ("trials have not run yet", "trials ended in an error")
    for warning in dict.fromkeys([*told[0], *told[1]]):
        if not any(part in warning for part in progress):
            whose = [run.name for run, warnings in zip(runs, told, strict=True) if warning in warnings]
            yield f"{' and '.join(whose)}: {warning}"


def _rows(first: Run, second: Run, keys: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each of the groups that both studies want trials of."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in shared(first, second):
        groups.setdefault(tuple(getattr(trial, key) for key in keys), []).append(trial)
    only = [
        [tuple(getattr(t, key) for key in keys) for t, outcome in run.outcomes.items() if outcome != "error"]
        for run in (first, second)
    ]
    order = [group for group in dict.fromkeys([*only[0], *only[1]]) if group in groups]
    rows: list[dict[str, Any]] = [
        dict(zip(keys, group, strict=True))
        | _row(first, second, groups[group])
        | {"only": [finished.count(group) - len(groups[group]) for finished in only]}
        for group in order
    ]
    for key in ("p", "p_trials"):
        for row, p in zip(rows, holm([row[key] for row in rows]), strict=True):
            row[f"{key}_holm"] = p
    return rows


def _row(first: Run, second: Run, trials: Sequence[Trial]) -> dict[str, Any]:
    situations: dict[tuple[str, str], int] = {}
    for t in trials:
        situations.setdefault(t.situation, len(situations))
    won, held = np.zeros((2, len(situations)), int), np.zeros(len(situations), int)
    gained, lost = np.zeros_like(held), np.zeros_like(held)
    for t in trials:
        place = situations[t.situation]
        before, after = (run.outcomes[t] == "success" for run in (first, second))
        held[place] += 1
        won[:, place] += before, after
        gained[place] += after and not before
        lost[place] += before and not after
    many = len(situations) >= FEWEST_SITUATIONS
    return {
        "n": len(trials),
        "situations": len(situations),
        "rates": [float(side.sum() / held.sum()) for side in won],
        "wilson": [wilson(side.tolist(), held.tolist()) for side in won],
        "difference": float((gained - lost).sum() / held.sum()),
        "difference_ci": difference_interval(gained, lost, held, draws=DRAWS, seed=0) if many else None,
        "gained": int(gained.sum()),
        "lost": int(lost.sum()),
        "p": by_situations(gained - lost),
        "p_trials": mcnemar(int(gained.sum()), int(lost.sum())),
    }


def _metrics(first: Run, second: Run) -> Iterable[dict[str, Any]]:
    policies = [policy for policy in first.config.policies if policy in second.config.policies]
    if len(policies) < 2:
        return
    sources = (first.real, second.real)
    for domain in first.config.domains:
        if domain in first.config.realities or domain not in second.config.domains:
            continue
        every = list(first.config.tasks)
        counts = {task: _counts(first, second, policies, domain, task) for task in every}
        parts = {task: found for task, found in counts.items() if found is not None}
        draws = {
            task: draw_rates(won, held, draws=DRAWS, seed=seed)
            for seed, (task, (won, held)) in enumerate(parts.items())
        }
        for tasks in [*([task] for task in parts), *([list(parts)] if len(parts) > 1 else [])]:
            sims = np.mean([parts[task][0].sum(-1) / parts[task][1].sum(-1) for task in tasks], 0)
            known = [[[real.policies[p].rate(t) for p in policies] for t in tasks] for real in sources]
            reals = np.array(known, float).mean(1)
            if not np.isfinite(reals).all():  # a rate is not known
                continue
            drawn = [np.mean([real_draws(real, policies, t, every) for t in tasks], 0) for real in sources]
            situations = min(parts[task][1].shape[-1] for task in tasks)
            yield {
                "domain": domain,
                "task": tasks[0] if len(tasks) == 1 else "average",
                "policies": policies,
                "n": int(sum(parts[task][1][0, 0].sum() for task in tasks)),
                "situations": situations,
                **_compared(
                    np.round(sims, _DECIMALS),
                    np.round(reals, _DECIMALS),
                    np.mean([draws[task] for task in tasks], 0),
                    drawn,
                    situations,
                ),
            }


def _counts(
    first: Run, second: Run, policies: Sequence[str], domain: str, task: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Successes and trials that every policy finished in both runs, int [run, policy, situation] each."""
    players: dict[tuple[Any, ...], list[Trial]] = {}
    for t in shared(first, second):
        if t.policy in policies and (t.domain, t.task) == (domain, task):
            players.setdefault((t.scene, t.variant, t.style, t.seed), []).append(t)
    full = {place: found for place, found in players.items() if len(found) == len(policies)}
    if not full:
        return None
    situations = {situation: u for u, situation in enumerate(dict.fromkeys(place[0] for place in full))}
    won, held = np.zeros((2, 2, len(policies), len(situations)), int)
    for place, found in full.items():
        for t in found:
            at = policies.index(t.policy), situations[place[0]]
            held[(slice(None), *at)] += 1
            won[(slice(None), *at)] += [run.outcomes[t] == "success" for run in (first, second)]
    return won, held


def _compared(
    sims: np.ndarray,
    reals: np.ndarray,
    draws: np.ndarray,
    drawn: Sequence[np.ndarray],
    situations: int,
) -> dict[str, Any]:
    """MMRV and r of both runs and the second's less the first's, null where the report's would be."""
    enough = {"mmrv": 2, "pearson_r": FEWEST_POLICIES}
    found: dict[str, Any] = {}
    for key, metric in (("mmrv", mmrv), ("pearson_r", pearson_r)):
        values = [float(metric(sim, real)) for sim, real in zip(sims, reals, strict=True)]
        defined = all(np.isfinite(values)) and all(np.ptp(real) > 0 for real in reals)
        found[key] = [
            value if np.isfinite(value) and np.ptp(real) > 0 else None
            for value, real in zip(values, reals, strict=True)
        ]
        found[f"{key}_difference"] = values[1] - values[0] if defined else None
        found[f"{key}_difference_ci"] = None
        if defined and situations >= FEWEST_SITUATIONS and sims.shape[-1] >= enough[key]:
            one, two = (metric(draws[:, run], drawn[run]) for run in (0, 1))
            found[f"{key}_difference_ci"] = interval(two - one, values[1] - values[0])
    return found
