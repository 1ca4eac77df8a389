"""Which pipelines of diffusers edit a picture by an instruction, and how each is called: a table, no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Call:
    """How a pipeline is called with a prompt, an image, a number of steps and a generator.

    Attributes:
        guidance: its argument for the scale of the text; None: it has none.
        image_guidance: for the scale of the image.
        sides: for height and width of the picture that it makes; none: it makes one of the image's size.
        area: for the most pixels of that picture.
        fixed: arguments that are always the same.
        parts: of its parts and settings, those that are always the same.
        multiple: sides are a multiple of so many of its latents' sides.
        half: the dtype of 16 bits that its authors run it in.
    """

    guidance: str | None = "guidance_scale"
    image_guidance: str | None = None
    sides: tuple[str, ...] = ("height", "width")
    area: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    multiple: int = 1
    half: str = "bfloat16"


_BOTH = "image_guidance_scale"
_QWEN = Call("true_cfg_scale", multiple=2, fixed={"negative_prompt": " "})  # without one, no guidance

CALLS: Mapping[str, Call] = {
    "StableDiffusionInstructPix2PixPipeline": Call(
        image_guidance=_BOTH,
        sides=(),
        parts={"safety_checker": None, "requires_safety_checker": False},  # it paints pictures black
        half="float16",
    ),
    "StableDiffusionXLInstructPix2PixPipeline": Call(
        image_guidance=_BOTH,
        parts={"add_watermarker": False},  # it changes pixels
        half="float16",
    ),
    "FluxKontextPipeline": Call(area="max_area", fixed={"_auto_resize": False}, multiple=2),
    "Flux2KleinPipeline": Call(multiple=2),
    "QwenImageEditPipeline": _QWEN,
    "QwenImageEditPlusPipeline": _QWEN,
    "DreamLitePipeline": Call(image_guidance=_BOTH, multiple=4),
    "DreamLiteMobilePipeline": Call(guidance=None, multiple=4),
}
"""By the names of their classes."""


def is_hub_id(model: str) -> bool:
    """Whether the name of a model that is no path here may be the hub's: OWNER/NAME."""
    return model.count("/") == 1 and not model.startswith((".", "/", "~"))
