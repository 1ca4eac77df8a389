"""Regions by words: Grounding DINO finds a noun's boxes, SAM 2 cuts out what they hold (arXiv 2504.12833)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import AutoTokenizer, GroundingDinoForObjectDetection, Sam2Model

from simedit.errors import SimeditError
from simedit.scores.hub import ImageStatistics, image_statistics, load_model
from simedit.settings import Finders


@dataclass
class GroundedSam2:
    """Both models. Images are worked on one by one, so that a mask never depends on its neighbours.

    Attributes:
        detector, tokenizer, detector_images: Grounding DINO, and what it expects of its images.
        segmenter, segmenter_images: SAM 2, and what it expects of its images.
        box_threshold: a box counts if some token of the prompt "noun." matches it with more than this.
        text_threshold: ... and some token of the noun itself with more than this.
    """

    detector: GroundingDinoForObjectDetection
    tokenizer: Any
    detector_images: ImageStatistics
    segmenter: Sam2Model
    segmenter_images: ImageStatistics
    box_threshold: float
    text_threshold: float

    @classmethod
    def load(
        cls,
        detector: str,
        segmenter: str,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        box_threshold: float = 0.4,
        text_threshold: float = 0.3,
    ) -> GroundedSam2:
        """Load both models, each by hub id or from a directory.

        Raises:
            SimeditError: a model, its tokenizer or its preprocessor_config.json is missing or does not fit.
        """
        what, part = "the detector (regions.detector)", "the segmenter (regions.segmenter)"
        detector_images = image_statistics(detector, what)
        segmenter_images = image_statistics(segmenter, part)
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(detector, trust_remote_code=False)
            ids = tokenizer("cupboard.").input_ids
        except Exception as error:  # of a broken one the tokenizers raise whatever comes
            raise SimeditError(f"cannot read the tokenizer of {detector!r}, {what}: {error}") from error
        # transformers makes up an empty tokenizer where there is none, and its Grounding DINO has BERT's
        # numbers of "[CLS]", "." and "[SEP]" built in.
        if (ids[0], *ids[-2:]) != (101, 1012, 102):
            raise SimeditError(f"{detector!r} lacks the tokenizer of {what}: copy its vocab.txt there")
        return cls(
            load_model(GroundingDinoForObjectDetection, detector, what, device, dtype),
            tokenizer,
            detector_images,
            load_model(Sam2Model, segmenter, part, device, dtype),
            segmenter_images,
            box_threshold,
            text_threshold,
        )

    @classmethod
    def configured(cls, finders: Finders, device: torch.device | str) -> GroundedSam2:
        """Load both models as a config names them.

        Raises:
            SimeditError: as `load`.
        """
        return cls.load(
            finders.detector,
            finders.segmenter,
            device,
            box_threshold=finders.box_threshold,
            text_threshold=finders.text_threshold,
        )

    def __call__(self, images: Tensor, nouns: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Mark everything in each image that its noun names.

        Args:
            images: float [N, 3, H, W] in 0..1, on any device.
            nouns: N words or phrases, such as "telephone booth".

        Returns:
            masks: bool [N, H, W] on the images' device, the union over the boxes; where nothing is found,
                the whole image.
            found: bool [N] on the CPU.

        Raises:
            SimeditError: an empty noun, or not one noun an image.
        """
        if len(nouns) != len(images) or not all(noun.strip() for noun in nouns):
            raise SimeditError(f"{len(images)} images need as many nouns, none of them empty: {list(nouns)}")
        masks = torch.ones(len(images), *images.shape[-2:], dtype=torch.bool, device=images.device)
        found = torch.zeros(len(images), dtype=torch.bool)
        for i, (image, noun) in enumerate(zip(images, nouns, strict=True)):
            boxes = self.detect(image, noun)
            if len(boxes) and (mask := self.segment(image, boxes)).any():
                masks[i], found[i] = mask, True
        return masks, found

    @torch.no_grad()
    def detect(self, image: Tensor, noun: str) -> Tensor:
        """The noun's boxes, float32 [K, 4]: left, top, right, bottom in pixels of `image` [3, H, W]."""
        height, width = image.shape[-2:]
        prompt = self.tokenizer(f"{noun.strip().lower().rstrip('.')}.", return_tensors="pt")
        size = _scaled(height, width, self.detector_images.size)
        output = self.detector(
            pixel_values=_prepared(image, self.detector_images, size, self.detector),
            **prompt.to(self.detector.device),
        )
        matches = output.logits[0].float().sigmoid()
        words = slice(1, prompt.input_ids.shape[1] - 2)  # [CLS] the noun . [SEP]
        keep = matches.amax(1) > self.box_threshold
        keep &= matches[:, words].amax(1) > self.text_threshold
        centre, extent = output.pred_boxes[0, keep].float().split(2, dim=1)
        corners = torch.cat([centre - extent / 2, centre + extent / 2], dim=1)
        return corners * corners.new_tensor([width, height, width, height])

    @torch.no_grad()
    def segment(self, image: Tensor, boxes: Tensor) -> Tensor:
        """bool [H, W] on the image's device, what stands in any of the boxes (as `detect` gives them)."""
        height, width = image.shape[-2:]
        size = (self.segmenter_images.size["height"], self.segmenter_images.size["width"])
        down, right = size[0] / height, size[1] / width
        boxes = boxes * boxes.new_tensor([right, down, right, down])
        output = self.segmenter(
            pixel_values=_prepared(image, self.segmenter_images, size, self.segmenter),
            input_boxes=boxes[None].to(self.segmenter.device),
            multimask_output=False,
        )
        logits = interpolate(output.pred_masks[0].float(), (height, width), mode="bilinear")
        return (logits > 0).flatten(0, 1).any(0).to(image.device)


def _scaled(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    """The detector's input size: the shorter edge at its length, unless the longer would pass its bound."""
    short, long = sorted((height, width))
    scale = min(size["shortest_edge"] / short, size.get("longest_edge", float("inf")) / long)
    edges = round(short * scale), int(long * scale + 1e-6)
    return edges if height <= width else (edges[1], edges[0])


def _prepared(image: Tensor, statistics: ImageStatistics, size: tuple[int, int], model: Any) -> Tensor:
    """[1, 3, *size], resized as the processors of transformers do, and normalised, for `model`."""
    pixels = image[None].to(model.device, torch.float32)
    pixels = interpolate(pixels, size, mode="bilinear", antialias=True)
    return statistics.normalise(pixels).to(model.dtype)
