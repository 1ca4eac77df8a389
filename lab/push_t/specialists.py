"""The recipe of Push-T: a specialist for the table, and one for the block on it, from five photographs."""

from __future__ import annotations

from pathlib import Path

from simedit.lab.push_t.edits import REGIONS
from simedit.recipe import Pass, Recipe
from simedit.specialist import Specialist

NAMES = {"background": "dark_tabletop", "block": "orange_block"}


def train_recipe(
    photographs: Path, *, base: Path, run: Path, target: Path, settings: tuple[str, ...] = ()
) -> None:
    """Train both by `simedit-train`, or go on with it, and put them together.

    Args:
        photographs: as `simedit.envs.push_t.inputs.write_photographs` makes them.
        base: of the lab.
        run: for the trainings' run folders.
        target: where the recipe goes.
        settings: in place of the configs'.
    """
    for region in REGIONS:
        made = run / "made" / NAMES[region]
        if not made.exists():
            _train(region, photographs, base, run, made, settings)
    passes = tuple(Pass(Specialist.load(run / "made" / NAMES[region]), region=region) for region in REGIONS)
    Recipe("tabletop", passes).save(target)


def _train(
    region: str, photographs: Path, base: Path, run: Path, made: Path, settings: tuple[str, ...]
) -> None:
    from simedit.training.checkpoint import latest
    from simedit.training.cli import train

    folder, earlier = run / region, REGIONS[: REGIONS.index(region)]
    before = [f"after.recipe={run / 'made' / NAMES[one]}" for one in earlier]
    if latest(folder / "checkpoints") is not None:
        train(resume=folder)
        return
    train(
        config=Path(__file__).parent / f"{region}.yaml",
        style_images=photographs / "images",
        name=NAMES[region],
        out=folder,
        specialist=made,
        overrides=(f"base={base}", f"regions.style_masks={photographs / region}", *before, *settings),
    )
