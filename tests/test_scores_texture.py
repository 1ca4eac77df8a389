"""The texture encoder: what its features mean, and that an edit nearer to a material scores better."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from simedit.scores import Targets
from simedit.scores.semantic import Semantic
from simedit.scores.texture import Texture

MATERIALS = ("gold", "wood", "marble", "steel")
GOLD, BROWN, WHITE, GREY = (0.85, 0.65, 0.2), (0.5, 0.3, 0.15), (0.9, 0.9, 0.88), (0.55, 0.57, 0.6)


def material(name: str, seed: int = 0) -> Tensor:
    """[3, 128, 128]: smooth gold, wood with fine upright grain, cloudy marble, steel brushed across."""
    random = np.random.default_rng([seed, *name.encode()])
    noise = random.normal(size=(128, 128)).astype(np.float32)
    colour, sigmas, contrast = {
        "gold": (GOLD, (12, 12), 0.03),
        "wood": (BROWN, (1, 12), 0.08),
        "marble": (WHITE, (6, 6), 0.05),
        "steel": (GREY, (12, 1), 0.05),
    }[name]
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=sigmas[0], sigmaY=sigmas[1])
    pattern = torch.from_numpy(contrast * noise / noise.std())
    return (torch.tensor(colour).view(3, 1, 1) + pattern).clamp(0, 1)


def cabinet() -> tuple[Tensor, Tensor]:
    """A flat render [3, 128, 128] and its cabinet's mask."""
    frame = torch.full((3, 128, 128), 0.3)
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[24:104, 24:104] = True
    frame[:, mask] = torch.tensor([0.6, 0.5, 0.4]).view(3, 1)
    for top in (30, 55, 80):
        frame[:, top : top + 20, 30:98] = torch.tensor([0.55, 0.45, 0.36]).view(3, 1, 1)
    return frame, mask


def score(edits: list[Tensor], style: Tensor) -> list[float]:
    frame, mask = cabinet()
    everywhere = torch.ones(1, *style.shape[1:], dtype=torch.bool)
    return Semantic(Texture())(
        torch.stack(edits)[None], Targets(frame[None], mask[None], style[None], everywhere)
    )[0].tolist()


@pytest.mark.parametrize("name", MATERIALS)
def test_the_score_falls_with_each_step_to_the_style(name: str) -> None:
    frame, mask = cabinet()
    style, fresh = material(name), material(name, seed=1)
    steps = [
        torch.where(mask, torch.lerp(frame, fresh, share), frame)
        for share in torch.linspace(0, 1, 6).tolist()
    ]
    values = score(steps, style)
    assert all(a > b for a, b in pairwise(values)), values
    assert values[-1] < values[0] / 2


@pytest.mark.parametrize("name", MATERIALS)
def test_the_right_material_beats_the_wrong_ones(name: str) -> None:
    frame, mask = cabinet()
    edits = [torch.where(mask, material(other, seed=1), frame) for other in MATERIALS]
    values = dict(zip(MATERIALS, score(edits, material(name)), strict=True))
    assert min(values, key=lambda other: values[other]) == name


def test_texture_and_colour_both_count() -> None:
    frame, mask = cabinet()
    wood, right = material("wood"), material("wood", seed=1)
    mean = right.mean((1, 2), keepdim=True)
    right, turned, smooth, blue, tinted = score(
        [
            torch.where(mask, edit, frame)
            for edit in (
                right,
                right.mT,  # its grain lies across
                mean.expand_as(right),
                right[[2, 1, 0]],
                mean[[2, 1, 0]].expand_as(right),
            )
        ],
        wood,
    )
    assert right < turned < tinted
    assert right < smooth < tinted
    assert right < blue < tinted


def test_a_look_alike_of_another_size_is_close() -> None:
    style = material("marble")
    bigger = torch.from_numpy(cv2.resize(style.permute(1, 2, 0).numpy(), (300, 200))).permute(2, 0, 1)
    frame, mask = cabinet()
    edit = [torch.where(mask, material("marble", seed=1), frame)]
    assert score(edit, bigger)[0] == pytest.approx(score(edit, style)[0], abs=0.02)


def test_features_are_unit_vectors_and_local() -> None:
    texture, images = Texture(), torch.rand(2, 3, 256, 256, generator=torch.manual_seed(0))
    features = texture(images)
    assert features.shape == (2, 16, 16, 36)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=-1), torch.ones(()), atol=1e-5)
    assert torch.equal(features, texture(images))
    images[1, :, 128:144, 128:144] = 0  # the patch 8, 8
    changed = (texture(images) - features).abs().amax(-1)
    assert changed[0].max() == 0
    assert changed[1, 8, 8] > 0.1
    assert changed[1, :5].max() == 0  # further away than the widest filter reaches
    assert changed[1, :, 12:].max() == 0


@pytest.mark.parametrize("wavelength", [4, 8, 16])
def test_stripes_are_told_apart_by_width_and_direction(wavelength: int) -> None:
    x = torch.arange(256.0)

    def stripes(width: float, angle: float, phase: float = 0.0) -> Tensor:
        along = x * np.cos(angle) + x.view(-1, 1) * np.sin(angle)
        return (0.5 + 0.3 * torch.sin(2 * torch.pi * along / width + phase)).expand(3, -1, -1)

    images = [
        stripes(wavelength, 0.3),
        stripes(wavelength, 0.3, phase=2.0),
        stripes(wavelength, 0.3 + np.pi / 4),
        stripes(wavelength, 0.3 + np.pi / 2),
        stripes(2 * wavelength, 0.3),
    ]
    features = Texture()(torch.stack(images))[:, 2:-2, 2:-2].mean((1, 2))
    phase, turned, across, wider = (1 - torch.cosine_similarity(features[:1], features[1:])).tolist()
    assert phase < 1e-3
    assert min(turned, across, wider) > 20 * phase
    assert min(turned, across, wider) > 0.01


def test_odd_images() -> None:
    for size in ((1, 1), (7, 300)):
        assert Texture()(torch.rand(1, 3, *size)).isfinite().all()
    extremes = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64)])
    assert Texture()(extremes).isfinite().all()


def test_flat_images_have_finite_gradients() -> None:
    plain = torch.stack([torch.zeros(3, 64, 64), torch.ones(3, 64, 64), torch.full((3, 64, 64), 0.3)])
    random = torch.manual_seed(0)
    images = torch.cat([plain, torch.rand(1, 3, 64, 64, generator=random)]).requires_grad_()
    (Texture()(images) * torch.rand(4, 16, 16, 36, generator=random)).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad[2].any()  # its colour counts


def test_grey_that_turns_brown_counts_more_than_grey_that_turns_lighter() -> None:
    def flat(*colour: int) -> Tensor:
        return (torch.tensor(colour) / 255).view(3, 1, 1).expand(3, 64, 64)

    grey, browner, lighter = flat(72, 72, 72), flat(95, 72, 49), flat(95, 95, 95)
    features = Texture()(torch.stack([grey, browner, lighter]))
    apart = 1 - (features[1:] * features[:1]).sum(-1).mean((1, 2))
    assert 2 < apart[0] / apart[1] < 8
