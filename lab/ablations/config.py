"""What an ablation varies, as typed YAML: one file each in configs/ablations/."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from simedit.config import Config, load_mapping, parse_config, with_override
from simedit.errors import SimeditError, shortened, unknown
from simedit.lab.build import style_config
from simedit.lab.materials import MATERIALS
from simedit.names import Name
from simedit.packaged import config_file, packaged_configs
from simedit.specialist import Card
from simedit.training.config import TrainConfig, check_counts

KIND = "ablations"
TRAIN_CONFIG = Path(str(resources.files("simedit.lab"))) / "ablations" / "train.yaml"
PHOTOGRAPHS = "photographs"
"""What can be varied of a training beside its settings: how many style images it has."""
MOST_PHOTOGRAPHS = 5
"""As many as the lab paints of a material."""

Values = Annotated[list[JsonValue] | dict[str, JsonValue], Field(min_length=1, max_length=50)]


class Ablation(Config):
    """One thing varied, or two on a grid.

    Attributes:
        title: the figure's.
        kind: "training" trains a specialist for each variant and seed by lab/ablations/train.yaml, "edits"
            edits with a specialist that is there.
        vary: what is varied, and its values: a list, or by name where a value is not its own. Of a training
            its settings, or "photographs", how many style images it has; of edits "steps", "scales.image",
            "scales.style" and "scales.text" of a card. Of several each combination is a variant.
        axis: what that is, on the figure.
        reference: the variant that others are compared with.
        set: settings of every variant, in place of train.yaml's or the card's.
        curves: measure every checkpoint, not the end alone.
        style: the material that is trained, of those that the lab has photographs of.
        specialist: which edits.
        seeds: trainings of each variant, or noises of each frame's edit.
        frames: that no training sees, to measure on.
    """

    title: str
    kind: Literal["training", "edits"]
    vary: Annotated[dict[str, Values], Field(min_length=1, max_length=2)]
    axis: str
    reference: str
    set: tuple[str, ...] = ()
    curves: bool = False
    style: Name = "gold"
    specialist: str = "lab:gold"
    seeds: Annotated[int, Field(ge=1, le=100)] = 2
    frames: Annotated[int, Field(ge=2, le=1000)] = 12

    @model_validator(mode="after")
    def _refers(self) -> Ablation:
        names = [variant.name for variant in variants(self)]
        if len(set(names)) < len(names):
            raise ValueError("vary: two values have one name")
        if self.reference not in names:
            raise ValueError(f"reference: {unknown('variant', self.reference, names)}")
        known = {"steps", "scales.image", "scales.style", "scales.text"}
        if self.kind == "edits" and (others := [key for key in self.vary if key not in known]):
            raise ValueError(f"vary: {unknown('setting of edits', others[0], sorted(known))}")
        if self.kind == "edits" and self.curves:
            raise ValueError("curves: edits have no checkpoints")
        if self.style not in MATERIALS:
            raise ValueError(f"style: {unknown('style', self.style, MATERIALS)}")
        for value in _values(self.vary.get(PHOTOGRAPHS, {})).values():
            if type(value) is not int or not 1 <= value <= MOST_PHOTOGRAPHS:
                raise ValueError(f"{PHOTOGRAPHS}: the lab paints 1 to {MOST_PHOTOGRAPHS} of a material")
        return self


@dataclass(frozen=True)
class Variant:
    """One combination of an ablation's values.

    Attributes:
        name: the values' names, with " / " between.
        set: what it sets, KEY=VALUE.
        photographs: how many style images its training has.
    """

    name: str
    set: tuple[str, ...]
    photographs: int


def variants(ablation: Ablation) -> list[Variant]:
    """All of an ablation, in order."""
    found = []
    for chosen in itertools.product(*(_values(values).items() for values in ablation.vary.values())):
        keys = dict(zip(ablation.vary, (value for _, value in chosen), strict=True))
        photographs: Any = keys.pop(PHOTOGRAPHS, MOST_PHOTOGRAPHS)
        settings = (f"{key}={json.dumps(value)}" for key, value in keys.items())
        found.append(Variant(" / ".join(name for name, _ in chosen), tuple(settings), photographs))
    return found


def load_ablations(names: Sequence[str], overrides: Sequence[str]) -> dict[str, Ablation]:
    """Ablations by name: those named, or all that ship.

    Args:
        names: of those that ship, or paths of YAML files.
        overrides: settings in place of each one's own.

    Raises:
        SimeditError: an unknown name, a bad file, or two of one name.
    """
    files = [config_file(KIND, name) for name in names] or list(packaged_configs(KIND).values())
    found: dict[str, Ablation] = {}
    for file in files:
        if file.stem in found:
            raise SimeditError(f"two ablations are called {file.stem}: give each file a name of its own")
        data = load_mapping(file)
        for override in overrides:
            data = with_override(data, override)
        found[file.stem] = parse_config(Ablation, data, where=str(file))
    return found


def training(ablation: Ablation, variant: Variant, seed: int) -> tuple[TrainConfig, tuple[str, ...]]:
    """The training of a variant on the lab's base, and what it sets in place of train.yaml's.

    Raises:
        SimeditError: unknown settings, or values that do not fit.
    """
    own = (*ablation.set, *variant.set, f"seed={seed}")
    steps = style_config(Path("base"), own, TRAIN_CONFIG).steps
    settings = (*own, f"keep={steps + 1}")  # each step's checkpoint
    config = style_config(Path("base"), settings, TRAIN_CONFIG)
    check_counts(config, 1)
    return config, settings


def card(ablation: Ablation, variant: Variant, of: Card) -> Card:
    """The card that a variant's edits go by: the editor alone, without what is composed of frame and edit
    afterwards.

    Raises:
        SimeditError: unknown settings, or values that do not fit.
    """
    data = of.model_dump(mode="json")
    for override in (*ablation.set, *variant.set, "detail=false", "crop=false"):
        data = with_override(data, override)
    return parse_config(Card, data, where=f"variant {shortened(variant.name)}")


def _values(values: Values) -> dict[str, JsonValue]:
    """By name."""
    return values if isinstance(values, dict) else {str(value): value for value in values}
