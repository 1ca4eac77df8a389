"""Figure 8 of the paper's earlier version, in miniature: are edited pictures better to learn from?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from simedit.lab.push_t.plan import ARMS, Plan
from simedit.lab.stages import do, keep_plan, write_json
from simedit.locks import locked
from simedit.packaged import lab_data
from simedit.progress import tracked

RECIPE = "tabletop"
_RAW, _REAL, _HELD_OUT = 1_000, 100_000, 200_000
"""The first start of each kind of episodes; trials have those from 0 on."""
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

    stages: dict[str, Callable[[], None]] = {
        "recipe": partial(_recipe, folder, plan),
        "episodes": partial(_episodes, folder, plan),
        "edits": partial(_edits, folder, plan),
        "policies": partial(_policies, folder, plan),
        "errors": partial(_errors, folder, plan),
        "curve": partial(_curve, folder, plan),
        "trials": partial(_trials, folder, plan),
    }

    def tell(name: str, minutes: float | None = None, before: bool = False) -> None:
        title = f"{[*stages].index(name) + 1}/{len(stages)} {name}"
        if minutes is None:
            say(f"{title} ...")
        else:
            say(f"{title}: done before" if before else f"{title}: {minutes:.1f} min")

    with locked(folder, "simedit-lab push-t"):
        keep_plan(folder, plan)
        do(folder, stages, tell)
        return report(folder, plan, recipe_of(folder))


def recipe_of(folder: Path) -> Path:
    """The recipe that edits."""
    return folder / "data" / RECIPE


def policy_of(folder: Path, arm: str, seed: int) -> Path:
    """A policy's folder."""
    return folder / "data" / "policies" / f"{arm}_{seed}"


def _recipe(folder: Path, plan: Plan) -> None:
    """Five photographs of proxy-real; from them a specialist for the table, and one for the block on it."""
    from simedit.envs.push_t.inputs import write_photographs
    from simedit.lab.push_t.specialists import train_recipe

    photographs = folder / "photographs"
    if not photographs.exists():
        write_photographs(photographs, 5, 512, seed=plan.seed)
    train_recipe(
        photographs,
        base=lab_data("base"),
        run=folder / "specialists",
        target=recipe_of(folder),
        settings=plan.training,
    )


def _episodes(folder: Path, plan: Plan) -> None:
    from simedit.lab.push_t.demonstrations import record

    wanted = {
        "held_out": (plan.held_out, _HELD_OUT),
        "pool": (plan.pool, _REAL),
        "raw": (plan.episodes, _RAW),
    }
    for name, (count, first) in wanted.items():
        if not (folder / "datasets" / name).exists():
            record(folder / "datasets" / name, count, first + plan.seed, real=name != "raw")


def _edits(folder: Path, plan: Plan) -> None:
    """The raw dataset edited, and with photographs laid on it."""
    from simedit.lab.push_t.edits import edit, lay

    raw, recipe = folder / "datasets" / "raw", recipe_of(folder)
    for name, make in (("edited", edit), ("laid", lay)):
        if not (folder / "datasets" / name).exists():
            make(raw, folder / "datasets" / name, recipe)


def _policies(folder: Path, plan: Plan) -> None:
    from simedit.lab.push_t.cloning import new_network, train
    from simedit.policies.networks import save

    for arm in ARMS:
        missing = [s for s in range(plan.policies) if not policy_of(folder, arm, s).exists()]
        if not missing:
            continue
        seen, look = _seen(folder, plan, arm)
        for seed in missing:
            network = new_network(plan.network, _seed(plan, seed))
            run = folder / "policies" / f"{arm}_{seed}"
            train(network, seen, steps=plan.steps, folder=run, seed=_seed(plan, seed), look=look)
            save(network, plan.network, policy_of(folder, arm, seed))


def _errors(folder: Path, plan: Plan) -> None:
    """On held-out episodes: untrained, pretrained, and then tuned with a few episodes of proxy-real."""
    from simedit.lab.push_t.cloning import errors, load_seen, new_network, train

    held_out = load_seen(folder / "datasets" / "held_out", plan.network)
    few = load_seen(folder / "datasets" / "pool", plan.network).first(plan.tuned)
    found: dict[str, dict[str, list[list[float]]]] = {"zero_shot": {}, "tuned": {}}
    jobs = [(arm, seed) for arm in ("untrained", *ARMS) for seed in range(plan.policies)]
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
    from simedit.lab.push_t.cloning import errors, load_seen, new_network, one_pass

    held_out = load_seen(folder / "datasets" / "held_out", plan.network)
    pool = load_seen(folder / "datasets" / "pool", plan.network)
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

    names = [(arm, seed) for arm in ARMS for seed in range(plan.policies)]
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
    from simedit.lab.push_t.cloning import Coloured, load_seen

    name = {"colours": "raw", "proxy_real": "pool"}.get(arm, arm)
    seen = load_seen(folder / "datasets" / name, plan.network).first(plan.episodes)
    return seen, Coloured(_labels(seen.frames.numpy())) if arm == "colours" else None


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
