"""What the command line shows of results: tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simedit.eval.caveats import printable
from simedit.eval.changes import headline as changed
from simedit.eval.changes import signed
from simedit.eval.evidence import claim
from simedit.eval.headline import headline, number
from simedit.eval.worth import METRICS


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a report's headline, its warnings, its success rates and its metrics, where it has any."""
    print(headline(summary))
    for warning in summary["warnings"]:
        print(f"  ! {warning}")
    _print_rates(summary)
    if any(block["mmrv"] is not None for blocks in summary["domains"].values() for block in blocks.values()):
        print_metrics(summary)


def _print_rates(summary: Mapping[str, Any]) -> None:
    # The last block of a domain: the average of its tasks.
    blocks = {domain: list(blocks.values())[-1] for domain, blocks in summary["domains"].items() if blocks}
    policies = {policy: None for block in blocks.values() for policy in block["policies"]}
    real = {p: entry["real"] for block in blocks.values() for p, entry in block["policies"].items()}
    shown = any(rate is not None for rate in real.values())

    def rate(block: Mapping[str, Any], policy: str) -> str:
        entry = block["policies"].get(policy)
        if entry is None or entry["sim"] is None:
            return "-"
        low, high = entry["wilson"]
        return f"{entry['sim']:.2f} [{low:.2f}, {high:.2f}]"

    def truth(policy: str) -> list[str]:
        return ["-" if real[policy] is None else f"{real[policy]:.2f}"] if shown else []

    print("Success rates, all tasks:")
    print_table(
        ["policy", *blocks, *([printable(summary["real"]["name"])] if shown else [])],
        [
            [policy, *(rate(block, policy) for block in blocks.values()), *truth(policy)]
            for policy in policies
        ],
    )


