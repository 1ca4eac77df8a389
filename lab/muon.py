"""Muon, which needs a fifth of Adam's steps to train small convolutional networks from scratch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal: every direction of a weight matrix learns equally fast.

    PyTorch's own (from 2.9) takes matrices alone; here a convolution's weight counts as one.

    Args:
        parameters: of two dimensions or more.
        lr: as AdamW's would be: an update has the size of one of its.
        momentum: Nesterov's.

    Source: Jordan et al., Muon (2024); the scale is that of Liu et al. (arXiv 2502.16982), section 2.2.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(mean, group["momentum"]).flatten(1))
                scale = 0.2 * max(update.shape) ** 0.5
                parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix [m, n] with its singular values all near 1, by five Newton-Schulz iterations.

    They are iterations on the small Gram matrix: a convolution's n is nine times its m.
    """
    x = matrix / (matrix.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    gram, one = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    whole = one
    for _ in range(5):
        step = torch.addmm(3.4445 * one - 4.775 * gram, gram, gram, alpha=2.0315)
        whole, gram = step @ whole, step @ gram @ step
    x = whole @ x
    return x.T if tall else x
