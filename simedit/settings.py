"""What the pipeline, the specialists' cards and the trainings' configs share, free of torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, NonNegativeFloat, PositiveInt

from simedit.config import Config

DEFAULT_BASE = "timbrooks/instruct-pix2pix"


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
