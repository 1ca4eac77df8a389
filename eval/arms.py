"""Arms of a comparison: trials of one domain, whichever run folders they lie in, counted by situation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simedit.errors import SimeditError, shortened, unknown
from simedit.eval.compare import FEWEST_POLICIES, FEWEST_SITUATIONS, counted
from simedit.eval.published import Rates
from simedit.eval.run_folder import kept, players
from simedit.eval.store import Store
from simedit.eval.trials import Outcome, Trial, trials

AS = "an arm is written FOLDER, FOLDER:DOMAIN or FOLDER:DOMAIN/STYLE, with NAME= before it to name it"


@dataclass(frozen=True)
class Arm:
    """Trials of one domain, compared with real rates as one.

    Attributes:
        outcomes: of those that are stored, as their study counts them.
        wanted: how many the study wants.
        real: the rates that they are to predict, under the study's policy names.
        made_of: from a policy to what its actions depend on, where that is stored.
        players: what played the trials of its folder.
    """

    name: str
    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    outcomes: Mapping[Trial, Outcome]
    wanted: int
    real: Rates
    made_of: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    players: Sequence[dict[str, str]] = ()

    @property
    def seeds(self) -> list[int]:
        return sorted({trial.seed for trial in self.outcomes})

    @property
    def styles(self) -> list[str]:
        """In the study's order; [] where nothing is edited."""
        return [style for style in dict.fromkeys(trial.style for trial in self.outcomes) if style]

    def only(self, *, seeds: Sequence[int] | None = None, styles: Sequence[str] | None = None) -> Arm:
        """The arm with trials of these seeds, and of these styles, alone."""
        return replace(
            self,
            outcomes={
                trial: outcome
                for trial, outcome in self.outcomes.items()
                if (seeds is None or trial.seed in seeds) and (styles is None or trial.style in styles)
            },
        )


