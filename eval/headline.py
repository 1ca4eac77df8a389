"""What a study shows, in a sentence or two, and no more than its intervals do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simedit.eval.compare import FEWEST_POLICIES

_DOMAINS = {
    "raw": "raw renders",
    "vismatch": "Visual Matching frames",
    "varagg": "Variant Aggregation frames",
    "edited": "edited frames",
    "proxy_real": "proxy-real renderings",
}


def domain_name(domain: str) -> str:
    """What a report calls a domain."""
    return _DOMAINS.get(domain, f"{domain} frames")


def headline(summary: Mapping[str, Any]) -> str:
    """The study's result in a sentence or two, or why there is none yet."""
    counts, real = summary["trials"], summary["real"]
    if not counts["finished"]:
        return "No trial has finished yet."
    if summary["exercise"]:
        return "This run exercises the whole line. Its numbers say nothing about reality yet."
    truth = real["name"] if real["stand_in"] else "reality"
    claims: dict[str, list[str]] = {}
    for domain, blocks in summary["domains"].items():
        block = list(blocks.values())[-1]  # the average where there are two tasks
        if block["pearson_r_simpler"] is not None:
            claims.setdefault(_claim(block, truth), []).append(domain_name(domain))
    found = [f"{_listed(domains)} {claim}" for claim, domains in claims.items()]
    if not found:
        entries = [
            entry
            for blocks in summary["domains"].values()
            for block in blocks.values()
            for entry in block["policies"].values()
        ]
        if all(entry["real"] is None for entry in entries):
            return "Success rates, with no real ones to compare them with."
        return "There are rates, but no correlation: it needs the same trials of two policies or more."
    text = "; ".join(found) + "."
    early = f"So far ({counts['finished']} of {counts['wanted']} trials): " if counts["missing"] else ""
    return early + (text if early else text[0].upper() + text[1:])


def number(value: float | None, ci: Sequence[float] | None) -> str:
    """A metric and its interval, all with three decimals."""
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" [{ci[0]:.3f}, {ci[1]:.3f}]" if ci else "")


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _claim(block: Mapping[str, Any], truth: str) -> str:
    rates = [[entry[side] for entry in block["policies"].values()] for side in ("sim", "real")]
    simulated, real = (len(set(side)) == 1 for side in rates)
    if real:
        return f"have nothing to predict: all policies have the same rate in {truth}"
    if simulated:
        return "rank nothing: all policies have the same rate there"
    if block["mmrv_ci"] is None or len(block["policies"]) < FEWEST_POLICIES:
        return f"had too few policies or situations to say whether they rank as {truth} does"
    low, high = block["mmrv_ci"]
    if high == 0:
        return f"rank as {truth} does"
    if low > 0:
        return f"do not rank as {truth} does"
    if block["pearson_r_ci"] is not None and block["pearson_r_ci"][0] > 0:
        return f"follow {truth}, but their intervals leave open whether every policy's rank is the same"
    return f"leave open whether they rank as {truth} does"
