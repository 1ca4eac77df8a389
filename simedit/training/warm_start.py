"""A specialist's first steps, supervised: it learns to make frames painted with its own style images."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from simedit.training.config import TrainConfig
from simedit.training.painted import frame_shading, paint, usual_brightness
from simedit.training.policy import Encoded, Policy
from simedit.training.sampler import Material, Sampler

_LOOKED_AT = 32
"""Inputs whose brightness says how bright inputs are."""
_UNTOLD = 0.1
"""Share of the pairs without an instruction: guidance by text needs to know both."""
_OUTSIDE = 0.2
"""What a latent pixel outside the mask weighs; the edit leaves it as it is."""
_ZOOM = 1.6
"""Style images are enlarged by so much at most."""


class WarmStart:
    """The loss of one supervised step (arXiv 2211.09800, eq. 1, or its velocity): a style image, cut and
    turned at random, is laid on what the mask shows of an input, in the input's own light.

    Args:
        config: with a warm start, and the style's name filled in.
        policy: what learns.
        sampler: has encoded the wordings.
        material: inputs, style images and masks.
    """

    def __init__(self, config: TrainConfig, policy: Policy, sampler: Sampler, material: Material):
        assert config.warm_start is not None
        self._config, self._policy, self._sampler, self._material = config, policy, sampler, material
        self._count = config.warm_start.batch_size
        frames, masks = self._inputs(list(range(min(_LOOKED_AT, len(material.inputs)))))
        self._usual = usual_brightness(frames, masks)

    def loss(self, step: int, rows: range) -> Tensor:
        """The share that the pairs `rows` have in a step's loss, which is a mean; it follows from the step
        and the rows alone."""
        config, pipeline, device = self._config, self._policy.pipeline, self._policy.device
        randoms = [np.random.default_rng([config.seed, 4, step, row]) for row in rows]
        frames, masks = self._inputs([int(r.integers(len(self._material.inputs))) for r in randoms])
        styles = [self._material.styles[(step + row) % len(self._material.styles)] for row in rows]
        laid = [_turned(one, config.width, config.height, r) for one, r in zip(styles, randoms, strict=True)]
        painted = [
            paint(frame, mask, picture, frame_shading(frame, self._usual))
            for frame, mask, picture in zip(frames, masks, laid, strict=True)
        ]
        wording = torch.tensor([int(r.integers(len(self._sampler.wordings))) for r in randoms])
        told = torch.tensor([r.random() >= _UNTOLD for r in randoms], device=device).view(-1, 1, 1)
        alphas = pipeline.scheduler.alphas_cumprod.to(device)
        t = torch.tensor([int(r.integers(len(alphas))) for r in randoms], device=device)
        with torch.no_grad():
            image = pipeline.encode_images(_pixels(frames).to(device))
            style = pipeline.encode_images(_pixels(np.stack(laid)).to(device))
            x = pipeline.encode_images(_pixels(np.stack(painted)).to(device)).float()
            x = x * pipeline.vae.config.scaling_factor
        drawn = np.stack([r.standard_normal(x.shape[1:], np.float32) for r in randoms])
        noise, a = torch.from_numpy(drawn).to(device), alphas[t].view(-1, 1, 1, 1)
        conditioning = self._policy.conditioning(Encoded(self._sampler.text(wording), image, style))
        text = torch.where(told, conditioning.text, conditioning.empty_text)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        with self._policy.autocast():
            given = torch.cat([noisy.to(image.dtype), conditioning.image, conditioning.style], 1)
            predicted = self._policy.unet(given, t, encoder_hidden_states=text, return_dict=False)[0].float()
        wanted = noise if conditioning.alphas is None else a.sqrt() * noise - (1 - a).sqrt() * x
        shown = torch.from_numpy(masks[:, None]).to(device, torch.float32)
        weight = _OUTSIDE + (1 - _OUTSIDE) * adaptive_avg_pool2d(shown, x.shape[-2:])
        return (weight * (predicted - wanted) ** 2).mean((1, 2, 3)).sum() / self._count

    def _inputs(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        found = [self._material.inputs[index] for index in indices]
        frames = np.stack([frame for frame, _ in found])
        return frames, self._material.masks(indices, frames, [mask for _, mask in found])


def _turned(picture: np.ndarray, width: int, height: int, random: np.random.Generator) -> np.ndarray:
    """A part of a style image, uint8 [height, width, 3]: enlarged, mirrored, turned by quarters."""
    picture = np.rot90(picture, int(random.integers(4)))[:, :: random.choice((-1, 1))]
    scale = max(height / picture.shape[0], width / picture.shape[1]) * random.uniform(1, _ZOOM)
    size = [
        max(side, round(have * scale)) for side, have in zip((height, width), picture.shape, strict=False)
    ]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(np.ascontiguousarray(picture), (size[1], size[0]), interpolation=way)
    top, left = (
        int(random.integers(have - side + 1)) for have, side in zip(size, (height, width), strict=True)
    )
    return picture[top : top + height, left : left + width]


def _pixels(images: np.ndarray) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [N, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2) / 255