def read_arms(places: Sequence[str]) -> list[Arm]:
    """The arms that a command line names; of a folder alone, every domain that has real rates to predict.

    Raises:
        SimeditError: no arm is named, no such folder, domain or style, or two arms of one name.
    """
    found: list[Arm] = []
    for place in places:
        found += _read(place)
    if not found:
        where = f" in {', '.join(places)}, whose domains all stand for the real world" if places else ""
        raise SimeditError(f"there is no arm{where}: {AS}")
    names = [arm.name for arm in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SimeditError(f"two arms are called {twice[0]!r}: name one, such as other=FOLDER:DOMAIN ({AS})")
    return found


def _read(place: str) -> list[Arm]:
    name, equals, where = place.partition("=")
    if not equals or Path(place).exists():
        name, where = "", place
    folder, colon, domain = where.rpartition(":")
    if not colon or Path(where).exists():
        folder, domain = where, ""
    domain, slash, style = domain.partition("/")
    with Store(Path(folder), write=False) as store:
        config, real, _ = kept(store)
        stored, meaning, played_with = store.results(), store.meaning(), players(store)
    wanted = list(trials(config))
    predicting = [each for each in config.domains if each not in config.realities]
    if domain and domain not in predicting:
        raise unknown("domain", domain, predicting)
    if slash and style not in config.styles:
        raise unknown("style", style, config.styles)
    found = []
    for each in [domain] if domain else predicting:
        own = [trial for trial in wanted if trial.domain == each and (not slash or trial.style == style)]
        found.append(
            Arm(
                name=name if name and domain else ":".join(filter(None, (name, f"{each}{slash}{style}"))),
                policies=tuple(config.policies),
                tasks=tuple(config.tasks),
                outcomes={trial: counted(config, stored[trial]) for trial in own if trial in stored},
                wanted=len(own),
                real=real,
                made_of={policy: _of(meaning, policy) for policy in config.policies},
                players=played_with,
            )
        )
    return found


def _of(meaning: Mapping[str, Any], policy: str) -> dict[str, Any]:
    """What of a store's meaning is a policy's."""
    others = ("suite.", "editor.", "specialists.")
    return {
        key: value
        for key, value in meaning.items()
        if key.endswith(f".{policy}") and not key.startswith(others)
    }


def common(arms: Sequence[Arm]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The policies and tasks that all arms have, in the first one's order.

    Raises:
        SimeditError: fewer than three policies, no task, a policy that is not the same in all, or a real rate
            that is unknown, or not the same in all.
    """
    first = arms[0]
    policies = tuple(p for p in first.policies if all(p in arm.policies for arm in arms))
    tasks = tuple(t for t in first.tasks if all(t in arm.tasks for arm in arms))
    if len(policies) < FEWEST_POLICIES:
        raise SimeditError(
            f"{FEWEST_POLICIES} policies are needed, and these arms have {len(policies)} in common "
            f"({', '.join(policies) or 'none'}): two have a correlation of 1 or -1 whatever their rates are, "
            "and one has no rank"
        )
    if not tasks:
        raise SimeditError("these arms have no task in common")
    for policy in policies:
        for arm in arms[1:]:
            here, there = first.made_of.get(policy, {}), arm.made_of.get(policy, {})
            if differ := [key for key in here if key in there and here[key] != there[key]]:
                key = differ[-1]
                raise SimeditError(
                    f"the policy {policy!r} is another one in the arm {arm.name!r} than in {first.name!r} "
                    f"({key}: {shortened(there[key])} there, {shortened(here[key])} here): arms are compared "
                    "on the same policies"
                )
        for task in tasks:
            held = [arm.real.policies.get(policy) for arm in arms]
            rates = [None if of is None else of.root.get(task) for of in held]
            if rates[0] is None:
                raise SimeditError(
                    f"the real {task} rate of policy {policy!r} is not known: give it in the study's "
                    "real.source, and the run's command again"
                )
            for arm, rate in zip(arms, rates, strict=True):
                if rate != rates[0]:
                    raise SimeditError(
                        f"the arms {first.name!r} and {arm.name!r} have other real {task} rates of policy "
                        f"{policy!r}: give the command of the older run again, which reads them anew"
                    )
    return policies, tasks


def alike(one: Arm, two: Arm) -> tuple[Arm, Arm]:
    """Both arms with the seeds alone that both have, and where both are edited, the styles that both have.

    Raises:
        SimeditError: there are none.
    """
    seeds = [seed for seed in one.seeds if seed in two.seeds]
    styles = [style for style in one.styles if style in two.styles] if one.styles and two.styles else None
    for what, shared in (("seed", seeds), ("style", styles)):
        if shared == []:
            raise SimeditError(f"the arms {one.name!r} and {two.name!r} have no {what} in common")
    return one.only(seeds=seeds, styles=styles), two.only(seeds=seeds, styles=styles)


def counts(arms: Sequence[Arm], policies: Sequence[str], task: str) -> tuple[np.ndarray, np.ndarray]:
    """Successes and trials, int [arm, policy, situation] each, in a task's situations that all arms have.

    In each arm the trials that every policy finished count, so that none is better for having broken where it
    is hard.

    Raises:
        SimeditError: fewer situations than intervals need.
    """
    played: list[dict[str, list[Trial]]] = []
    for arm in arms:
        groups: dict[tuple[object, ...], list[Trial]] = {}
        for trial, outcome in arm.outcomes.items():
            if outcome != "error" and trial.task == task and trial.policy in policies:
                place = trial.scene, trial.variant, trial.style, trial.seed
                groups.setdefault(place, []).append(trial)
        scenes: dict[str, list[Trial]] = {}
        for (scene, *_), group in groups.items():
            if len(group) == len(policies):
                scenes.setdefault(str(scene), []).extend(group)
        played.append(scenes)
    shared = [scene for scene in played[0] if all(scene in scenes for scenes in played)]
    if len(shared) < FEWEST_SITUATIONS:
        raise SimeditError(
            f"{FEWEST_SITUATIONS} situations of the task {task!r} are needed that every policy finished in "
            f"every arm ({', '.join(arm.name for arm in arms)}), and there are {len(shared)}: play more"
        )
    won, held = np.zeros((2, len(arms), len(policies), len(shared)), int)
    for a, (arm, scenes) in enumerate(zip(arms, played, strict=True)):
        for u, scene in enumerate(shared):
            for trial in scenes[scene]:
                p = policies.index(trial.policy)
                held[a, p, u] += 1
                won[a, p, u] += arm.outcomes[trial] == "success"
    return won, held
