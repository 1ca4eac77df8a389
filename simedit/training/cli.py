"""The command `simedit-train`: the one place where training meets concrete inputs, masks and scores."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from simedit.config import check_set_once, load_config
from simedit.errors import SimeditError, run_cli
from simedit.locks import locked
from simedit.names import check_name
from simedit.packaged import CARD, SPECIALISTS, config_file, packaged_configs, specialist_folder
from simedit.progress import counting
from simedit.training.config import (
    DistilledConfig,
    ImagesConfig,
    PushTConfig,
    StyleConfig,
    TrainConfig,
    TwinConfig,
    check_counts,
)
from simedit.training.imports import check_imports, missing_imports
from simedit.training.run_file import MAY_CHANGE, RUN, Run, changed, read_run, write_run

# Everything heavy is imported where it is used, so that help and mistakes do not wait for torch.
if TYPE_CHECKING:
    import torch

    from simedit.pipeline import SpecialistPipeline
    from simedit.scores import Score
    from simedit.specialist import Card, Specialist
    from simedit.training.after import EditedInputs
    from simedit.training.data import Inputs
    from simedit.training.sampler import Masks

RUNS = Path("runs/train")

DESCRIPTION = """\
Make a specialist from a few photographs of a style, with AI feedback and no labels.

  simedit-train --config material --style-images photos/gold --name gold
  simedit-train --config material --dry-run
  simedit-train --config canny --style-images photos/teak --name teak --set steps=6 seed=1
  simedit-train --config photo --style rain \\
      --style-images photos/rain --name rain --set inputs.path=photos/streets
  simedit-train --resume runs/train/gold
  simedit-train distill --specialist gold                 # the same edits in one evaluation (distill --help)
  simedit-train recipe --config tabletop.yaml             # several specialists, one after the other
  accelerate launch --multi_gpu --num_processes 4 -m simedit.training.cli --config ... (the same options)

Without InstructPix2Pix at hand: simedit-lab train-style NAME --style-images FOLDER, on a small base that
ships with simedit.

Look at grid_*.png and curves.png in the run folder while it trains: scores should fall. At the end it is
tried on frames that it never saw: a table, worth.png and a sentence say what it is worth. Ctrl-C saves what
is done, also within a step; kill -9 loses the step begun, and so does Ctrl-C with several GPUs. The finished
specialist goes to specialists/NAME, where simedit-edit and simedit-eval find it; each checkpoint is one too.
"""

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Given = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


def train(
    config: Given = None,
    style_images: Given = None,
    name: Name = None,
    style: Given = None,
    out: Given = None,
    specialist: Given = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    resume: Given = None,
    cpu: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Train a specialist; `DESCRIPTION` says how.

    Args:
        config: The training: a YAML file (paths in it are relative to the working directory), or the name of
            one that ships (simedit-eval configs lists them).
        style_images: A folder of photographs that show the style, five are usual; or one image.
        name: The specialist's name; it stands for {style} in the config's texts, with _ as a space.
        style: In place of the config's style section: a YAML file, or one that ships, such as rain.
        out: The run folder. By default runs/train/NAME.
        specialist: Where the finished specialist goes. By default specialists/NAME.
        overrides: Settings in place of the config's, for example: steps=6 sampling.batch_size=4
        resume: A run folder to go on with: it knows its config and its style images.
        cpu: Train on the CPU even where there is a GPU.
        dry_run: Only print how much work and memory it would take.
        overwrite: Replace a specialist that is there already.
    """
    if resume is not None:
        if any(given is not None for given in (config, style_images, name, style, out)):
            raise SimeditError(
                "--resume goes on with the run's own config, style images and name: give none of them "
                "(--set may change " + ", ".join(sorted(MAY_CHANGE)) + ")"
            )
        folder = resume
        run = read_run(folder)
        training = changed(run, overrides, folder)
    else:
        if config is None:
            ours = ", ".join(packaged_configs("train"))
            raise SimeditError(f"--config is missing: a YAML file, or one that ships ({ours})")
        training = _configured(config, style, overrides)
        if dry_run:
            return dry_run_of(training, cpu)
        if isinstance(training.warm_start, DistilledConfig):
            raise SimeditError(
                f"{config} is a distillation: simedit-train distill --specialist "
                f"{shlex.quote(training.warm_start.teacher)} --config {shlex.quote(str(config))}"
            )
        if style_images is None or name is None:
            raise SimeditError("--style-images and --name are needed, for example photos/gold and gold")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise SimeditError(
                f"--name {name!r} must be of letters, digits, - and _ (read as a space): it names a folder"
            )
        check_name(name, "--name")
        training = training.named(name)
        folder = out or RUNS / name
        target = specialist or SPECIALISTS / name
        run = Run(name=name, id=secrets.token_hex(8), specialist=str(target))
    if dry_run:
        return dry_run_of(training, cpu)
    if resume is not None and specialist is not None:
        run = run.model_copy(update={"specialist": str(specialist)})
    train_in(training, run, folder, style_images, fresh=resume is None, cpu=cpu, overwrite=overwrite)


