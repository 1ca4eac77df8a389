"""What a Push-T study needs, what of it is missing, and how much work it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from simedit.errors import SimeditError
from simedit.extras import has, install
from simedit.lab.push_t.plan import Data, Plan, Source
from simedit.lab.push_t.study import arms_of

if TYPE_CHECKING:
    from simedit.lerobot.reading import Dataset

_PACKAGES = {"gym_pusht": "Push-T", "pyarrow": "LeRobot datasets"}


def missing(plan: Plan) -> list[str]:
    """What has to be there before the study can be done, a sentence for each."""
    found = [f"{what} needs {name}: {install(name)}" for name, what in _PACKAGES.items() if not has(name)]
    if found or (data := plan.data) is None:
        return found
    for name, source in _sources(data):
        found += _problem(lambda name=name, source=source: _check(source, name))
    return found + _problem(lambda: _check_recipe(data.recipe))


def work(plan: Plan) -> list[tuple[str, str]]:
    """How much there is to do: a name and an amount each."""
    arms = len(arms_of(plan))
    rows = [
        ("learned from", _episodes(plan, "raw", plan.episodes)),
        ("the real world", _episodes(plan, "pool", plan.pool)),
        ("held out", _episodes(plan, "held_out", plan.held_out)),
        ("policies", f"{plan.policies} of each of {arms} kinds of pictures"),
        ("trained", "before: they ship" if plan.shipped else f"{plan.steps:,} steps each, of 128 frames"),
        ("tuned", f"{plan.policies * (arms + 1)} policies, {plan.tuned_steps:,} steps each"),
        ("played", f"{arms * plan.policies * plan.starts} episodes" if not plan.data else "nothing"),
    ]
    return rows


def _sources(data: Data) -> list[tuple[str, Source]]:
    return [("raw", data.raw), ("pool", data.pool), ("held_out", data.held_out)]


def _problem(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except SimeditError as error:
        return [str(error)]
    return []


def _episodes(plan: Plan, name: str, most: int) -> str:
    """How many are taken of a dataset, as far as that is known."""
    if plan.data is None:
        return f"{most} episodes"
    source = dict(_sources(plan.data))[name]
    try:
        dataset = _dataset(source, name)
    except SimeditError:
        return f"at most {most} episodes of {source.dataset}"
    spans = sorted((span for file in dataset.files for span in file.spans), key=lambda span: span.episode)
    taken = spans[source.first :][:most]
    frames = sum(span.frames for span in taken)
    return f"{len(taken)} of {len(spans)} episodes of {source.dataset}, {frames:,} frames"


def _check(source: Source, name: str) -> None:
    from simedit.envs.push_t.masks import regions
    from simedit.lab.push_t.edits import first_frames
    from simedit.lab.push_t.seen import cut, units_of

    last = max(span.episode for file in _dataset(source, name).files for span in file.spans)
    if source.first > last:
        raise SimeditError(f"{source.dataset} has no episode {source.first}, its last is {last}")
    units_of(source)
    frame = next(first_frames(source))
    cut(frame, source)
    if name == "raw":
        regions(frame)


def _dataset(source: Source, name: str) -> Dataset:
    from simedit.lerobot import read_dataset

    if not source.dataset.is_dir():
        hub = f"hf download --repo-type dataset {source.hub} --local-dir {source.dataset}"
        how = hub if source.hub else f"give its folder: --set data.{name}.dataset=FOLDER"
        raise SimeditError(f"the {name} dataset {source.dataset} is not there: {how}")
    return read_dataset(source.dataset, source.camera)


def _check_recipe(folder: Path) -> None:
    from simedit.lab.push_t.edits import REGIONS
    from simedit.recipe import read_card, regions_of, specialists_of

    if not folder.is_dir():
        raise SimeditError(
            f"the recipe {folder} is not there: train its two specialists, simedit-train --config "
            "push_t_background and push_t_block, and put them together, simedit-train recipe"
        )
    read_card(folder)
    specialists_of(folder)
    if regions_of(folder) != REGIONS:
        raise SimeditError(f"the passes of {folder} show in {regions_of(folder)}, not in {REGIONS}")
