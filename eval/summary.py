"""From results to the numbers of a report: rates, correlations, intervals, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simedit.eval.absent import Absent, describe, is_absent
from simedit.eval.config import StudyConfig
from simedit.eval.metrics import bootstrap_rates, interval, mmrv, pearson_r, wilson
from simedit.eval.published import Rates, load_published, protocol_counts
from simedit.eval.trials import Result, Trial, trials

SCHEMA = 1
RESAMPLES = 2000
# Twelve decimals: averages that are equal fractions must tie, and floating point alone would not let them.
_DECIMALS = 12


@dataclass(frozen=True)
class Facts:
    """What a report must say about the parts of a study; kept in its run folder.

    Attributes:
        untrained: styles whose specialist was never trained.
        blind: policies that do not look at images.
        absent: from domain and variant to the file for whose lack it is not played.
    """

    untrained: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class _Tally:
    successes: int = 0
    n: int = 0
    errors: int = 0

    def add(self, outcome: str) -> None:
        self.errors += outcome == "error"
        self.n += outcome != "error"
        self.successes += outcome == "success"

    @property
    def rate(self) -> float | None:
        return self.successes / self.n if self.n else None


def summarise(
    config: StudyConfig, results: Mapping[Trial, Result], real: Rates, facts: Facts
) -> dict[str, Any]:
    """The content of `report.json`: a plain JSON structure, a function of what is stored alone.

    Rates pool a domain's variants and seeds, and those of "edited" all styles. "average" is the mean of the
    open and the close rate. Bootstrap intervals resample (task, drawer, pose, seed) units, the same for all
    policies and domains, a unit's variants and styles together; real rates are taken as exact. "proxy_real"
    has rates, but no real ones beside them and so no metrics.

    Args:
        results: every stored result; those that `config` does not want are left out.
        real: under the policy names of `config`; see `simedit.eval.published.load_real`.
    """
    wanted = list(trials(config))
    tallies: dict[tuple[str, ...], _Tally] = {}
    styles: dict[tuple[str, ...], _Tally] = {}
    cells: dict[tuple[str, ...], _Tally] = {}
    for t in wanted:
        for table, key in (
            (tallies, (t.domain, t.policy, t.task)),
            (styles, (t.style, t.policy, t.task)),
            (cells, (t.domain, t.policy, t.task, t.drawer, t.pose)),
        ):
            tally = table.setdefault(key, _Tally())
            if t in results:
                tally.add(results[t].outcome)
    samples = _bootstrap(config, wanted, results)
    policies = list(config.policies)
    domains = {}
    for domain in config.domains:
        blocks: dict[str, Any] = {}
        for task in config.tasks:
            # Proxy-real is where real rates come from: it predicts nothing.
            truth = {p: None if domain == "proxy_real" else real.policies[p].rate(task) for p in policies}
            entries = {p: _entry(tallies[domain, p, task], truth[p]) for p in policies}
            blocks[task] = _block(entries, samples[domain, task])
        if len(config.tasks) == 2:
            entries = {p: _average([blocks[task]["policies"][p] for task in config.tasks]) for p in policies}
            blocks["average"] = _block(entries, (samples[domain, "open"] + samples[domain, "close"]) / 2)
        domains[domain] = blocks
    counts = _progress(wanted, results, facts.absent)
    messages = {results[t].message for t in wanted if t in results and results[t].outcome == "error"}
    return {
        "schema": SCHEMA,
        "domains": domains,
        "meaningful": not (
            real.stand_in or set(config.policies) <= set(facts.blind) or _untrained(config, facts)
        ),
        "warnings": _warnings(config, real, facts, counts, sorted(messages), domains),
        "trials": counts,
        "absent": [
            {"domain": domain, "variant": variant, "file": file}
            for domain, files in facts.absent.items()
            for variant, file in files.items()
        ],
        "real": {"source": real.source, "stand_in": real.stand_in},
        "styles": [
            {"style": style, "policy": policy, "task": task, **_counts(tally)}
            for (style, policy, task), tally in styles.items()
            if style
        ],
        "cells": [
            dict(zip(("domain", "policy", "task", "drawer", "pose"), key, strict=True)) | _counts(tally)
            for key, tally in cells.items()
        ],
        "config": config.model_dump(mode="json"),
    }


def status(config: StudyConfig, results: Mapping[Trial, Result], facts: Facts) -> dict[str, Any]:
    """How far a study is, in all and by policy and domain.

    Trials are wanted; finished, errors, absent (not run: the variant's files are absent) or missing. Each
    group also has `published`, how many trials the published protocol runs; None for the domain "raw".
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials(config):
        groups.setdefault((trial.policy, trial.domain), []).append(trial)
    published = protocol_counts()
    return {
        **_progress(list(trials(config)), results, facts.absent),
        "groups": [
            {
                "policy": policy,
                "domain": domain,
                **_progress(wanted, results, facts.absent),
                "published": published.get(domain),
            }
            for (policy, domain), wanted in groups.items()
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
    table = load_published()
    domains = {}
    for name, rates in table.domains.items():
        blocks = {}
        for task in ("open", "close"):
            entries = {
                policy: _bare_entry(rates.policies[policy].rate(task), table.real.policies[policy].rate(task))
                for policy in rates.policies
            }
            blocks[task] = _block(entries, None)
        entries = {
            p: _average([blocks["open"]["policies"][p], blocks["close"]["policies"][p]])
            for p in rates.policies
        }
        domains[name] = {**blocks, "average": _block(entries, None)}
    sources = {"real": table.real.source} | {name: rates.source for name, rates in table.domains.items()}
    return {"schema": SCHEMA, "domains": domains, "sources": sources}


def _entry(tally: _Tally, real: float | None) -> dict[str, Any]:
    return {**_bare_entry(tally.rate, real), **_counts(tally), "wilson": wilson(tally.successes, tally.n)}


def _bare_entry(sim: float | None, real: float | None) -> dict[str, Any]:
    return {"sim": sim, "real": real, "n": None, "successes": None, "errors": None, "wilson": None}


def _counts(tally: _Tally) -> dict[str, int]:
    return {"n": tally.n, "successes": tally.successes, "errors": tally.errors}


def _average(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of the rates, with the pooled counts and their Wilson interval."""

    def joined(key: str) -> Any:
        values = [entry[key] for entry in entries]
        return None if None in values else sum(values)

    sim, real, n, successes = (joined(key) for key in ("sim", "real", "n", "successes"))
    return {
        "sim": None if sim is None else round(sim / len(entries), _DECIMALS),
        "real": None if real is None else round(real / len(entries), _DECIMALS),
        "n": n,
        "successes": successes,
        "errors": joined("errors"),
        "wilson": wilson(successes, n) if n else None,
    }


def _block(entries: dict[str, dict[str, Any]], samples: np.ndarray | None) -> dict[str, Any]:
    """Metrics over the policies, null unless there are two or more and each has both rates.

    Args:
        samples: bootstrap rates [resamples, policies]; None where there are no trials to resample.
    """
    rates = [(entry["sim"], entry["real"]) for entry in entries.values()]
    block: dict[str, Any] = {"mmrv": None, "mmrv_ci": None, "pearson_r": None, "pearson_r_ci": None}
    if len(rates) > 1 and not any(None in pair for pair in rates):
        sim, real = np.array(rates, float).T
        whole = None if samples is None else samples[np.isfinite(samples).all(1)].round(_DECIMALS)
        for name, metric in (("mmrv", mmrv), ("pearson_r", pearson_r)):
            block[name] = float(metric(sim, real))
            if whole is not None and len(whole):
                block[f"{name}_ci"] = interval(metric(whole, real))
    return {**block, "policies": entries}


def _bootstrap(
    config: StudyConfig, wanted: Iterable[Trial], results: Mapping[Trial, Result]
) -> dict[tuple[str, str], np.ndarray]:
    """Resampled success rates [resamples, policies] by (domain, task)."""
    policies = {name: index for index, name in enumerate(config.policies)}
    rows = [(domain, policy) for domain in config.domains for policy in policies]
    row_of = {key: index for index, key in enumerate(rows)}
    samples = {}
    for seed, task in enumerate(config.tasks):
        units: dict[Any, int] = {}
        marks = []
        for t in wanted:
            if t.task == task:
                unit = units.setdefault(t.unit, len(units))
                if t in results and results[t].outcome != "error":
                    marks.append((row_of[t.domain, t.policy], unit, results[t].outcome == "success"))
        successes, counts = np.zeros((2, len(rows), len(units)), int)
        for row, unit, success in marks:
            counts[row, unit] += 1
            successes[row, unit] += success
        drawn = bootstrap_rates(successes, counts, resamples=RESAMPLES, seed=seed)
        for index, domain in enumerate(config.domains):
            samples[domain, task] = drawn[:, index * len(policies) : (index + 1) * len(policies)]
    return samples


def _untrained(config: StudyConfig, facts: Facts) -> list[str]:
    return [style for style in config.styles if style in facts.untrained and "edited" in config.domains]


def _warnings(
    config: StudyConfig,
    real: Rates,
    facts: Facts,
    counts: Mapping[str, int],
    messages: Sequence[str],
    domains: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """What a reader must know before any number, the gravest first, in plain words."""
    found = []
    if real.stand_in:
        found.append(f'No robot measured the "real" rates; they are a stand-in: {real.source}')
    blind = [name for name in config.policies if name in facts.blind]
    if blind:
        found.append(
            f"Policies that do not look at images: {', '.join(blind)}. They act from the simulator's state: "
            "no edit can change what they do, and a correlation computed from them means nothing."
        )
    if untrained := _untrained(config, facts):
        found.append(f"Specialists that were never trained: {', '.join(untrained)}. Their edits are noise.")
    if counts["absent"]:
        found.append(
            f"{counts['absent']} of {counts['wanted']} trials are not run, for their files are absent: "
            f"{describe(facts.absent)}. The rates are over what ran."
        )
    if counts["missing"]:
        found.append(
            f"{counts['missing']} of {counts['wanted']} trials have not run yet; the same command goes on."
        )
    if counts["errors"]:
        found.append(
            f"{counts['errors']} trials ended in an error and count for nothing; the same command tries them "
            f"again. First message: {messages[0]}"
        )
    if len(config.policies) < 2:
        found.append("A correlation needs two policies or more; this study has one.")
    equal = [
        f"{domain} {name}"
        for domain, blocks in domains.items()
        for name, block in blocks.items()
        if len(rates := [entry["sim"] for entry in block["policies"].values()]) > 1 and len(set(rates)) == 1
    ]
    if equal and counts["finished"]:
        found.append(
            f"All policies have the same rate in: {', '.join(equal)}. r says nothing there "
            "(SIMPLER's formula makes it 0)."
        )
    return found
