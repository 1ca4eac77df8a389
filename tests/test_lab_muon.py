from __future__ import annotations

import pytest
import torch

from simedit.lab.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_singular_values_become_nearly_equal(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator))[0] for n in shape)
    count = min(shape)
    matrix = (left[:, :count] * torch.logspace(0, -1, count)) @ right[:, :count].T
    found = torch.linalg.svdvals(orthogonal(matrix))
    assert found.min() > 0.6
    assert found.max() < 1.3
    # Its singular vectors stay: the product with the matrix is symmetric, as in a polar decomposition.
    product = orthogonal(matrix) @ matrix.T
    torch.testing.assert_close(product, product.T, atol=1e-4, rtol=0)


def test_an_update_is_as_large_as_adams_whatever_the_gradient() -> None:
    for scale in (1e-3, 1e3):
        weight = torch.nn.Parameter(torch.zeros(16, 8, 3, 3))
        weight.grad = scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=0.1).step()
        assert weight.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.25)
