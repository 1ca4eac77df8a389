"""The kinds of editors that a study can name: one a file of this folder, found by being there."""

from __future__ import annotations

import pkgutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from simedit.config import Config, load_mapping, parse_config, with_override
from simedit.digests import digest
from simedit.errors import SimeditError, unknown
from simedit.eval import library
from simedit.packaged import config_file, library_folder
from simedit.protocols import Editor
from simedit.style_pictures import picture_files, pictures_in, style_pictures


def distinct(values: list[Any]) -> list[Any]:
    """The values, if none stands there twice."""
    if len(set(values)) < len(values):
        raise ValueError("the same entry stands in it twice")
    return values


Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class EditorKind(Config):
    """What repaints the frames of the domain "edited".

    A kind is a subclass in a module of its own beside this one, with `kind: Literal["its name"]`. The module
    imports nothing heavy: every command that reads a study imports it.

    Attributes:
        composition: "mask" keeps every pixel outside the cabinet, "none" shows the whole edit.
        over: the domain whose frames are edited, in its first variant; by default the suite's first.
        region: where the suite's masks are by region, the one where styles show that have none of their own.
        seeds: of the trials in this domain; None takes the study's.
    """

    kind: str
    incidental: ClassVar[frozenset[str]] = frozenset({"seeds"})
    """Settings on which no edit depends, or which `fingerprints` stand for."""
    needs_mask: ClassVar[bool] = False
    """Whether there is no edit of a whole frame."""
    composition: Literal["mask", "none"] = "mask"
    over: str = ""
    region: str = ""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(distinct)] | None = None

    @abstractmethod
    def folders(self, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
        """The folder that each style's edits come from, found without reading what is large in it.

        Args:
            scratch: where a folder is made that has to be made first.

        Raises:
            SimeditError: a style has none.
        """

    def problems(self, styles: Sequence[str]) -> list[str]:
        """What keeps these styles from being edited here, in a sentence each that says what to do."""
        return []

    def regions(self, styles: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The regions whose masks each style asks for; "" is the one mask of styles without any.

        Raises:
            SimeditError: a style has no folder, or a broken one.
        """
        return dict.fromkeys(styles, ("",))

    def base_of(self, folders: Mapping[str, Path]) -> str | None:
        """The hub id or folder of the base under the styles' folders; None where edits need none.

        Raises:
            SimeditError: the folders do not agree on one.
        """
        return None

    @abstractmethod
    def fingerprints(self, folders: Mapping[str, Path]) -> dict[str, str]:
        """Digests of the files that edits depend on: "specialists.STYLE" of each style, and "base".

        Every kind gives "base", so that no two kinds share a run folder.

        Raises:
            SimeditError: a file is missing or cannot be read.
        """

    def untrained(self, folders: Mapping[str, Path]) -> list[str]:
        """The styles whose edits are noise, for nothing was trained."""
        return []

    @abstractmethod
    def load(self, folders: Mapping[str, Path], device: str | None = None) -> Editor:
        """The editor, ready to edit.

        Args:
            device: for example "cuda:0", for what runs on one; by default cuda where there is one.

        Raises:
            SimeditError: it cannot be had.
        """


class OfPictures(EditorKind):
    """A kind that needs each style's image and no weights.

    Attributes:
        library: folder of the specialists whose style images are taken, as for `kind: specialists`; of their
            weights nothing is read. Or a folder of pictures that are named by their styles (gold.png).
    """

    incidental: ClassVar[frozenset[str]] = frozenset({"library", "seeds"})
    library: str = "tiny"

    def folders(self, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
        return self._pictures(styles) or library.folders_of(self.library, styles, scratch)

    def problems(self, styles: Sequence[str]) -> list[str]:
        try:
            found = self._pictures(styles)
        except SimeditError as error:
            return [str(error)]
        return [] if found else library.problems_of(self.library, styles, recipes=False)

    def fingerprints(self, folders: Mapping[str, Path]) -> dict[str, str]:
        files = {style: next(iter(picture_files(folder).values())) for style, folder in folders.items()}
        found = {f"specialists.{style}": digest(file.parent, [file]) for style, file in files.items()}
        return found | {"base": "none"}

    def images(self, folders: Mapping[str, Path]) -> dict[str, Any]:
        """Each style's image, uint8 [H, W, 3]; the file may have lost its name on its way to another machine.

        Raises:
            SimeditError: one cannot be read.
        """
        found = {style: style_pictures(folder) for style, folder in folders.items()}
        return {style: image for style, images in found.items() for image in images.values()}

    def _pictures(self, styles: Sequence[str]) -> dict[str, Path]:
        """Each style's file in a folder of pictures; none where there are no pictures."""
        found = {file.stem: file for file in pictures_in(library_folder(self.library))}
        for style in styles if found else ():
            if style not in found:
                raise SimeditError(f"library {self.library}: {unknown('style', style, found)}")
        return {style: found[style] for style in styles if found}


def _found() -> tuple[type[EditorKind], ...]:
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, EditorKind) and value.__module__ == module.__name__
    )


def _given(value: Any) -> Any:
    """The mapping that an editor's setting stands for. NAME is {like: NAME}: the settings of that config, one
    that ships or a file, where no others are given. What has no kind is specialists."""
    value = {"like": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        return value
    seen: list[Path] = []
    while "like" in value:
        file = config_file("editors", str(value["like"]))
        if file in seen:
            raise ValueError(f"{file} is like itself: name another")
        seen.append(file)
        value = load_mapping(file) | {key: one for key, one in value.items() if key != "like"}
    return {"kind": "specialists"} | value


if TYPE_CHECKING:
    AnyEditor = EditorKind
else:  # the type of a config's field that takes an editor of any kind
    AnyEditor = Annotated[
        Annotated[reduce(or_, _found()), Field(discriminator="kind")],
        BeforeValidator(_given),
    ]


class _Named(Config):
    editor: AnyEditor


def find_editor(given: str, overrides: Sequence[str] = ()) -> EditorKind:
    """The editor that a config describes: the name of one that ships (configs/editors), or a file.

    Args:
        overrides: KEY=VALUE strings, as `simedit.config.load_config`'s.

    Raises:
        SimeditError: no such config, or it is not one of an editor; with the nearest match.
    """
    data: dict[str, Any] = {"like": given}
    for override in overrides:
        data = with_override(data, override)
    return parse_config(_Named, {"editor": data}, where=given).editor


def load_editor(
    given: str, styles: Sequence[str], *, overrides: Sequence[str] = (), device: str | None = None
) -> Editor:
    """An editor by name or file, ready to edit in these styles, for `EditObservation` and scripts.

    Args:
        given, overrides: as `find_editor`'s.
        device: as `EditorKind.load`'s.

    Raises:
        SimeditError: there is no such config, a style is not to be had, or the model is not.
    """
    kind = find_editor(given, overrides)
    if problems := kind.problems(styles):
        raise SimeditError(f"{given}: {'; '.join(problems)}")
    with TemporaryDirectory() as scratch:
        return kind.load(kind.folders(styles, Path(scratch)), device)
