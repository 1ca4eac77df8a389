"""What the pipeline, the specialists' cards and the trainings' configs share, free of torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeFloat, PositiveInt

from simedit.config import Config

DEFAULT_BASE = "timbrooks/instruct-pix2pix"


def _place(name: str) -> str:
    if not name.strip():
        raise ValueError("it names no folder: an empty one would be the working directory")
    if not name.isprintable():
        raise ValueError("it must hold letters, digits and signs that can be printed")
    return name


Place = Annotated[str, AfterValidator(_place)]
"""The path of a folder, or a hub id."""

Share = Annotated[float, Field(gt=0, le=1)]


def _in_order(heights: tuple[int, int]) -> tuple[int, int]:
    if heights[0] > heights[1]:
        raise ValueError("the least comes first, then the most")
    return heights


Heights = Annotated[tuple[PositiveInt, PositiveInt], AfterValidator(_in_order)]
"""The least and the most of a frame's height, pixels."""


class Scales(Config):
    """How hard each condition pulls (eq. 13). The defaults are the paper's."""

    model_config = ConfigDict(allow_inf_nan=False)

    image: NonNegativeFloat = 1.5
    style: NonNegativeFloat = 3.0
    text: NonNegativeFloat = 7.5

    @property
    def branches(self) -> int:
        """U-Net evaluations that guidance needs for a frame: where two neighbours of 1, image, style and
        text are equal, the condition between them cancels out."""
        return 1 + (self.text != self.style) + (self.style != self.image) + (self.image != 1)


class Finders(Config):
    """What finds the regions that nouns name (`simedit.scores.grounded_sam2`).

    Attributes:
        detector, segmenter: Grounding DINO and SAM 2: hub ids or directories.
        box_threshold, text_threshold: the detector's.
    """

    detector: Place = "IDEA-Research/grounding-dino-tiny"
    segmenter: Place = "facebook/sam2.1-hiera-large"
    box_threshold: Share = 0.4
    text_threshold: Share = 0.3
