"""The content of `report.json`: rates, metrics, warnings, and how far a study is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from simedit.envs.suite import default_suite
from simedit.errors import SimeditError, unknown
from simedit.eval.absent import Absent, is_absent
from simedit.eval.caveats import Facts, caveats, untrained
from simedit.eval.compare import Tally, average, bare_entry, block, blocks, comparable, counted
from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates, load_published
from simedit.eval.shards import Shard
from simedit.eval.trials import Outcome, Result, Trial, trials

SCHEMA = 2


def summarise(
    config: StudyConfig, results: Mapping[Trial, Result], real: Rates, facts: Facts
) -> dict[str, Any]:
    """The content of `report.json`: a plain JSON structure, a function of what is stored alone.

    Rates pool a domain's variants and seeds, and those of "edited" all styles, over the trials that every
    policy finished (`simedit.eval.compare.comparable`). "average" is the mean of the tasks' rates.
    Uncertain is the situation, a task and scene, with all that was played in it. Each entry's "wilson"
    is the rate's interval over situations (`simedit.eval.metrics.wilson`; of an average `mean_interval`).
    Intervals of the metrics weigh situations anew (`draw_rates`), the same for all policies and domains,
    and draw real rates that are counts; other real rates are taken as exact. A domain that stands for reality
    (the config's `realities`) has rates, but no real ones beside them and so no metrics.

    Args:
        results: every stored result; those that `config` does not want are left out.
        real: under the policy names of `config`; see `simedit.eval.published.load_real`.

    Raises:
        SimeditError: a result or a rate is not what a study stores.
    """
    wanted = list(trials(config))
    stored = {trial: results[trial] for trial in wanted if trial in results}
    _check(config, stored, real)
    outcomes: dict[Trial, Outcome] = {trial: counted(config, result) for trial, result in stored.items()}
    same, alone = comparable(config, outcomes)
    styles: dict[tuple[str, ...], Tally] = {}
    cells: dict[tuple[str, ...], Tally] = {}
    for t in wanted:
        style = styles.setdefault((t.style, t.policy, t.task), Tally())
        cell = cells.setdefault((t.domain, t.policy, t.task, t.scene), Tally())
        if t in outcomes:
            cell.add(outcomes[t])
            if t in same or outcomes[t] == "error":
                style.add(outcomes[t])
    domains = blocks(config, outcomes, same, alone, real)
    counts = _progress(wanted, results, facts.absent)
    left_out = sum(outcome != "error" for outcome in outcomes.values()) - len(same)
    exercise = set(config.policies) <= set(facts.blind) or bool(untrained(config, facts))
    return {
        "schema": SCHEMA,
        "domains": domains,
        "exercise": exercise,
        "meaningful": not (exercise or real.stand_in),
        "warnings": caveats(config, stored, real, facts, counts, left_out, alone, domains),
        "trials": counts,
        "left_out": left_out,
        "absent": [
            {"domain": domain, "variant": variant, "file": file}
            for domain, files in facts.absent.items()
            for variant, file in files.items()
        ],
        "real": _real(real),
        "styles": [
            {"style": style, "policy": policy, "task": task, **tally.counts}
            for (style, policy, task), tally in styles.items()
            if style
        ],
        "cells": [
            dict(zip(("domain", "policy", "task", "scene"), key, strict=True)) | tally.counts
            for key, tally in cells.items()
        ],
        "config": config.model_dump(mode="json"),
    }


def _check(config: StudyConfig, stored: Mapping[Trial, Result], real: Rates) -> None:
    """Refuse what no study stores: a damaged folder, or one that something else wrote."""
    for policy in config.policies:
        if policy not in real.policies:
            raise SimeditError(
                f"the kept real rates lack a policy: {unknown('policy', policy, real.policies)}"
            )
    for trial, result in stored.items():
        if result.outcome not in get_args(Outcome) or not isinstance(result.message, str):
            raise SimeditError(
                f"the stored result of {trial} is damaged: its outcome is {str(result.outcome)[:40]!r}"
            )


def _real(real: Rates) -> dict[str, Any]:
    """Where real rates come from, what they are called, and which have no counts and so count as exact."""
    exact = [
        policy
        for policy, rates in real.policies.items()
        if any(rates.rate(task) is not None and rates.counts(task) is None for task in rates.root)
    ]
    return {"source": real.source, "stand_in": real.stand_in, "name": real.label, "exact": exact}


def status(config: StudyConfig, results: Mapping[Trial, Result], facts: Facts) -> dict[str, Any]:
    """How far a study, or the shard of it that a folder is for, is in all and by policy and domain.

    Trials are wanted; finished, errors, absent (not run: the variant's files are absent) or missing. Each
    group also has `published`, how many trials the published protocol runs; None for the domain "raw".
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    wanted = list(trials(config))
    if facts.shard:
        wanted = Shard.parse(facts.shard).of(wanted)
    for trial in wanted:
        groups.setdefault((trial.policy, trial.domain), []).append(trial)
    published = config.suite.published_trials()
    return {
        **_progress(wanted, results, facts.absent),
        "groups": [
            {
                "policy": policy,
                "domain": domain,
                **_progress(group, results, facts.absent),
                "published": published.get(domain),
            }
            for (policy, domain), group in groups.items()
        ],
    }


def _progress(wanted: Sequence[Trial], results: Mapping[Trial, Result], absent: Absent) -> dict[str, int]:
    stored = [results[trial] for trial in wanted if trial in results]
    errors = sum(result.outcome == "error" for result in stored)
    lost = sum(is_absent(trial, absent) for trial in wanted if trial not in results)
    return {
        "wanted": len(wanted),
        "finished": len(stored) - errors,
        "errors": errors,
        "absent": lost,
        "missing": len(wanted) - len(stored) - lost,
    }


def published_summary() -> dict[str, Any]:
    """The same structure for the published domains, recomputed from their per-policy success rates alone."""
    suite = default_suite()
    table, tasks = load_published(suite), suite.suite().tasks
    domains = {}
    for name, rates in table.domains.items():
        blocks = {}
        for task in tasks:
            entries = {
                policy: bare_entry(rates.policies[policy].rate(task), table.real.policies[policy].rate(task))
                for policy in rates.policies
            }
            blocks[task] = block(entries, None, None)
        entries = {p: average([blocks[task]["policies"][p] for task in tasks]) for p in rates.policies}
        domains[name] = {**blocks, "average": block(entries, None, None)}
    sources = {"real": table.real.source} | {name: rates.source for name, rates in table.domains.items()}
    return {"schema": SCHEMA, "domains": domains, "sources": sources, "real": _real(table.real)}
