"""`kind: diffusers`: a pipeline of diffusers that edits by an instruction, with whoever's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from simedit.digests import digest
from simedit.editing_pipelines import CALLS, is_hub_id
from simedit.errors import SimeditError, unknown
from simedit.eval.editors import EditorKind
from simedit.names import Name
from simedit.protocols import Editor

STYLE = "{style}"
"""What stands for a style's name in a prompt for all."""


def _known(pipeline: str) -> str:
    if pipeline not in CALLS:
        raise ValueError(str(unknown("pipeline", pipeline, CALLS)))
    return pipeline


Scale = Annotated[float, Field(ge=0)]
Plain = bool | int | float | str


class Diffusers(EditorKind):
    """Instructions in place of specialists: see `simedit.diffusers_editor.DiffusersEditor`.

    Attributes:
        pipeline: a class of `simedit.editing_pipelines.CALLS`.
        model: a hub id, a folder that diffusers saved, or a checkpoint in one file.
        revision: of a hub id.
        parts: for a checkpoint in one file, the hub id or folder of a pipeline that is built as it is.
        prompt: for every style; "{style}" in it is the style's name, underscores as spaces.
        prompts: of single styles, in place of that.
        steps, guidance, image_guidance: denoising steps, the scales of text and image; None takes the
            pipeline's own.
        size: side in pixels of the square that has as many pixels as the pictures that are edited; None takes
            the frames' own.
        scheduler, scheduler_settings: a class of diffusers' in place of the model's, and changes to its
            configuration.
        pipeline_settings: of the pipeline's constructor.
    """

    kind: Literal["diffusers"]
    incidental: ClassVar[frozenset[str]] = frozenset({"seeds", "model", "revision", "prompt", "prompts"})
    pipeline: Annotated[str, AfterValidator(_known)]
    model: str = Field(min_length=1)
    revision: str | None = None
    parts: str | None = None
    prompt: str | None = None
    prompts: dict[Name, str] = {}
    steps: int | None = Field(default=None, gt=0)
    guidance: Scale | None = None
    image_guidance: Scale | None = None
    size: int | None = Field(default=None, ge=8, le=4096)
    scheduler: str | None = None
    scheduler_settings: dict[str, Plain] = {}
    pipeline_settings: dict[str, Plain] = {}

    @model_validator(mode="after")
    def _has_such_scales(self) -> Diffusers:
        call = CALLS[self.pipeline]
        for what in ("guidance", "image_guidance"):
            if getattr(self, what) is not None and getattr(call, what) is None:
                raise ValueError(f"{self.pipeline} takes no {what}: leave it out")
        if self.scheduler_settings and self.scheduler is None:
            raise ValueError("scheduler_settings need a scheduler: name its class")
        return self

    def prompt_of(self, style: str) -> str:
        """What the pipeline is told.

        Raises:
            SimeditError: there is no prompt for that style.
        """
        if style in self.prompts:
            return self.prompts[style]
        if self.prompt is None:
            raise SimeditError(
                f"no prompt for the style {style!r}: add it to editor.prompts, or give editor.prompt, "
                f"such as 'make it out of {STYLE}'"
            )
        return self.prompt.replace(STYLE, style.replace("_", " "))

    def folders(self, styles: Sequence[str], scratch: Path) -> dict[str, Path]:
        from simedit.diffusers_editor import model_at

        return dict.fromkeys(styles, model_at(self.model, self.pipeline, self.revision))

    def problems(self, styles: Sequence[str]) -> list[str]:
        found = []
        for style in styles:
            try:
                self.prompt_of(style)
            except SimeditError as error:
                found.append(str(error))
        if not Path(self.model).exists() and not is_hub_id(self.model):
            found.append(f"there is no model {self.model}: give a folder, a checkpoint's file or a hub id")
        return found

    def fingerprints(self, folders: Mapping[str, Path]) -> dict[str, str]:
        """A hub's copy goes by its commit, which names its content; one's own files are read."""
        place = _only(folders)
        own = Path(self.model).exists()
        of_hub = not own and place.parent.name == "snapshots"
        base = f"{self.model}@{place.name}" if of_hub else digest(place)
        return {f"specialists.{style}": self.prompt_of(style) for style in folders} | {"base": base}

    def load(self, folders: Mapping[str, Path], device: str | None = None) -> Editor:
        from simedit.diffusers_editor import DiffusersEditor
        from simedit.pipeline import silence_loading

        silence_loading()
        return DiffusersEditor.load(
            _only(folders),
            {style: self.prompt_of(style) for style in folders},
            pipeline=self.pipeline,
            parts=self.parts,
            scheduler=self.scheduler,
            scheduler_settings=self.scheduler_settings,
            pipeline_settings=self.pipeline_settings,
            device=device,
            steps=self.steps,
            guidance=self.guidance,
            image_guidance=self.image_guidance,
            size=self.size,
        )


def _only(folders: Mapping[str, Path]) -> Path:
    """The one place of the model, whatever the style. (On a cluster each style's has a path of its own.)"""
    return next(iter(folders.values()))
