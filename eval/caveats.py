"""What a reader must know before any number, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from simedit.eval.absent import describe, playable
from simedit.eval.compare import FEWEST_POLICIES, FEWEST_SITUATIONS, is_policy_error
from simedit.eval.config import StudyConfig
from simedit.eval.published import Rates
from simedit.eval.shards import Shard
from simedit.eval.trials import Result, Trial, trials

_LONGEST = 300


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Facts:
    """What a report must say about the parts of a study; kept in its run folder. Wrong types: ValueError.

    Attributes:
        untrained: styles whose specialist was never trained.
        blind: policies that do not look at images.
        absent: from domain and variant to the file for whose lack it is not played.
        shard: which one of the study the folder is for, such as "3/16"; "" where for the whole.
    """

    untrained: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)
    shard: str = ""


def untrained(config: StudyConfig, facts: Facts) -> list[str]:
    """The styles of a study that were never trained."""
    return [style for style in config.styles if style in facts.untrained and "edited" in config.domains]


def printable(text: str) -> str:
    """A message in one line that no terminal takes for a command, cut where it is long."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}..."


def caveats(
    config: StudyConfig,
    stored: Mapping[Trial, Result],
    real: Rates,
    facts: Facts,
    counts: Mapping[str, int],
    left_out: int,
    alone: Sequence[tuple[str, str]],
    domains: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """The warnings of a report, the gravest first.

    Args:
        stored: the results of wanted trials.
        counts: of trials, as `simedit.eval.summary.status` gives them.
        left_out: finished trials that not every policy finished.
        alone: each domain and task without a trial that every policy finished.
        domains: the blocks of each domain.
    """
    found = []
    if real.stand_in:
        found.append(
            f'No robot measured the rates called "{printable(real.label)}", a stand-in: '
            + printable(real.source)
        )
    if blind := [name for name in config.policies if name in facts.blind]:
        found.append(
            f"Policies that do not look at images: {', '.join(blind)}. They act from the simulator's state: "
            "no edit can change what they do, and a correlation computed from them means nothing."
        )
    if styles := untrained(config, facts):
        found.append(f"Specialists that were never trained: {', '.join(styles)}. Their edits are noise.")
    if counts["absent"]:
        found.append(
            f"{counts['absent']} of {counts['wanted']} trials are not run, for their files are absent: "
            f"{describe(facts.absent)}. The rates are over what ran."
        )
    if facts.shard:
        part = Shard.parse(facts.shard).of(trials(config))
        missing = sum(trial not in stored for trial in playable(part, facts.absent))
        found.append(
            f"This is shard {facts.shard}, {len(part)} of the study's {counts['wanted']} trials"
            + (f", {missing} of which have not run yet" if missing else "")
            + ": the whole study's report is made by `simedit-eval merge`."
        )
    elif counts["missing"]:
        found.append(
            f"{counts['missing']} of {counts['wanted']} trials have not run yet; the same command goes on."
        )
    found += _errors(config, stored.values())
    if left_out:
        found.append(
            f"Policies are compared on the same trials: {left_out} finished ones, which not every policy "
            "finished, are left out of rates and metrics."
        )
    if alone:
        found.append(
            f"No trial was finished by every policy in: {', '.join(map(' '.join, alone))}. "
            "The rates there are each policy's own and cannot be compared."
        )
    if len(config.policies) < 2:
        found.append("A correlation needs two policies or more; this study has one.")
    return [*found, *_undefined(real, domains), *_too_few(config, domains), *_repeats(stored)]


def _errors(config: StudyConfig, results: Iterable[Result]) -> Iterable[str]:
    errors = [result for result in results if result.outcome == "error"]
    failures = [r for r in errors if config.count_policy_errors_as == "failure" and is_policy_error(r)]
    for group, what in (
        ([error for error in errors if error not in failures], "count for nothing"),
        (failures, "count as failures (count_policy_errors_as)"),
    ):
        if group:
            by_policy = Counter(error.trial.policy for error in group)
            whose = ", ".join(f"{name} {number}" for name, number in by_policy.most_common())
            yield (
                f"{len(group)} trials ended in an error and {what}; by policy: {whose}. The same command "
                f"tries them again. First message: {printable(min(error.message for error in group))}"
            )


def _undefined(real: Rates, domains: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Where rates rank no policies, on either side."""
    for side, where in (
        ("real", f"in {real.label if real.stand_in else 'reality'}"),
        ("sim", "in simulation"),
    ):
        equal = [
            f"{domain} {name}"
            for domain, blocks in domains.items()
            for name, block in blocks.items()
            if len(rates := [entry[side] for entry in block["policies"].values()]) > 1
            and None not in rates
            and len(set(rates)) == 1
        ]
        if equal:
            nothing = "there is no ranking to predict" if side == "real" else "it ranks nothing there"
            yield (
                f"All policies have the same rate {where}: {', '.join(equal)}. "
                f"So {nothing}, and r is undefined."
            )


def _too_few(config: StudyConfig, domains: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    compared = {
        domain: blocks
        for domain, blocks in domains.items()
        if any(block["pearson_r_simpler"] is not None for block in blocks.values())
    }
    if compared and len(config.policies) < FEWEST_POLICIES:
        yield "Two policies have r 1 or -1 whatever their rates are: it has no interval and shows nothing."
    few = [
        f"{domain} {task} ({blocks[task]['situations']})"
        for domain, blocks in compared.items()
        for task in config.tasks
        if blocks[task]["situations"] < FEWEST_SITUATIONS
    ]
    if few:
        yield (
            "Too few situations (scenes of a task) were played for intervals and claims, "
            f"{FEWEST_SITUATIONS} are needed: {', '.join(few)}. Seeds, styles and variants add none."
        )


def _repeats(stored: Mapping[Trial, Result]) -> Iterable[str]:
    """Where other seeds gave the same episode again."""
    seen: set[tuple[Any, ...]] = set()
    again: Counter[str] = Counter()
    for t, result in stored.items():
        if result.outcome != "error" and result.frame_hash:
            place = (t.policy, t.situation, t.domain, t.variant, t.style)
            end = (result.outcome, result.steps, result.progress, tuple(result.measures.items()))
            episode = (*place, result.frame_hash, *end)
            again[t.domain] += episode in seen
            seen.add(episode)
    if where := [f"{domain} {number}" for domain, number in again.items() if number]:
        yield (
            f"Trials that repeat another seed's episode (same first frame, steps and end): "
            f"{', '.join(where)}. They add nothing, and narrow no interval."
        )
