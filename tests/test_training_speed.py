"""simedit.training.speed: what is measured, not how fast it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from simedit.config import parse_config
from simedit.training import speed
from simedit.training.config import TrainConfig
from simedit.training.speed import measured

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0)


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What is convolved."""
    found = []

    class Seen(torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found.append(x)
            return super().forward(x)

    monkeypatch.setattr(torch.nn, "Conv2d", Seen)
    return found


def config(**settings: Any) -> TrainConfig:
    return parse_config(TrainConfig, {"width": 160, "height": 128, **settings}, where="test")


def test_the_u_nets_widths_and_sizes_are_measured_in_the_trainings_precision(
    inputs: list[torch.Tensor],
) -> None:
    settings = {"sampling": {"batch_size": 2}, "style": {"scales": {"image": 1, "style": 1, "text": 2}}}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        inputs.clear()
        found = measured(config(precision=precision, **settings), {"block_out_channels": (32, 64)}, CPU)
        assert found.flops > 0
        assert {tuple(x.shape) for x in inputs} == {(8, 32, 16, 20), (8, 64, 8, 10)}
        assert {x.dtype for x in inputs} == {dtype}


def test_what_would_take_long_is_measured_in_part(inputs: list[torch.Tensor]) -> None:
    large = config(width=8192, height=8192, precision="fp32")
    assert measured(large, {"block_out_channels": (10**6,)}, CPU).flops > 0
    for x in inputs:
        assert 2 * 9 * x.shape[1] * x.numel() < 2e10


def test_threads_are_named() -> None:
    before = torch.get_num_threads()
    try:
        for threads, words in ((1, "1 thread"), (2, "2 threads")):
            torch.set_num_threads(threads)
            assert measured(config(), {"block_out_channels": (32,)}, CPU).device == words
    finally:
        torch.set_num_threads(before)
