"""The command `simedit-train recipe`: specialists put together as one recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from simedit.config import load_config
from simedit.errors import SimeditError
from simedit.packaged import SPECIALISTS
from simedit.recipe import Recipe, RecipeConfig, regions_of
from simedit.training.cli import Flag, Given

DESCRIPTION = """\
Put specialists together as a recipe: passes over a frame, one after the other, each in a region of its own.

  simedit-train recipe --config tabletop.yaml

with such a config (paths in it are relative to the working directory):

  name: tabletop
  passes:
    - {specialist: push_t_background, region: background}
    - {specialist: push_t_block, region: block, prompt: change the T-shaped block into an orange one}

A pass without a region shows in the one mask that is given; one with `nouns: [block]` looks for them by
Grounding DINO and SAM 2. The recipe goes to specialists/NAME, with copies of its specialists, and stands
wherever a specialist does: simedit-edit --specialist tabletop, styles: [tabletop] in a study.

A specialist of a later pass is best trained on what the passes before it make:
simedit-train ... --set after.recipe=push_t_background after.region=background
"""


def assemble(
    config: Given = None,
    to: Given = None,
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")] = (),
    overwrite: Flag = False,
) -> None:
    """Make a recipe; `DESCRIPTION` says how.

    Args:
        config: What it is made of: a YAML file.
        to: Where it goes. By default specialists/NAME.
        overrides: Settings in place of the config's, for example: name=orange
        overwrite: Replace a recipe that is there already.
    """
    if config is None:
        raise SimeditError("--config is missing: a YAML file with a name and passes (--help shows one)")
    wanted = load_config(RecipeConfig, config, overrides)
    target = to or SPECIALISTS / wanted.name
    if target.exists() and not overwrite:
        raise SimeditError(f"{target} exists already: choose another --to, or add --overwrite")

    Recipe.made(wanted).save(target)
    masks = [f"--mask {region}=MASK" if region else "--mask MASK" for region in regions_of(target)]
    print(f"recipe: {target}")
    print(
        f"try it: {' '.join(['simedit-edit --specialist', shlex.quote(str(target)), *masks])} in.png out.png"
    )


def command(args: Sequence[str]) -> Any:
    """Run `simedit-train recipe` with what follows these two words."""
    return tyro.cli(assemble, prog="simedit-train recipe", description=DESCRIPTION, args=args)
