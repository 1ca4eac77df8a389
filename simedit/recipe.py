"""A recipe: passes over a frame, one after the other, each a specialist's edit of one region of it.

recipe.json        what it is (`Card`)
1_gold, 2_wood     the specialists of its passes, each a folder as `simedit.specialist` has it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from simedit.config import Config, load_json, parse_config
from simedit.errors import SimeditError, shortened
from simedit.names import Name, check_name
from simedit.packaged import RECIPE, specialist_folder
from simedit.settings import Finders, Place

if TYPE_CHECKING:  # what reads a card alone does not wait for torch
    from simedit.specialist import Specialist

MOST_PASSES = 16
"""More than any frame needs; each is a specialist in memory."""
_Words = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")]


class PassConfig(Config):
    """One pass, as a config says it.

    Attributes:
        specialist: a specialist's folder, the name of one in ./specialists, or lab:NAME.
        prompt: in place of the instruction on the specialist's card, which null takes.
        region: the name of the mask where it may show, among those that the caller gives by region; null is
            the one mask that the caller gives, and the whole frame where none is given.
        nouns: what to look for, in place of a region: the pass shows on all that they name, inside the one
            mask where that is given.
    """

    specialist: Place
    prompt: _Words | None = None
    region: Name | None = None
    nouns: tuple[_Words, ...] = ()

    @model_validator(mode="after")
    def _one_place(self) -> PassConfig:
        if self.region is not None and self.nouns:
            raise ValueError("region and nouns both say where the pass may show: give one of them")
        return self


class RecipeConfig(Config):
    """What a recipe is made from: the YAML of `simedit-train recipe`.

    Attributes:
        name: of the recipe, which `edit` takes as a style.
        passes: in their order.
        regions: what finds the passes' nouns.
    """

    name: Name
    passes: Annotated[tuple[PassConfig, ...], Field(min_length=1, max_length=MOST_PASSES)]
    regions: Finders = Finders()


class PassCard(PassConfig):
    """The same in a recipe's folder: the specialist is one of the folders in it."""

    specialist: Name


class Card(RecipeConfig):
    """What a recipe is."""

    schema_version: Literal[1] = 1
    passes: Annotated[tuple[PassCard, ...], Field(min_length=1, max_length=MOST_PASSES)]


@dataclass(frozen=True)
class Pass:
    """One pass of a recipe; `PassConfig` says what its parts are."""

    specialist: Specialist
    prompt: str | None = None
    region: str | None = None
    nouns: tuple[str, ...] = ()

    @property
    def prompted(self) -> Specialist:
        """The specialist with the pass's prompt on its card."""
        one = self.specialist
        if self.prompt is None:
            return one
        return replace(one, card=one.card.model_copy(update={"instruction": self.prompt}))


@dataclass(frozen=True)
class Recipe:
    """Passes of specialists on one base, each over what the one before it made.

    Attributes:
        name: as `edit` takes it.
        passes: one or more.
        regions: what finds the passes' nouns.
    """

    name: str
    passes: tuple[Pass, ...]
    regions: Finders = field(default_factory=Finders)

    def __post_init__(self) -> None:
        check_name(self.name, "recipe's name")
        if not 0 < len(self.passes) <= MOST_PASSES:
            raise SimeditError(
                f"the recipe {self.name!r} has {len(self.passes)} passes, not 1 to {MOST_PASSES}"
            )
        bases = {one.specialist.base for one in self.passes}
        if len(bases) > 1:
            raise SimeditError(
                f"a recipe has one base, but the specialists of {self.name!r} name {sorted(bases)}"
            )

    @property
    def base(self) -> str:
        """Its base's hub id or absolute path."""
        return self.passes[0].specialist.base

    @classmethod
    def made(cls, config: RecipeConfig) -> Recipe:
        """The recipe of a config.

        Raises:
            SimeditError: a specialist that is not there, is a recipe itself, or cannot be read, or different
                bases.
        """
        return cls(config.name, _passes(config.passes, specialist_folder), config.regions)

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a recipe's folder.

        Raises:
            SimeditError: no such folder, or its card or a specialist of it is missing, broken or too large.
        """
        folder = Path(path)
        card = read_card(folder)
        return cls(card.name, _passes(card.passes, lambda one: inside(folder, one)), card.regions)

    def save(self, path: str | Path) -> None:
        """Write the folder, with copies of its specialists, as `simedit.specialist.Specialist.save` does.

        Raises:
            SimeditError: `path` holds something else, or cannot be written, or weights are not finite.
        """
        from simedit.specialist import replacing

        home = Path(path).resolve()
        with replacing(home, RECIPE, "recipe") as new:
            passes, folders = [], {}
            for number, one in enumerate(self.passes, 1):
                name = f"{number}_{one.specialist.card.style}"
                if (known := folders.setdefault(id(one.specialist), name)) == name:
                    check_name(name, "specialist's folder")
                    (new / name).mkdir()
                    one.specialist.write(new / name, home / name)
                passes.append(
                    PassCard(specialist=known, prompt=one.prompt, region=one.region, nouns=one.nouns)
                )
            card = Card(name=self.name, passes=tuple(passes), regions=self.regions)
            (new / RECIPE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """A recipe's card; its specialists are not read.

    Raises:
        SimeditError: there is none, or it is broken.
    """
    if not (folder / RECIPE).is_file():
        raise SimeditError(f"{folder} is not a recipe's folder: it has no {RECIPE}")
    return parse_config(Card, load_json(folder / RECIPE), where=str(folder / RECIPE))


def specialists_of(folder: Path) -> list[Path]:
    """The folders of a recipe's specialists, in the order of its passes; of a specialist's folder itself.

    Raises:
        SimeditError: as `read_card` and `inside`.
    """
    if not (folder / RECIPE).is_file():
        return [folder]
    return [inside(folder, one.specialist) for one in read_card(folder).passes]


def regions_of(folder: Path) -> tuple[str, ...]:
    """The regions whose masks a recipe or a specialist asks for, by their cards: "" is the caller's one mask.

    Raises:
        SimeditError: as `read_card`.
    """
    if not (folder / RECIPE).is_file():
        return ("",)
    passes = read_card(folder).passes
    return tuple(dict.fromkeys(one.region or "" for one in passes if not one.nouns))


def looks_for_nouns(folder: Path) -> bool:
    """Whether a recipe's folder has passes whose regions are looked for; a specialist has none.

    Raises:
        SimeditError: as `read_card`.
    """
    return (folder / RECIPE).is_file() and any(one.nouns for one in read_card(folder).passes)


def inside(folder: Path, name: str) -> Path:
    """The folder of a recipe's specialist.

    Raises:
        SimeditError: it is not there, or a link: whoever copies or fingerprints the recipe would miss it.
    """
    found = folder / name
    if found.is_symlink() or not found.is_dir():
        what = "is a link" if found.is_symlink() else "is missing"
        raise SimeditError(f"the recipe {folder} holds its specialists itself, but {shortened(name)} {what}")
    return found


def _passes(configs: Sequence[PassConfig], find: Callable[[str], Path]) -> tuple[Pass, ...]:
    """Passes with their specialists, each folder read once."""
    from simedit.specialist import Specialist

    folders = [find(one.specialist) for one in configs]
    read = {folder: Specialist.load(folder) for folder in dict.fromkeys(folders)}
    return tuple(
        Pass(read[folder], one.prompt, one.region, one.nouns)
        for folder, one in zip(folders, configs, strict=True)
    )
