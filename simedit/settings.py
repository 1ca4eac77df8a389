"""What the pipeline, the specialists' cards and the trainings' configs share, free of torch."""

from __future__ import annotations

from pydantic import ConfigDict, NonNegativeFloat

from simedit.config import Config

DEFAULT_BASE = "timbrooks/instruct-pix2pix"


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
