"""run.json: what a run folder says of its training, so that it can go on by itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simedit.config import Config, load_json, parse_config, with_override
from simedit.errors import SimeditError
from simedit.names import Name
from simedit.training.config import TrainConfig

RUN = "run.json"

MAY_CHANGE = {
    "steps",
    "keep",
    "sampling.batch_size",
    "update.batch_size",
    "update.accumulation",
    "update.gradient_checkpointing",
    "update.learning_rate",
}
"""Settings that may differ when a training goes on; but for the learning rate, and rounding, they leave its
course as it was."""


class Run(Config):
    """A training's run.

    Attributes:
        name: the specialist's.
        id: which run it is; the specialist's card has it too.
        specialist: where the finished specialist goes.
        config: the training's, as plain data.
        depends: `simedit.training.depends.fingerprints`; null in runs of older versions.
        machine: `simedit.training.depends.machine`, of where it was last begun or gone on with.
    """

    name: Name
    id: str
    specialist: str
    config: dict[str, Any] = {}
    depends: dict[str, str] | None = None
    machine: dict[str, str] = {}


def read_run(folder: Path) -> Run:
    """What `write_run` wrote.

    Raises:
        SimeditError: the folder has none, or it is broken.
    """
    path = folder / RUN
    if not path.exists():
        raise SimeditError(f"{folder} is not a training's run folder: it has no {RUN}")
    return parse_config(Run, load_json(path), where=str(path))


def write_run(folder: Path, run: Run) -> None:
    """Write the run's file, whole or not at all.

    Raises:
        SimeditError: it cannot be written.
    """
    from simedit.files import whole

    with whole(folder / RUN) as draft:
        draft.write_text(json.dumps(run.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def changed(run: Run, overrides: Sequence[str], folder: Path) -> TrainConfig:
    """The run's config with those of its settings changed that may be.

    Raises:
        SimeditError: another one is to change, or the two configs are not of one training, or not valid.
    """
    for override in overrides:
        if (key := override.partition("=")[0]) not in MAY_CHANGE:
            raise SimeditError(
                f"{key} cannot change when a training goes on, only {', '.join(sorted(MAY_CHANGE))}: for "
                f"another training choose another --out"
            )
    data = run.config
    for override in overrides:
        data = with_override(data, override)
    old, new = (parse_config(TrainConfig, d, where=str(folder / RUN)) for d in (run.config, data))
    sizes = [c.update.batch_size * c.update.accumulation for c in (old, new)]
    if sizes[0] != sizes[1]:
        raise SimeditError(
            f"update.batch_size x update.accumulation was {sizes[0]} and would be {sizes[1]}: that would be "
            f"another training. Change both together"
        )
    return new
