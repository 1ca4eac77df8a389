"""`kind: specialists`: diffusion specialists, one a style, or several by a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from simedit.digests import digest
from simedit.eval import library
from simedit.eval.editors import EditorKind
from simedit.protocols import Editor

UnitShare = Annotated[float, Field(ge=0, le=1)]


class Specialists(EditorKind):
    """Diffusion specialists on one base: see `simedit.library.SpecialistLibrary`.

    Attributes:
        library: folder of a library of specialists and recipes, "lab" or "lab-distilled" (which ship with
            the package), or "tiny", a small untrained one made on the spot.
        base: folder or hub id of the base; None takes the one that the specialists name.
        steps: denoising steps; None takes the number that the specialists name.
        guidance_interval: start and end, in shares of the denoising steps, of those that are guided.
        compile: make edits faster, after seconds (OpenVINO, on the CPU) or minutes (torch.compile, on a GPU)
            for the first; None does so on the CPU where OpenVINO is installed. Edits differ in the last bits.
    """

    kind: Literal["specialists"] = "specialists"
    incidental: ClassVar[frozenset[str]] = frozenset({"kind", "library", "seeds", "compile"})
    library: str = "tiny"
    base: str | None = None
    steps: int | None = Field(default=None, gt=0)
    guidance_interval: tuple[UnitShare, UnitShare] = (0.0, 1.0)
    compile: bool | None = None

    def folders(self, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
        return library.folders_of(self.library, styles, scratch)

    def problems(self, styles: Sequence[str]) -> list[str]:
        return library.problems_of(self.library, styles)

    def regions(self, styles: Sequence[str]) -> dict[str, tuple[str, ...]]:
        from simedit.recipe import regions_of

        return {style: regions_of(folder) for style, folder in library.known(self.library, styles).items()}

    def base_of(self, folders: Mapping[str, Path]) -> str:
        return self.base or library.base_of(folders.values())

    def fingerprints(self, folders: Mapping[str, Path]) -> dict[str, str]:
        from simedit.eval.fingerprints import base_files
        from simedit.pipeline import base_folder  # here, for it brings torch

        base = base_folder(self.base_of(folders))
        found = {f"specialists.{style}": digest(folder) for style, folder in folders.items()}
        for style, folder in folders.items():
            for what, path in library.models_of(folder).items():
                found[f"specialists.{style}.{what}"] = digest(path)
        return found | {"base": digest(base, base_files(base))}

    def untrained(self, folders: Mapping[str, Path]) -> list[str]:
        return [style for style, folder in folders.items() if library.is_untrained(folder)]

    def load(self, folders: Mapping[str, Path], device: str | None = None) -> Editor:
        import torch

        from simedit.engine import has_openvino
        from simedit.library import SpecialistLibrary
        from simedit.pipeline import silence_loading

        silence_loading()
        on_gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
        return SpecialistLibrary.load(
            list(folders.values()),
            base=self.base,
            device=device,
            steps=self.steps,
            guidance_interval=self.guidance_interval,
            batch_size=8 if on_gpu else 1,
            compile=(not on_gpu and has_openvino()) if self.compile is None else self.compile,
        )