def print_metrics(summary: Mapping[str, Any]) -> None:
    """Print MMRV and r of every domain, with their intervals where there are any."""

    def cells(block: Mapping[str, Any]) -> list[str]:
        if block["pearson_r_simpler"] is None:
            return ["-", "-"]
        return [number(block[key], block[f"{key}_ci"]) for key in ("mmrv", "pearson_r")]

    print(f"Simulated against {printable(summary['real']['name'])} rates:")
    print_table(
        ["domain", "tasks", "MMRV", "r"],
        [
            [domain, name, *cells(block)]
            for domain, blocks in summary["domains"].items()
            for name, block in blocks.items()
        ],
    )


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a plain table."""
    table = Table(box=box.SIMPLE)
    for name in head:
        table.add_column(Text(name), overflow="fold")  # a number cut short is another one
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)


def print_changes(found: Mapping[str, Any]) -> None:
    """Print what changed between two runs: the rates of both, how well each predicts, and what differs."""
    print(changed(found))
    for warning in found["warnings"]:
        print(f"  ! {printable(warning)}")
    names = [run["name"] for run in found["runs"]]
    print("Success rates over the trials that both runs finished (p after Holm's correction):")
    print_table(
        ["policy", "domain", "n", *names, "change", "gained", "lost", "p"],
        [
            [
                *(row[key] for key in ("policy", "domain", "n")),
                *(f"{rate:.2f}" for rate in row["rates"]),
                signed(row["difference"]),
                *(row[key] for key in ("gained", "lost")),
                _p(row["p_holm"]),
            ]
            for row in found["rates"]
        ],
    )
    blocks = {block["domain"]: block for block in found["metrics"]}  # the last: the average of two tasks
    if blocks:
        print("Simulated against real rates, all tasks, and the second run's value less the first's:")
        print_table(
            ["domain", "metric", *names, "change"],
            [
                [
                    domain,
                    label,
                    *(number(value, None) for value in block[metric]),
                    number(block[f"{metric}_difference"], block[f"{metric}_difference_ci"]),
                ]
                for domain, block in blocks.items()
                for metric, label in (("mmrv", "MMRV"), ("pearson_r", "r"))
            ],
        )
    for kind, rows in found["differs"].items():
        more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
        print(f"{kind} that differ: {printable(', '.join(key for key, _, _ in rows[:8]))}{more}")


LABELS = ("MMRV", "r", "abs. error")
"""What tables call METRICS."""


def print_evidence(found: Mapping[str, Any]) -> None:
    """Print how well arms predict, the errors of their rates, and their advantages over one another."""
    for warning in found["warnings"]:
        print(f"  ! {printable(warning)}")
    last = "average" if len(found["tasks"]) > 1 else found["tasks"][0]
    real, perfect = printable(found["real"]["name"]), found["perfect"][last]
    print(f"Simulated against {real} rates, all tasks:")
    blocks = {arm["name"]: arm["blocks"][last] for arm in found["arms"]}
    rates = {"MMRV": "mmrv", "r": "pearson_r"}
    print_table(
        ["arm", "trials", *rates, "mean abs. error", "mean error"],
        [
            *(
                [
                    arm["name"],
                    arm["trials"],
                    *(number(block[key], block[f"{key}_ci"]) for key in rates.values()),
                    f"{block['mae']:.3f}",
                    signed(block["bias"], 3),
                ]
                for arm, block in zip(found["arms"], blocks.values(), strict=True)
            ),
            ["without error", "", *(f"{value:.3f}" for value in perfect.values()), ""],
        ],
    )
    print("Worth, in real trials for each policy and task (inf: more than these real rates can tell):")
    print_table(
        ["arm", *(f"by {label}" for label in LABELS)],
        [
            [
                name,
                *(
                    _trials(block["worth"][key], least=key == "mmrv" and block["mmrv"] == 0)
                    for key in METRICS
                ),
            ]
            for name, block in blocks.items()
        ],
    )
    for block in found["arms"][0]["blocks"]:
        entries = {arm["name"]: arm["blocks"][block]["policies"] for arm in found["arms"]}
        print(f"Errors of the success rates, simulated less real, {block}:")
        print_table(
            ["policy", "real", *entries],
            [
                [
                    policy,
                    f"{next(iter(entries.values()))[policy]['real']:.2f}",
                    *(_signed(of[policy]["error"], of[policy]["error_ci"], 2) for of in entries.values()),
                ]
                for policy in found["policies"]
            ],
        )
    if found["contrasts"]:
        print(
            "Advantages, all tasks; above 0 the first predicts better (p one-sided, by Holm for MMRV and r, "
            "not for several arms):"
        )
        print_table(
            ["arm", "over", "in", "advantage", "p", "one style", "trials saved"],
            [row for contrast in found["contrasts"] for row in _advantages(contrast, last)],
        )
        if len(found["contrasts"]) == 1:  # of several each would be a test of its own
            print(claim(found["contrasts"][0]))


def _advantages(contrast: Mapping[str, Any], last: str) -> list[list[str]]:
    block, alone = contrast["blocks"][last], contrast.get("one_style", {}).get(last)
    return [
        [
            contrast["arm"],
            contrast["against"],
            label,
            _signed(block[key]["advantage"], block[key]["ci"], 3),
            _p(block[key].get("p_holm", block[key]["p"])),
            "-" if alone is None else signed(alone[key]["advantage"], 3),
            _trials(block["saved"][key], sign="+"),
        ]
        for key, label in zip(METRICS, LABELS, strict=True)
    ]


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}"


def _signed(value: float, ci: Sequence[float], decimals: int) -> str:
    return f"{signed(value, decimals)} [{', '.join(signed(end, decimals) for end in ci)}]"


def _trials(entry: Mapping[str, Any], *, sign: str = "", least: bool = False) -> str:
    """A number of trials, without limit where it is null: above, or at an interval's lower end below."""
    low, high = entry["ci"]
    ends = ("-inf" if sign else "inf") if low is None else low, "inf" if high is None else high
    value = "inf" if entry["trials"] is None else format(entry["trials"], sign)
    return f"{'>=' if least and entry['trials'] is not None else ''}{value} [{', '.join(map(str, ends))}]"
