"""Everything the lab ships, made from nothing: stages that each leave their work on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib import resources
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from simedit.config import Config, load_config, parse_config
from simedit.drafts import whole
from simedit.envs.drawer.poses import POSES, TASKS
from simedit.errors import SimeditError, unknown
from simedit.lab.beside import beside, cores
from simedit.lab.materials import MATERIALS, STYLES
from simedit.lab.recipes import RECIPES
from simedit.lab.remaining import Remaining
from simedit.lab.stages import do, keep_plan, read_json, record, write_json
from simedit.locks import locked
from simedit.progress import tracked
from simedit.training.config import TrainConfig

TRAIN_CONFIG = Path(str(resources.files("simedit.lab"))) / "train.yaml"
LIMITS = (
    "It knows one cabinet, seen by one camera, at 160x128 to 320x256.",
    "It lays a photograph on the picture like a slide: patterns neither turn with boards nor follow drawers.",
    "The policies know the expert's way of opening and closing three drawers, and nothing else.",
    "Its real world is proxy-real, a rendering: nothing here says anything about a real robot.",
)


class Plan(Config):
    """How much work a build does; the defaults are those of the weights that ship.

    Attributes:
        seed: of everything drawn.
        scenes: rendered for the base to learn from.
        pictures: of materials, which the scenes are painted with.
        photographs: a folder of pictures of materials, at any depth: half of those without a name are cut
            from them; null paints all. (What ships learned from the textures in Debian's packages
            openarena-081-textures, nexuiz-textures and ufoai-textures, whose .pk3 files are zip files.)
        vae_steps, vae_batch: of the autoencoder's training, and crops in one.
        pairs: of a scene and a picture, at the whole size and at half of it.
        base_steps, base_batch: of the base's training, and how many whole frames one is as large as.
        style_settings: of the specialists' trainings, in place of lab/train.yaml's, as `simedit-train --set`.
        distill_settings: of their distillations, as `simedit-train distill --set`.
        styles: that get a specialist.
        episodes: of the expert in proxy-real.
        policies: that are trained on them, of `simedit.lab.recipes.RECIPES`.
        poses, seeds: of the trials that real rates come from: 6 tasks x poses x seeds a policy.
        max_steps: of a trial.
    """

    seed: NonNegativeInt = 0
    scenes: PositiveInt = 1500
    pictures: PositiveInt = 3000
    photographs: str | None = None
    vae_steps: PositiveInt = 4500
    vae_batch: PositiveInt = 8
    pairs: tuple[PositiveInt, PositiveInt] = (1500, 750)
    base_steps: PositiveInt = 3000
    base_batch: PositiveInt = 4
    style_settings: tuple[str, ...] = ()
    distill_settings: tuple[str, ...] = (
        "warm_start.teacher_steps=8",
        "warm_start.edits=64",
        "warm_start.steps=200",
    )
    styles: Annotated[tuple[str, ...], Field(min_length=1)] = STYLES
    episodes: PositiveInt = 400
    policies: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(RECIPES)
    poses: Annotated[tuple[str, ...], Field(min_length=1)] = tuple(POSES)
    seeds: PositiveInt = 4
    max_steps: PositiveInt = 60

    @model_validator(mode="after")
    def _known(self) -> Plan:
        for kind, names, known in (
            ("style", self.styles, MATERIALS),
            ("policy", self.policies, RECIPES),
            ("pose", self.poses, POSES),
        ):
            for name in names:
                if name not in known:
                    raise ValueError(str(unknown(kind, name, known)))
            if len(set(names)) < len(names):
                raise ValueError(f"each {kind} can be given but once")
        return self


def build(folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
    """Do the stages that `folder` lacks; what ships is in folder/data. A stage that was stopped goes on.

    Args:
        say: gets a line at each stage's begin and end.

    Raises:
        SimeditError: the folder was begun with another plan, is damaged, cannot be written, or is another
            build's just now.
    """
    style_config(folder / "data" / "base", plan.style_settings)
    with locked(folder, "simedit-lab build"):
        _build(folder, plan, say)


def _build(folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
    keep_plan(folder, plan)
    first = [name for name in STAGES if name not in BESIDE]
    second = [name for name in STAGES if name in BESIDE]
    remaining = Remaining(plan, [first, second])

    def tell(name: str, minutes: float | None = None, before: bool = False) -> None:
        title = f"{[*STAGES].index(name) + 1}/{len(STAGES)} {name}"
        if minutes is None:
            remaining.begun(name)
            said = f"{title} ..."
        else:
            remaining.ended(name, minutes)
            said = f"{title}: done before" if before else f"{title}: {minutes:.1f} min"
        say(", ".join(filter(None, (said, remaining.in_words()))))

    log = folder / "beside.log"
    if any(not record(folder, name).exists() for name in second):
        say(f"what {', '.join(second)} print, which are done beside the others, is in {log}")
    with beside(partial(_do, folder, plan, second), tell, log):
        _do(folder, plan, first, tell)
    stages = {name: read_json(record(folder, name)) for name in STAGES}
    content = {"command": "simedit-lab build", "plan": plan.model_dump(mode="json"), "stages": stages}
    write_json(folder / "data" / "card.json", content | {"limits": LIMITS})


def _do(folder: Path, plan: Plan, names: Sequence[str], tell: Callable[..., None]) -> None:
    do(folder, {name: partial(STAGES[name], folder, plan) for name in names}, tell)


def _pairs(folder: Path, plan: Plan) -> None:
    from simedit.lab.pairs import make_pictures, render_scenes

    render_scenes(folder / "pairs", plan.scenes, plan.seed)
    found = None if plan.photographs is None else Path(plan.photographs)
    make_pictures(folder / "pairs", plan.pictures, plan.seed, found)


def _autoencoder(folder: Path, plan: Plan) -> None:
    from simedit.lab.pairs import load_pictures, load_scenes, some_picture
    from simedit.lab.vae import train_vae

    vae = train_vae(
        partial(some_picture, load_scenes(folder / "pairs"), load_pictures(folder / "pairs")),
        steps=plan.vae_steps,
        batch=plan.vae_batch,
        seed=plan.seed,
        folder=folder / "autoencoder",
    )
    vae.save_pretrained(folder / "autoencoder" / "trained")


def _latents(folder: Path, plan: Plan) -> None:
    from diffusers import AutoencoderKL

    from simedit.engine import has_openvino, run_on_engine
    from simedit.lab.base import encode_pairs
    from simedit.lab.pairs import load_pictures, load_scenes, pair

    vae: Any = AutoencoderKL.from_pretrained(folder / "autoencoder" / "trained")
    vae.eval()
    if has_openvino():
        run_on_engine(vae.encoder)
    draw = partial(pair, load_scenes(folder / "pairs"), load_pictures(folder / "pairs"))
    encode_pairs(folder / "latents", vae, draw, plan.pairs, plan.seed)


def _base(folder: Path, plan: Plan) -> None:
    from diffusers import AutoencoderKL

    from simedit.lab.base import load_latents, new_base, train_base
    from simedit.pipeline import silence_loading

    silence_loading()
    pipeline = new_base(AutoencoderKL.from_pretrained(folder / "autoencoder" / "trained"), plan.seed)
    train_base(
        pipeline,
        load_latents(folder / "latents"),
        steps=plan.base_steps,
        batch=plan.base_batch,
        seed=plan.seed,
        folder=folder / "base",
    )
    pipeline.vae.register_to_config(_name_or_path="")  # what ships names no folder of whoever built it
    # Half precision on disk: what ships is small. Everything after this starts from what was saved.
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.unet, pipeline.style_attention):
        part.half()
    pipeline.save_pretrained(folder / "data" / "base")


def _specialists(folder: Path, plan: Plan) -> None:
    from simedit.lab.photographs import save_style

    for style in plan.styles:
        if not (folder / "data" / "specialists" / style).exists():
            save_style(style, folder / "photographs" / style, plan.seed)
    _each_style(folder, plan, "specialists", _specialist)


def _specialist(folder: Path, plan: Plan, style: str, target: Path) -> None:
    train_style(
        style,
        folder / "photographs" / style,
        base=folder / "data" / "base",
        run=folder / "specialists" / style,
        target=target,
        settings=plan.style_settings,
    )


def _distilled(folder: Path, plan: Plan) -> None:
    _each_style(folder, plan, "distilled", _student)


def _student(folder: Path, plan: Plan, style: str, target: Path) -> None:
    from simedit.training.checkpoint import latest
    from simedit.training.cli import train
    from simedit.training.distill import distill

    run, teacher = folder / "distilled" / style, folder / "data" / "specialists" / style
    if latest(run / "checkpoints") is None:
        distill(str(teacher), out=run, to=target, overrides=plan.distill_settings)
    else:
        train(resume=run)


def _each_style(folder: Path, plan: Plan, name: str, work: Callable[[Path, Plan, str, Path], None]) -> None:
    """Make the specialists that are missing in a folder of what ships."""
    import torch

    missing = [style for style in plan.styles if not (folder / "data" / name / style).exists()]
    if not missing:
        return
    # A GPU is one training's; a small training hardly gains by a second core.
    at_once = 1 if torch.cuda.is_available() else min(len(missing), os.cpu_count() or 1)
    with get_context("spawn").Pool(at_once) as pool:
        jobs = [(folder, plan, name, style, work, at_once) for style in missing]
        title = f"{name} (what they say is in {folder / name}/*.log)"
        for _ in tracked(pool.imap_unordered(_one_style, jobs), title, len(jobs)):
            pass


def _one_style(job: tuple[Path, Plan, str, str, Callable[[Path, Plan, str, Path], None], int]) -> None:
    import torch

    from simedit.specialist import Specialist

    folder, plan, name, style, work, at_once = job
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // at_once))
    log = folder / name / f"{style}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    made, target = folder / name / "made" / style, folder / "data" / name / style
    with log.open("a", encoding="utf-8") as lines, redirect_stdout(lines), redirect_stderr(lines):
        if not made.exists():
            work(folder, plan, style, made)
        found = Specialist.load(made)
        # Half precision on disk, as the base has it.
        replace(found, weights={key: value.half() for key, value in found.weights.items()}).save(target)


def train_style(
    name: str,
    photographs: Path,
    *,
    base: Path,
    run: Path,
    target: Path,
    settings: Sequence[str] = (),
    training: Path = TRAIN_CONFIG,
) -> None:
    """Train one specialist by `simedit-train`, or go on with its training.

    Args:
        photographs: the folder of style images.
        run: the training's run folder.
        target: where the finished specialist goes.
        settings: in place of the training's.
        training: its config, without a base.

    Raises:
        SimeditError: unknown settings, a target that exists already, or `run` holds a training that was begun
            with others, with other photographs or for another target.
    """
    from simedit.training.checkpoint import latest
    from simedit.training.cli import train

    config = style_config(base, settings, training)
    newest = latest(run / "checkpoints")
    if newest is None:
        if target.exists():
            raise SimeditError(f"{target} exists already: give another name or --out, or remove it")
        train(
            config=training,
            style_images=photographs,
            name=name,
            out=run,
            specialist=target,
            overrides=(f"base={base}", *settings),
        )
        return
    wanted = config.named(name)
    if differing := _differing(run, newest, wanted, photographs, target):
        raise SimeditError(
            f"{run} holds a training of {name!r} that was begun otherwise: {'; '.join(differing)}. Give the "
            f"same, go on with simedit-train --resume {run}, or remove {run} to train anew"
        )
    train(resume=run)


def style_config(base: Path, settings: Sequence[str], training: Path = TRAIN_CONFIG) -> TrainConfig:
    """The config of a training with settings in place of its own.

    Raises:
        SimeditError: unknown settings.
    """
    return load_config(TrainConfig, training, (f"base={base}", *settings))


def _differing(run: Path, newest: Path, wanted: TrainConfig, photographs: Path, target: Path) -> list[str]:
    """In what the training in `run` is not the one that is asked for."""
    from simedit.specialist import Specialist
    from simedit.training.data import read_style_images

    begun = read_json(run / "run.json")
    # Older versions wrote settings in other places.
    config = parse_config(TrainConfig, begun["config"], where=str(run / "run.json"))
    found = [
        f"{key} was {was} and would be {now}"
        for key, was, now in _changes(config.model_dump(mode="json"), wanted.model_dump(mode="json"))
    ]
    if Path(begun["specialist"]).absolute() != target.absolute():
        found.append(f"--out was {begun['specialist']} and would be {target}")
    before, now = Specialist.load(newest).style_images, read_style_images(photographs)
    if len(before) != len(now) or not all(map(np.array_equal, before, now)):
        found.append("--style-images shows other photographs")
    return found


def _changes(was: dict[str, Any], now: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in sorted(was.keys() | now.keys()):
        one, other = was.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _changes(one, other, f"{above}{key}.")
        elif one != other:
            yield f"{above}{key}", one, other


def _quality(folder: Path, plan: Plan) -> None:
    write_json(folder / "data" / "quality.json", judged(folder / "data" / "specialists"))


def judged(library: Path, frames: int = 15) -> dict[str, Any]:
    """`simedit.lab.quality.measure` of a folder of specialists on so many held-out frames.

    Raises:
        SimeditError: no specialists there, or of different bases.
    """
    from simedit.lab.quality import held_out, measure
    from simedit.pipeline import SpecialistPipeline, silence_loading
    from simedit.specialist import Specialist, specialists_in

    silence_loading()
    specialists = [Specialist.load(folder) for folder in specialists_in(library)]
    base = SpecialistPipeline.from_pretrained(specialists[0].card.base)
    return measure(specialists, base, *held_out(frames))


def _demonstrations(folder: Path, plan: Plan) -> None:
    from simedit.lab.demonstrations import record

    made = record(folder / "demonstrations", plan.episodes, cores=cores(), seed=plan.seed)
    for _ in tracked(made, "expert episodes", plan.episodes):
        pass


def _policies(folder: Path, plan: Plan) -> None:
    from simedit.lab.cloning import train_policies

    train_policies(
        folder / "demonstrations",
        folder / "data" / "policies",
        folder / "policies",
        plan.policies,
        cores=cores(),
        seed=plan.seed,
    )


def _real(folder: Path, plan: Plan) -> None:
    """Roll the policies out in proxy-real; their rates are what the study calls real."""
    import yaml

    from simedit.eval.cli import run
    from simedit.eval.store import Store
    from simedit.lab.demonstrations import HEIGHT, WIDTH

    checkpoints = {name: str(folder / "data" / "policies" / name) for name in plan.policies}
    study = {
        "policies": {name: {"kind": "cloned", "checkpoint": path} for name, path in checkpoints.items()},
        "domains": ["proxy_real"],
        "scenes": {"pose": list(plan.poses)},
        "seeds": list(range(plan.seeds)),
        "max_steps": plan.max_steps,
        "suite": {"kind": "drawer", "width": WIDTH, "height": HEIGHT},
        "real": {"source": "none"},
        "report": {"videos": 0, "strips": 0},
    }
    config = folder / "real.study.yaml"
    with whole(config) as draft:
        draft.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    run(config, folder / "real", num_envs=cores())
    with Store(folder / "real", write=False) as store:
        results = store.results()
    rates: dict[str, dict[str, dict[str, int]]] = {}
    for name in plan.policies:
        for task in TASKS:
            ended = [r.outcome for trial, r in results.items() if (trial.policy, trial.task) == (name, task)]
            if "error" in ended:
                raise SimeditError(f"policy {name} met errors in proxy-real: see {folder / 'real'}")
            rates.setdefault(name, {})[task] = {"successes": ended.count("success"), "n": len(ended)}
    counts = f"6 tasks x {len(plan.poses)} poses x {plan.seeds} seeds a policy"
    source = f"proxy-real, a rendering and no robot: {counts} (simedit-lab build, stage real)"
    content = {
        "source": source,
        "stand_in": True,
        "name": "proxy-real (a rendering)",
        "policies": rates,
    }
    with whole(folder / "data" / "real.yaml") as draft:
        draft.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


STAGES: dict[str, Callable[[Path, Plan], None]] = {
    "pairs": _pairs,
    "autoencoder": _autoencoder,
    "latents": _latents,
    "base": _base,
    "specialists": _specialists,
    "distilled": _distilled,
    "quality": _quality,
    "demonstrations": _demonstrations,
    "policies": _policies,
    "real": _real,
}
"""What a build does: two chains of stages, each in this order."""
BESIDE = ("demonstrations", "policies", "real")
"""The chain that needs none of the other stages, and goes on beside them."""