def train_in(
    config: TrainConfig,
    run: Run,
    folder: Path,
    style_images: Path | None,
    *,
    fresh: bool,
    cpu: bool,
    overwrite: bool,
) -> None:
    """Train in a run folder, or go on there, and tell what came out.

    Args:
        style_images: None for a distillation, or where a training goes on: they are there already.
        fresh: whether it is a new training.
        cpu, overwrite: as `train`'s.

    Raises:
        SimeditError, KeyboardInterrupt: as `simedit-train` ends.
    """
    from simedit.training import checkpoint as checkpoints
    from simedit.training.data import read_style_images, style_files

    check_imports(config)
    console, target, saved = Console(stderr=True), Path(run.specialist), folder / "checkpoints"
    if fresh:
        _check_fresh(folder)
    _check_target(target, run.id, overwrite)
    for path in (folder, target.parent):
        _check_writable(path)
    names = [] if style_images is None else [file.name for file in style_files(style_images)]
    styles = () if style_images is None else read_style_images(style_images)
    teacher = None
    if isinstance(config.warm_start, DistilledConfig):
        from simedit.specialist import Specialist

        teacher = Specialist.load(config.warm_start.teacher)
        styles = (teacher.style_images[teacher.card.style_image],)  # edits use no other

    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    from simedit.pipeline import SpecialistPipeline, silence_loading
    from simedit.scores.grounded_sam2 import GroundedSam2
    from simedit.training.depends import machine
    from simedit.training.guards import enough_memory
    from simedit.training.photographs import doubts
    from simedit.training.regions import Regions, check_masks
    from simedit.training.sampler import Material
    from simedit.training.terminal import shown, silent, warning_masks
    from simedit.training.trainer import Interrupted, Trainer

    silence_loading()
    # Others wait while one process downloads some gigabytes.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=3))
    accelerator = Accelerator(cpu=cpu, kwargs_handlers=[patience])
    main, device = accelerator.is_main_process, accelerator.device
    check_counts(config, accelerator.num_processes)
    if config.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(False):
        raise SimeditError("this GPU cannot compute in bfloat16: add --set precision=fp32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.deterministic = True

    def segmenter() -> GroundedSam2:
        return GroundedSam2.configured(config.regions, device)

    def alone() -> Path | None:
        """From here on the run folder is this training's; gives its newest checkpoint."""
        with accelerator.main_process_first():
            if main:
                stack.enter_context(locked(folder, "simedit-train"))
                checkpoints.tidy(saved)
            return checkpoints.latest(saved)

    with contextlib.ExitStack() as stack:
        stack.enter_context(enough_memory(config))
        newest = None
        if not fresh:
            newest = alone()
            if newest is None:
                raise SimeditError(f"{folder} holds no checkpoint to go on from: start it anew")
            styles = checkpoints.load(newest).specialist.style_images
        inputs, edited = _inputs(config, stack), None
        inputs[0]  # what cannot be rendered or read is met here, and before TensorBoard loads TensorFlow
        check_masks(config.regions, inputs)
        # One process downloads, the others find it there.
        with accelerator.main_process_first():
            if main:
                with _lab_offered(run.name, style_images):
                    run = _dependent(run, config, folder, machine(device), console)
            dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
            pipeline = SpecialistPipeline.from_pretrained(config.base, torch_dtype=dtype).to(device)
            shown_in = config.regions
            if shown_in.cut and not fresh:  # they are cut
                shown_in = shown_in.model_copy(update={"styles": "full-frame", "style_masks": None})
            regions = Regions(shown_in, config.style, styles, segmenter)
            if shown_in.cut and fresh:
                styles = regions.cut(styles)
            scores = scores_of(config, pipeline, device)
        masks = warning_masks(regions, config.style, console) if main else regions.inputs
        if config.after is not None:
            inputs = edited = _edited(config, inputs, folder, device)
            masks = edited.found_before(masks) if config.regions.inputs == "grounded-sam2" else masks
        material = Material(
            inputs=inputs,
            styles=styles,
            masks=masks,
            style_masks=regions.styles,
            scores=scores,
        )
        base = str(Path(config.base).resolve()) if Path(config.base).is_dir() else config.base
        trainer = Trainer(
            config,
            run.name,
            pipeline,
            base,
            material,
            folder,
            teacher=teacher,
            run_id=run.id,
            accelerator=accelerator,
        )
        if newest is not None:
            trainer.resume(newest)
        else:  # only now, so that what fails before leaves nothing
            alone()
            _check_fresh(folder)
        if main and fresh and teacher is None:
            for doubt in doubts(names, styles, regions.styles, config.height):
                console.print(f"warning: {doubt}", soft_wrap=True, highlight=False, markup=False)
        if main:
            write_run(folder, run.model_copy(update={"config": config.model_dump(mode="json")}))
        go_on = f"Go on with: {_resume_command(folder, accelerator.num_processes, cpu, overwrite)}"
        if edited is not None:
            mine = edited.groups()[accelerator.process_index :: accelerator.num_processes]
            with contextlib.ExitStack() as showing:
                total = sum(map(len, mine))
                show = showing.enter_context(counting(edited.title, total, console=console)) if main else None
                for done in edited.prepare(mine):
                    if show is not None:
                        show(done)
            accelerator.wait_for_everyone()
        try:
            with shown(console, config) if main else contextlib.nullcontext(silent) as trainer.show:
                result = trainer.run()
            if main:
                _check_target(target, run.id, overwrite)  # another training may have come first
                result.save(target)
        except Interrupted:
            console.print(f"stopped, and saved. {go_on}", soft_wrap=True, highlight=False, markup=False)
            raise KeyboardInterrupt from None
        except SimeditError as error:
            if checkpoints.latest(saved) is None:
                raise
            raise SimeditError(f"{str(error).rstrip('.')}. {go_on}") from error
        accelerator.end_training()
        if main:
            del trainer, pipeline, scores, material
            base = SpecialistPipeline.from_pretrained(config.base, torch_dtype=dtype).to(device)
            _tell_worth(result, teacher, base, inputs, masks, folder, target)
            print(f"specialist: {target}")
            if config.steps:
                print(f"pictures:   {folder / 'curves.png'}, grid_*.png beside it")
            print(f"try it:     simedit-edit --specialist {shlex.quote(str(target))} photo.png edited.png")


def _tell_worth(
    result: Specialist,
    teacher: Specialist | None,
    base: SpecialistPipeline,
    inputs: Inputs,
    masks: Masks,
    folder: Path,
    target: Path,
) -> None:
    """Try the specialist on frames it was not trained on, and say what it is worth, or what is lost against
    its teacher."""
    from simedit.training import ending

    try:
        frames, shown, new = ending.held_out(inputs, masks)
    except SimeditError as error:  # the specialist is there all the same
        print(f"not judged: {error}")
        return
    if teacher is not None:
        found, pictures = ending.against(result, teacher, base, frames, shown)
        ending.write(folder, found, pictures)
        print(ending.lost(found))
        print(f"looks like: {folder / ending.PICTURE} (frame, teacher, teacher with other noise, distilled)")
        return
    others = ending.others_beside(result, [target.parent, *_beside_the_base(result)])
    found, pictures = ending.compare(result, others, base, frames, shown)
    found["new"] = new
    ending.write(folder, found, pictures)
    Console().print(ending.table(found))
    print(ending.sentence(result, found))
    print(f"looks like: {folder / ending.PICTURE} (photograph, frame, base, specialist)")


def _beside_the_base(specialist: Specialist) -> list[Path]:
    """The specialists that ship with the lab's base."""
    folder = Path(specialist.card.base).parent / "specialists"
    return [folder] if folder.is_dir() else []


@contextlib.contextmanager
def _lab_offered(name: str, style_images: Path | None) -> Iterator[None]:
    """Where the base can be had neither here nor from the hub, lead to the one that ships."""
    from simedit.base import NoBase

    try:
        yield
    except NoBase as error:
        if style_images is None:  # a run goes on with its own
            raise
        command = shlex.join(["simedit-lab", "train-style", name, "--style-images", str(style_images)])
        raise SimeditError(
            f"{str(error).rstrip('.')}, or train on the lab's small base, which ships with simedit: {command}"
        ) from error


def _dependent(run: Run, config: TrainConfig, folder: Path, machine: dict[str, str], console: Console) -> Run:
    """The run with what it depends on now, which must be what it began with."""
    from simedit.training.depends import changes, fingerprints

    now = fingerprints(config, _assets(config))
    going_on = bool(run.config)
    if run.depends is not None and (found := changes(run.depends, now)):
        raise SimeditError(
            f"{folder} was trained from other things than are there now: {found}. Put back what was there, "
            f"or start a new training with another --out"
        )
    notes = []
    if going_on and run.depends is None:
        notes.append(
            f"{folder / RUN} does not say what it was trained from, so that changes of base and inputs until "
            f"now go unnoticed"
        )
    if run.machine and (found := changes(run.machine, machine)):
        notes.append(
            f"the last bits may differ from those of a training that never stopped, for this is another "
            f"machine: {found}"
        )
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
    return run.model_copy(update={"depends": now, "machine": machine})


def _assets(config: TrainConfig) -> list[Path]:
    """The files that frames of the twin are made from; none for what ships with the package."""
    twin = config.inputs
    if not isinstance(twin, TwinConfig) or (twin.skin == "primitive" and not twin.overlay):
        return []
    from simedit.envs.drawer.assets import cabinet_urdf, photograph, resolve_asset_root, robot_urdf
    from simedit.envs.drawer.poses import POSES

    root = resolve_asset_root(twin.asset_root)
    photographs = [root / photograph(pose) for pose in POSES] if twin.overlay else []
    urdfs = [root / robot_urdf(), root / cabinet_urdf()] if twin.skin == "simpler" else []
    return [*photographs, *(file for urdf in urdfs for file in urdf.parent.rglob("*"))]


def _resume_command(folder: Path, processes: int, cpu: bool, overwrite: bool) -> str:
    command = ["simedit-train", "--resume", str(folder)]
    if processes > 1:
        launch = ["accelerate", "launch", "--num_processes", str(processes)]
        command = [*launch, "-m", "simedit.training.cli", *command[1:]]
    return shlex.join([*command, *(["--cpu"] if cpu else []), *(["--overwrite"] if overwrite else [])])


def _configured(config: Path, style: Path | None, overrides: Sequence[str]) -> TrainConfig:
    """The config, its style section from a file of its own if there is one, then the overrides."""
    config = config_file("train", config)
    if style is None:
        return load_config(TrainConfig, config, overrides)
    section = "style."
    of_style = [override.removeprefix(section) for override in overrides if override.startswith(section)]
    others = [override for override in overrides if not override.startswith(section)]
    told = load_config(StyleConfig, config_file("styles", style), of_style)
    return load_config(TrainConfig, config, others).model_copy(update={"style": told})


def _inputs(config: TrainConfig, stack: contextlib.ExitStack) -> Inputs:
    if isinstance(config.inputs, TwinConfig):
        from simedit.envs.drawer.inputs import TwinInputs

        twin = TwinInputs(config.inputs, config.width, config.height, config.seed)
        return stack.enter_context(contextlib.closing(twin))
    if isinstance(config.inputs, PushTConfig):
        from simedit.envs.push_t.inputs import PushTInputs

        return PushTInputs(config.inputs, config.width, config.height, config.seed)
    if isinstance(config.inputs, ImagesConfig):
        from simedit.training.data import ImageInputs

        return ImageInputs(config.inputs, config.width, config.height)
    from simedit.eval.inputs import RunInputs

    return RunInputs(config.inputs, config.width, config.height)


def scores_of(config: TrainConfig, pipeline: SpecialistPipeline, device: torch.device) -> dict[str, Score]:
    """The scores by name; `pipeline` is the base as it was loaded."""
    from simedit.scores.attention import Attention
    from simedit.scores.caption import Caption
    from simedit.scores.encoders import load_encoder
    from simedit.scores.semantic import Semantic
    from simedit.scores.structural import load_structural

    wanted = config.scores
    found: dict[str, Score] = {
        "structural": load_structural(wanted.structural, device),
        "semantic": Semantic(load_encoder(wanted.semantic, device), wanted.semantic.outside),
    }
    if (attention := wanted.attention) is not None:
        noun = attention.noun or config.style.noun or ""
        found["attention"] = Attention(pipeline, config.style.instruction, noun, attention.steps)
    if wanted.caption is not None:
        found["caption"] = Caption.load(wanted.caption, device)
    return found


def _edited(config: TrainConfig, inputs: Inputs, folder: Path, device: torch.device) -> EditedInputs:
    """The inputs as the passes leave them that come before."""
    from simedit.library import SpecialistLibrary
    from simedit.training.after import AT_ONCE, EditedInputs
    from simedit.training.depends import of_inputs

    assert config.after is not None
    passes = specialist_folder(config.after.recipe)

    def load() -> SpecialistLibrary:
        return SpecialistLibrary.load(passes, base=config.base, device=device, batch_size=AT_ONCE)

    found = EditedInputs(inputs, config, load, folder, of_inputs(config, _assets(config)))
    found.check()
    return found


def _check_fresh(folder: Path) -> None:
    from simedit.training.checkpoint import latest

    if latest(folder / "checkpoints") is not None:
        raise SimeditError(
            f"{folder} holds a training: go on with --resume {shlex.quote(str(folder))}, or choose another "
            f"--out"
        )


def _check_target(target: Path, run_id: str, overwrite: bool) -> None:
    from simedit.specialist import Specialist

    if not target.exists():
        return
    found = (target / CARD).is_file()
    if overwrite and found:
        return
    if overwrite:
        raise SimeditError(f"{target} exists and is not a specialist's folder: choose another --specialist")
    if found:
        training = Specialist.load(target).card.training
        if training is not None and training.get("run") == run_id:
            return
    raise SimeditError(f"{target} exists already: choose another --name or --specialist, or add --overwrite")


def _check_writable(folder: Path) -> None:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "cannot be written" if there.is_dir() else "is a file"
        raise SimeditError(f"{there} {reason}: choose another --out or --specialist")


def dry_run_of(config: TrainConfig, cpu: bool, teacher: Card | None = None) -> None:
    """Print what a training would cost; `teacher` is whose edits a distillation learns."""
    from accelerate import PartialState

    from simedit.training.estimate import estimate, table
    from simedit.training.footprint import STABLE_DIFFUSION, base_configs
    from simedit.training.speed import measured

    state = PartialState(cpu=cpu)
    if state.is_main_process:
        found = estimate(config, state.num_processes, teacher)
        parts = base_configs(config.base) or STABLE_DIFFUSION
        Console().print(table(found, measured(config, parts["unet"], str(state.device))))
        if config.after is not None:
            print(_before(config.after.recipe))
        for line in missing_imports(config):
            print(f"not installed: {line}", file=sys.stderr)


def _before(recipe: str) -> str:
    """What a training costs before it begins, which its table leaves out."""
    from simedit.recipe import specialists_of
    from simedit.specialist import read_card

    try:
        cards = [read_card(folder) for folder in specialists_of(specialist_folder(recipe))]
    except SimeditError as error:
        return f"Not counted: edits of the inputs by after.recipe, which is not there: {error}"
    each = sum(card.steps * card.scales.branches for card in cards)
    return f"Not counted: first each input is edited by {recipe}, once, in {each:,} U-Net evaluations."


def main(args: Sequence[str] | None = None) -> int:
    """Run `simedit-train` with `args` (default: the process's) and return its exit code."""

    def command() -> None:
        given = sys.argv[1:] if args is None else args
        check_set_once(given)
        if given[:1] == ["distill"]:
            from simedit.training import distill

            return distill.command(given[1:])
        if given[:1] == ["recipe"]:
            from simedit.training import assemble

            return assemble.command(given[1:])
        tyro.cli(train, prog="simedit-train", description=DESCRIPTION, args=given)

    return run_cli(command)


if __name__ == "__main__":
    raise SystemExit(main())
