"""The command `simedit-train distill`: of a specialist one that does the same in fewer evaluations."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from simedit.config import load_config, parse_config, with_override
from simedit.errors import SimeditError
from simedit.names import check_name
from simedit.packaged import CARD, SPECIALISTS, config_file, specialist_folder
from simedit.training.cli import RUNS, Flag, Given, Name, dry_run_of, train_in
from simedit.training.config import CannyConfig, DistilledConfig, SemanticConfig, TrainConfig
from simedit.training.run_file import Run

if TYPE_CHECKING:
    from simedit.specialist import Card

DESCRIPTION = """\
Distil a specialist: one evaluation of the U-Net for a whole edit, in place of all its denoising steps and
guidance branches.

  simedit-train distill --specialist lab:gold
  simedit-train distill --specialist teak --set sampling.steps=2
  simedit-train distill --specialist teak --set inputs.path=photos/streets
  simedit-train distill --specialist teak --config distill --dry-run
  simedit-train --resume runs/train/distilled/teak

First the specialist edits some inputs as it is (the run folder keeps that), then a copy of it learns to come
to the same in one step without guidance; on the inputs that it was trained on, unless --config or --set gives
others. At the end both edit frames that no training saw: a sentence and a picture say whether more is lost
than other noise would change. If so: --set sampling.steps=2 or 4, or longer (warm_start.steps,
warm_start.edits).

The result goes to specialists/distilled/NAME under the same style's name, so that the folder can stand where
the other one stood: --set editor.library=specialists/distilled. With another --name both can be in one
library and in one batch.
"""

_NO_GUIDANCE = {"image": 1, "style": 1, "text": 1}


def distill(
    specialist: Annotated[str | None, tyro.conf.arg(metavar="SPECIALIST")] = None,
    config: Given = None,
    name: Name = None,
    out: Given = None,
    to: Given = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    cpu: Flag = False,
    dry_run: Flag = False,
    overwrite: Flag = False,
) -> None:
    """Distil a specialist; `DESCRIPTION` says how.

    Args:
        specialist: Which: its folder, the name of one in ./specialists, or lab:NAME for one that ships.
        config: A training, whose inputs, masks, size and precision are taken, and its steps if it is a
            distillation: a YAML file, or the name of one that ships. By default the specialist's own, which
            its card has. Base, texts and adapter are always the specialist's.
        name: The new specialist's. By default the same.
        out: The run folder. By default runs/train/distilled/NAME.
        to: Where the distilled specialist goes. By default specialists/distilled/NAME.
        overrides: Settings in place of the config's, for example: sampling.steps=2 warm_start.steps=2000
        cpu: Train on the CPU even where there is a GPU.
        dry_run: Only print how much work and memory it would take.
        overwrite: Replace a specialist that is there already.
    """
    from simedit.specialist import Card

    if specialist is None:
        if config is None or not dry_run:
            raise SimeditError("--specialist is missing: which one is to be distilled, for example lab:gold")
        card, source = (
            Card(style="style", instruction="make the cupboard out of style"),
            SPECIALISTS / "style",
        )
    else:
        source = specialist_folder(specialist)
        card = _card(source)
    name = check_name(name or card.style, "--name")
    folder = out or RUNS / "distilled" / name
    target = to or SPECIALISTS / "distilled" / name
    if target.resolve() == source.resolve():
        raise SimeditError(f"{target} is the specialist to be distilled: give another --to")
    training = distilled(card, source, config, overrides)
    if dry_run:
        if specialist is None:
            print("no --specialist: assumed to take 100 denoising steps and four guidance branches")
        return dry_run_of(training, cpu, card)
    run = Run(name=name, id=secrets.token_hex(8), specialist=str(target))
    train_in(training, run, folder, None, fresh=True, cpu=cpu, overwrite=overwrite)


def distilled(
    card: Card, source: Path, config: Path | None = None, overrides: Sequence[str] = ()
) -> TrainConfig:
    """The config of a distillation.

    Args:
        card, source: the teacher's, and its folder.
        config: as `distill`'s.
        overrides: KEY=VALUE in place of what comes out.

    Raises:
        SimeditError: the card does not say how the teacher was trained and there is no config, or settings
            that do not go together, or nothing would become faster.
    """
    if config is not None:
        where = str(config)
        data = load_config(TrainConfig, config_file("train", config)).model_dump(mode="json")
    else:
        where = f"the training that {source / CARD} tells of (but for paths: --set inputs.path=FOLDER)"
        data = {**(card.training or {}).get("config", {})}
        if not data:
            raise SimeditError(
                f"{source / CARD} does not say how the specialist was trained: give a --config with inputs "
                f"like those it is to edit, for example --config distill"
            )
    warm = data.get("warm_start") or {}
    if warm.get("kind") != "distilled":  # how many steps another training took says nothing of this one
        warm = {"kind": "distilled"}
        data |= {"steps": 0, "sampling": data.get("sampling", {}) | {"steps": 1}}
    data["warm_start"] = {**warm, "teacher": str(source.resolve())}
    style = {"instruction": card.instruction, "wordings": [], "scales": _NO_GUIDANCE}
    style |= {key: getattr(card, key) for key in ("detail", "crop", "heights")}
    data["style"] = {**data.get("style", {}), **style}
    data |= {"base": card.base, "lora_rank": card.lora_rank}
    for override in overrides:
        data = with_override(data, override)
    if not any(override.startswith("lora_alpha=") for override in overrides):
        data["lora_alpha"] = card.lora_alpha * data["lora_rank"] / card.lora_rank
    if not data["steps"]:  # nothing is scored, so that no model for it need be there
        data["scores"] = {"structural": CannyConfig(), "semantic": SemanticConfig(encoder="texture")}
        data["regions"] = {**data.get("regions", {}), "styles": "full-frame", "style_masks": None}
    found = parse_config(TrainConfig, data, where=where)
    assert isinstance(found.warm_start, DistilledConfig)
    few = found.sampling.steps
    many = (found.warm_start.teacher_steps or card.steps) * card.scales.branches
    if few >= many:
        raise SimeditError(
            f"{card.style} takes {many} U-Net evaluation{'s' * (many != 1)} an edit: sampling.steps={few} "
            f"would be no fewer"
        )
    return found


def _card(folder: Path) -> Card:
    """With the base's path from here, as `Specialist.load` gives it."""
    from simedit.specialist import Specialist

    return Specialist.load(folder).card


def command(args: Sequence[str]) -> Any:
    """Run `simedit-train distill` with what follows these two words."""
    return tyro.cli(distill, prog="simedit-train distill", description=DESCRIPTION, args=args)
