"""The semantic score: numbers of the paper's public code, masks at the patch grid, and what must move it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from simedit.scores import Differentiable, Targets
from simedit.scores.semantic import Semantic, cosine_term, patch_mask, pixel_term
from simedit.scores.texture import Texture

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "semantic_score.npz"


@pytest.mark.skipif(not GOLDEN.is_file(), reason="needs ../shared/golden")
def test_the_public_codes_numbers() -> None:
    golden = {name: torch.from_numpy(values) for name, values in np.load(GOLDEN).items()}
    cosine = cosine_term(
        golden["features_edit"],
        golden["patch_mask_edit"].bool(),
        golden["features_style"],
        golden["patch_mask_style"].bool(),
    )
    pixel = pixel_term(golden["edit"], golden["input"], golden["pixel_mask"])
    assert torch.allclose(cosine, golden["cosine_term"], rtol=0, atol=1e-5)
    assert torch.allclose(pixel, golden["pixel_term"], rtol=0, atol=1e-5)
    assert torch.allclose(cosine + golden["lam"].float() * pixel, golden["score"], rtol=0, atol=1e-5)


def test_cosine_term_is_the_mean_over_pairs() -> None:
    random = torch.manual_seed(0)
    edit, style = (torch.randn(2, patches, 5, generator=random) for patches in (7, 4))
    mask_edit, mask_style = (torch.rand(2, patches, generator=random) > 0.4 for patches in (7, 4))
    for i in range(2):
        cosines = [
            torch.cosine_similarity(a, b, dim=0)
            for a in edit[i][mask_edit[i]]
            for b in style[i][mask_style[i]]
        ]
        expected = 1 - torch.stack(cosines).mean()
        assert cosine_term(edit, mask_edit, style, mask_style)[i].item() == pytest.approx(
            expected.item(), abs=1e-6
        )


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(0, 8), slice(0, 8), {(0, 0)}),  # a whole patch
        (slice(0, 4), slice(0, 8), {(0, 0)}),  # exactly a half
        (slice(0, 8), slice(0, 12), {(0, 0), (0, 1)}),  # and the half of the next
        (slice(0, 8), slice(0, 11), {(0, 0)}),  # and less than a half
        (slice(6, 9), slice(7, 9), {(0, 0), (0, 1), (1, 0), (1, 1)}),  # no half anywhere: all it touches
        (slice(31, 32), slice(47, 48), {(3, 5)}),  # one pixel
        (slice(0, 0), slice(0, 0), set()),
        (slice(0, 32), slice(0, 48), {(r, c) for r in range(4) for c in range(6)}),
    ],
)
def test_patch_mask(rows: slice, columns: slice, expected: set[tuple[int, int]]) -> None:
    mask = torch.zeros(2, 32, 48, dtype=torch.bool)
    mask[1, rows, columns] = True
    patches = patch_mask(mask, (4, 6))
    assert patches.shape == (2, 4, 6)
    assert patches.dtype == torch.bool
    assert {tuple(place) for place in patches[1].nonzero().tolist()} == expected


@pytest.mark.parametrize(("shape", "grid"), [((35, 50), (4, 6)), ((3, 5), (16, 16)), ((1, 1), (16, 16))])
def test_patch_mask_of_sizes_that_do_not_divide(shape: tuple[int, int], grid: tuple[int, int]) -> None:
    """Against the share of each patch counted on a lattice that both grids divide."""
    (height, width), (rows, columns) = shape, grid
    mask = torch.rand(height, width, generator=torch.manual_seed(0)) > 0.4
    mask[0, 0] = True
    fine = mask.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    share = fine.view(rows, height, columns, width).double().mean((1, 3))
    assert torch.equal(patch_mask(mask[None], grid)[0], share >= 0.5)


def test_pixel_term() -> None:
    inputs, edits = torch.zeros(4, 3, 4, 5), torch.zeros(4, 3, 4, 5)
    masks = torch.zeros(4, 4, 5, dtype=torch.bool)
    masks[:3, :, :3] = True
    masks[3] = True
    edits[0, :, :, :3] = 1  # inside: free
    edits[1, 0, 0, 4] = 0.6  # one channel of one of eight pixels outside
    edits[2] = 0.5
    edits[3] = 1  # nothing is outside
    assert pixel_term(edits, inputs, masks).tolist() == pytest.approx([0, 0.36 / 24, 0.25, 0])
    empty = pixel_term(edits, inputs, torch.zeros_like(masks))
    assert empty.tolist() == pytest.approx([0.6, 0.36 / 60, 0.25, 1])  # nothing may change


def scene() -> tuple[Tensor, Tensor, Tensor]:
    """An input [3, 128, 128] with a plain cabinet, its mask, and a style image [3, 128, 128] of stripes."""
    random = torch.manual_seed(0)
    frame = 0.4 + 0.1 * torch.rand(3, 128, 128, generator=random)
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[32:96, 24:104] = True
    frame[:, mask] = 0.5
    x = torch.arange(128.0)
    stripes = 0.5 + 0.4 * torch.sin(2 * torch.pi * (x.view(-1, 1) + x) / 8)
    return frame, mask, stripes * torch.tensor([1.0, 0.75, 0.3]).view(3, 1, 1)


def score(edits: list[Tensor], outside: float = 0.5) -> list[float]:
    frame, mask, style = scene()
    everywhere = torch.ones(1, 128, 128, dtype=torch.bool)
    values = Semantic(Texture(), outside)(
        torch.stack(edits)[None], Targets(frame[None], mask[None], style[None], everywhere)
    )
    assert values.shape == (1, len(edits))
    assert values.dtype == torch.float32
    return values[0].tolist()


def painted(inside: Tensor, outside: Tensor) -> Tensor:
    return torch.where(scene()[1], inside, outside)


def test_each_change_for_the_worse_counts() -> None:
    frame, _, style = scene()

    def blurred(sigma: float) -> Tensor:
        return torch.from_numpy(cv2.GaussianBlur(style.permute(1, 2, 0).numpy(), (0, 0), sigma)).permute(
            2, 0, 1
        )

    best = painted(style, frame)
    changes = {
        "blur inside": [painted(blurred(sigma), frame) for sigma in (1.0, 2.0, 3.0)],
        "recolour inside": [painted(torch.lerp(style, 1 - style, s), frame) for s in (0.15, 0.3, 0.45)],
        "recolour outside": [painted(style, torch.lerp(frame, torch.zeros(()), s)) for s in (0.2, 0.6, 1.0)],
        "shift": [torch.roll(best, s, 2) for s in (4, 12, 28)],
    }
    for name, edits in changes.items():
        values = score([best, *edits])
        assert all(a < b for a, b in pairwise(values)), (name, values)


def test_outside_weighs_the_pixel_term() -> None:
    frame, mask, style = scene()
    spilled = painted(style, (frame + 0.2).clamp(0, 1))
    free, half, full = (score([spilled], weight)[0] for weight in (0.0, 0.5, 1.0))
    spill = pixel_term(spilled[None], frame[None], mask[None]).item()
    assert spill > 0.01
    assert half - free == pytest.approx(spill / 2, abs=1e-6)
    assert full - free == pytest.approx(spill, abs=1e-6)


def test_style_mask_chooses_what_the_style_is() -> None:
    """A style image half stripes, half plain grey: which half the mask shows decides which edit is better."""
    frame, mask, style = scene()
    mixed = style.clone()
    mixed[:, :, 64:] = 0.5
    left = torch.zeros(128, 128, dtype=torch.bool)
    left[:, :64] = True
    edits = torch.stack([painted(style, frame), frame]).expand(2, -1, -1, -1, -1)
    targets = Targets(
        frame.expand(2, -1, -1, -1),
        mask.expand(2, -1, -1),
        mixed.expand(2, -1, -1, -1),
        torch.stack([left, ~left]),
    )
    values = Semantic(Texture())(edits, targets)
    assert values[0, 0] < values[0, 1] - 0.05
    assert values[1, 1] < values[1, 0] - 0.05


def test_a_full_mask_is_the_whole_image() -> None:
    frame, _, style = scene()
    mask = torch.ones(1, 128, 128, dtype=torch.bool)
    same, other = Semantic(Texture())(
        torch.stack([style, frame])[None], Targets(frame[None], mask, style[None], mask)
    )[0].tolist()
    features = Texture()(torch.stack([style, frame])).flatten(1, 2)
    everywhere = torch.ones(2, 256, dtype=torch.bool)
    expected = cosine_term(features, everywhere, features[:1].expand(2, -1, -1), everywhere)
    assert [same, other] == pytest.approx(expected.tolist(), abs=1e-6)  # the change itself costs nothing


def test_an_empty_mask_means_that_nothing_may_change() -> None:
    frame, mask, style = scene()
    broken = frame.clone()
    broken[0, 5, 5] = torch.nan
    edits = torch.stack([frame, torch.lerp(frame, style, 0.1), style, broken])
    everywhere = torch.ones(2, 128, 128, dtype=torch.bool)
    values = Semantic(Texture(), 0.5)(
        edits.expand(2, -1, -1, -1, -1),
        Targets(
            frame.expand(2, -1, -1, -1),
            torch.stack([torch.zeros_like(mask), mask]),
            style.expand(2, -1, -1, -1),
            everywhere,
        ),
    )
    kept, touched, painted_over, nan = values[0].tolist()
    assert kept == 0
    assert kept < touched < painted_over
    assert painted_over == pytest.approx(0.5 * (style - frame).square().mean().item(), rel=1e-5)
    assert np.isnan(nan)
    assert values[1, 2] < values[1, 0]  # its neighbour's mask is not empty, and is to be painted


def test_the_gradient_leads_to_a_better_score_and_a_call_has_none() -> None:
    frame, mask, style = scene()
    everywhere = torch.ones(1, 128, 128, dtype=torch.bool)
    targets, judge = Targets(frame[None], mask[None], style[None], everywhere), Semantic(Texture())
    edit = (0.9 * frame)[None, None].requires_grad_()
    before = judge.value(edit, targets)
    assert not judge(edit, targets).requires_grad
    assert torch.equal(judge(edit, targets), before)
    (slope,) = torch.autograd.grad(before.sum(), edit)
    assert judge(edit - 0.01 * slope / slope.abs().amax(), targets) < before
    assert slope[..., ~mask].any()  # which is to be as it was
    assert isinstance(judge, Differentiable)


@pytest.mark.parametrize("place", [(64, 64), (2, 2)])  # inside the mask and outside
def test_nan_stays_with_its_edit(place: tuple[int, int]) -> None:
    frame, _, style = scene()
    broken = painted(style, frame)
    broken[1, place[0], place[1]] = torch.nan
    good = score([frame, painted(style, frame)])
    values = score([frame, broken, painted(style, frame)])
    assert np.isnan(values[1])
    assert values[::2] == pytest.approx(good, abs=1e-6)


def test_edits_of_several_inputs() -> None:
    """As each alone, with inputs, masks and styles that differ."""
    frame, mask, style = scene()
    inputs, masks = torch.stack([frame, frame.flip(1)]), torch.stack([mask, torch.roll(mask, 9, 0)])
    styles, style_masks = torch.stack([style, style.flip(0)]), torch.stack([mask, ~mask])
    edits = torch.rand(2, 3, 3, 128, 128, generator=torch.manual_seed(1))
    together = Semantic(Texture())(edits, Targets(inputs, masks, styles, style_masks))
    for i in range(2):
        one = slice(i, i + 1)
        alone = Semantic(Texture())(
            edits[one], Targets(inputs[one], masks[one], styles[one], style_masks[one])
        )
        assert torch.allclose(together[one], alone, atol=1e-6)
