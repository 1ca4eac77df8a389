"""Figure 8 of the paper's earlier version, in miniature: are edited pictures better to learn from?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simedit.lab.push_t.plan import ARMS, SHIPPED, Plan, Source
from simedit.lab.stages import do as do_stages
from simedit.lab.stages import keep_plan, write_json
from simedit.locks import locked
from simedit.packaged import lab_data
from simedit.policies.flow import FlowConfig
from simedit.progress import tracked

RECIPE = "tabletop"
_RAW, _REAL, _HELD_OUT = 1_000, 100_000, 200_000
"""The first start of each kind of episodes; trials have those from 0 on."""
_STARTS = 1_000_000
"""By which another seed's are farther."""
_POINTS = 24
"""Of the curve."""
_PASS_BATCH = 32


def study(folder: Path, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Do what the folder lacks of the study. A stage that was stopped goes on.

    Args:
        say: gets a line at each stage's begin and end.

    Returns:
        what report.json holds.

    Raises:
        SimeditError: gym-pusht or pyarrow is not installed, the folder was begun with another plan, or cannot
            be written.
    """
    from simedit.lab.push_t.report import report

    every: dict[str, Callable[[Path, Plan], None]] = {
        "recipe": _recipe,
        "episodes": _episodes,
        "edits": _edits,
        "policies": _policies,
        "errors": _errors,
        "curve": _curve,
        "trials": _trials,
    }
    left_out = {"recipe", "episodes", "trials"} if plan.data else {"edits"} if plan.shipped else set()
    stages = {name: partial(do, folder, plan) for name, do in every.items() if name not in left_out}

    def tell(name: str, minutes: float | None = None, before: bool = False) -> None:
        title = f"{[*stages].index(name) + 1}/{len(stages)} {name}"
        if minutes is None:
            say(f"{title} ...")
        else:
            say(f"{title}: done before" if before else f"{title}: {minutes:.1f} min")

    with locked(folder, "simedit-lab push-t"):
        keep_plan(folder, plan)
        do_stages(folder, stages, tell)
        return report(folder, plan, recipe_of(folder, plan))


def recipe_of(folder: Path, plan: Plan) -> Path:
    """The recipe that edits."""
    return plan.data.recipe if plan.data else folder / "data" / RECIPE


def source_of(folder: Path, plan: Plan, name: str) -> Source:
    """The dataset "raw", "edited", "laid", "pool" or "held_out"."""
    own = folder / "datasets" / name
    if plan.data is None:
        return Source(dataset=own)
    if name in ("edited", "laid"):
        return plan.data.raw.model_copy(update={"dataset": own})
    return getattr(plan.data, name)


def arms_of(plan: Plan) -> tuple[str, ...]:
    """What policies are pretrained on."""
    return SHIPPED if plan.shipped else tuple(ARMS)


def policy_of(folder: Path, arm: str, seed: int) -> Path:
    """A policy's folder."""
    return folder / "data" / "policies" / f"{arm}_{seed}"


def _recipe(folder: Path, plan: Plan) -> None:
    """Five photographs of proxy-real; from them a specialist for the table, and one for the block on it."""
    from simedit.envs.push_t.inputs import write_photographs
    from simedit.lab.push_t.specialists import train_recipe
    from simedit.recipe import Recipe

    target = recipe_of(folder, plan)
    if plan.shipped:
        return Recipe.load(lab_data(f"push_t/{RECIPE}")).save(target)
    photographs = folder / "photographs"
    if not photographs.exists():
        write_photographs(photographs, 5, 512, seed=plan.seed)
    run = folder / "specialists"
    train_recipe(photographs, base=lab_data("base"), run=run, target=target, settings=plan.training)


def _episodes(folder: Path, plan: Plan) -> None:
    from simedit.lab.push_t.demonstrations import record

    wanted = {
        "held_out": (plan.held_out, _HELD_OUT),
        "pool": (plan.pool, _REAL),
        "raw": (plan.episodes, _RAW),
    }
    if plan.shipped:
        del wanted["raw"]
    for name, (count, first) in wanted.items():
        target = source_of(folder, plan, name).dataset
        if not target.exists():
            record(target, count, first + _STARTS * plan.seed, real=name != "raw")


def _edits(folder: Path, plan: Plan) -> None:
    """The raw dataset edited, and with photographs laid on it."""
    from simedit.lab.push_t.edits import edit, lay

    raw, recipe = source_of(folder, plan, "raw"), recipe_of(folder, plan)
    for name, make in (("edited", edit), ("laid", lay)):
        target = source_of(folder, plan, name).dataset
        if not target.exists():
            make(raw.dataset, target, recipe, raw.camera)


def _policies(folder: Path, plan: Plan) -> None:
    from simedit.lab.push_t.cloning import new_network, train
    from simedit.policies.networks import save

    for arm in arms_of(plan):
        missing = [s for s in range(plan.policies) if not policy_of(folder, arm, s).exists()]
        if missing and plan.shipped:
            for seed in missing:
                config, network = _loaded(lab_data(f"push_t/{arm}_{seed}"))
                save(network, config, policy_of(folder, arm, seed))
        elif missing:
            seen, look = _seen(folder, plan, arm)
            config = _config(folder, plan)
            for seed in missing:
                network = new_network(config, _seed(plan, seed))
                run = folder / "policies" / f"{arm}_{seed}"
                train(network, seen, steps=plan.steps, folder=run, seed=_seed(plan, seed), look=look)
                save(network, config, policy_of(folder, arm, seed))


def _errors(folder: Path, plan: Plan) -> None:
    """On held-out episodes: untrained, pretrained, and then tuned with a few episodes of proxy-real."""
    from simedit.lab.push_t.cloning import errors, new_network, train

    held_out = _taken(folder, plan, "held_out", plan.held_out)
    few = _taken(folder, plan, "pool", plan.tuned)
    found: dict[str, dict[str, list[list[float]]]] = {"zero_shot": {}, "tuned": {}}
    jobs = [(arm, seed) for arm in ("untrained", *arms_of(plan)) for seed in range(plan.policies)]
    for arm, seed in tracked(jobs, "policies judged", len(jobs)):
        config, network = plan.network, new_network(plan.network, _seed(plan, seed))
        if arm != "untrained":
            config, network = _loaded(policy_of(folder, arm, seed))
        for stage, values in found.items():
            if stage == "tuned":
                run = folder / "tuned" / f"{arm}_{seed}"
                train(network, few, steps=plan.tuned_steps, folder=run, seed=_seed(plan, seed), rate=1e-3)
            errs = errors(network.eval(), held_out, execute=config.execute, seed=plan.seed)
            values.setdefault(arm, []).append(errs.tolist())
    write_json(folder / "errors.found.json", found)


def _curve(folder: Path, plan: Plan) -> None:
    """An untrained policy that learns from each sample of proxy-real once."""
    from simedit.lab.push_t.cloning import errors, new_network, one_pass

    held_out = _taken(folder, plan, "held_out", plan.held_out)
    pool = _taken(folder, plan, "pool", plan.pool)
    every = max(1, len(pool) // _POINTS)
    seen: list[int] = []
    curves: list[list[float]] = []
    for seed in tracked(range(plan.policies), "passes over proxy-real", plan.policies):
        network, curve, seen = new_network(plan.network, _seed(plan, seed)), [], []
        for count in one_pass(network, pool, batch=_PASS_BATCH, seed=_seed(plan, seed), every=every):
            seen.append(count)
            curve.append(
                float(errors(network, held_out, execute=plan.network.execute, seed=plan.seed).mean())
            )
        curves.append(curve)
    write_json(folder / "curve.found.json", {"seen": seen, "errors": curves})


def _trials(folder: Path, plan: Plan) -> None:
    """Every policy plays the same starts in proxy-real."""
    import yaml

    from simedit.drafts import whole
    from simedit.eval.cli import run
    from simedit.lab.beside import cores
    from simedit.lab.push_t.demonstrations import SIZE

    names = [(arm, seed) for arm in arms_of(plan) for seed in range(plan.policies)]
    paths = {f"{arm}_{seed}": policy_of(folder, arm, seed) for arm, seed in names}
    config = {
        "policies": {name: {"kind": "flow", "checkpoint": str(path)} for name, path in paths.items()},
        "domains": ["proxy_real"],
        "seeds": [plan.seed],
        "suite": {"kind": "push_t", "size": SIZE, "starts": plan.starts},
        "real": {"source": "none"},
        "report": {"videos": 0, "strips": 0},
    }
    file = folder / "trials.study.yaml"
    with whole(file) as draft:
        draft.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    run(file, folder / "trials", num_envs=cores())


def _seen(folder: Path, plan: Plan, arm: str) -> tuple[Any, Any]:
    """What an arm's policies learn from, and how it looks then."""
    from simedit.lab.push_t.cloning import Coloured

    name = {"colours": "raw", "proxy_real": "pool"}.get(arm, arm)
    seen = _taken(folder, plan, name, plan.episodes)
    return seen, Coloured(_labels(seen.frames.numpy())) if arm == "colours" else None


def _taken(folder: Path, plan: Plan, name: str, episodes: int) -> Any:
    """The first episodes of a dataset."""
    from simedit.lab.push_t.seen import load_seen

    source = source_of(folder, plan, name)
    return load_seen(source, plan.network, _units(folder, plan, name)).first(episodes)


def _units(folder: Path, plan: Plan, name: str) -> Any:
    """Of a dataset's positions; None where they are the network's own."""
    from simedit.lab.push_t.seen import units_of

    if plan.data is None:
        return None
    return units_of(plan.data.pool if name in ("pool", "held_out") else plan.data.raw)


def _config(folder: Path, plan: Plan) -> FlowConfig:
    """Of policies that learn from simulated pictures, and can be played in gym-pusht."""
    if (units := _units(folder, plan, "raw")) is None:
        return plan.network
    mean, spread = units
    return plan.network.model_copy(update={"mean": mean.tolist(), "spread": spread.tolist()})


def _labels(frames: np.ndarray) -> Any:
    import torch

    from simedit.envs.push_t.masks import regions

    found = [np.argmax([*regions(frame).values()], 0).astype(np.uint8) for frame in frames]
    return torch.from_numpy(np.stack(found))


def _loaded(folder: Path) -> Any:
    from simedit.policies.flow import FlowConfig, FlowNetwork
    from simedit.policies.networks import load

    return load(folder, FlowConfig, FlowNetwork, "flow policy")


def _seed(plan: Plan, seed: int) -> int:
    return 1000 * plan.seed + seed
