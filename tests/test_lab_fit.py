from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from simedit.lab.fit import fit


def _line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(2, 1)


def _loss(module: nn.Module, stop_at: int | None = None):
    def loss(step: int) -> Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(32, 2, generator=torch.Generator().manual_seed(step))
        return ((module(x) - (3 * x[:, :1] - x[:, 1:])) ** 2).mean()

    return loss


def test_learns(tmp_path: Path) -> None:
    module = _line()
    fit(module, _loss(module), steps=200, learning_rate=0.5, folder=tmp_path, title="line", decay=0.9)
    with torch.no_grad():
        assert _loss(module)(1000) < 1e-2
        torch.testing.assert_close(module.weight, torch.tensor([[3.0, -1.0]]), atol=0.1, rtol=0)


def test_a_log_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simedit.progress.LOG_EVERY_S", 0)
    module = _line()
    fit(module, _loss(module), steps=3, learning_rate=0.5, folder=tmp_path, title="line")
    first, second, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"line: 1 of 3, about \d+ s left, loss \d+\.\d{4}", first)
    assert second.startswith("line: 2 of 3, about ")
    assert re.fullmatch(r"line: 3 of 3, loss \d+\.\d{4}", last)


def test_a_stopped_training_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, halves = _line(), _line()
    settings = {"steps": 20, "learning_rate": 0.1, "title": "line"}
    fit(whole, _loss(whole), folder=tmp_path / "whole", **settings)
    monkeypatch.setattr("simedit.lab.fit.SAVE_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        fit(halves, _loss(halves, stop_at=13), folder=tmp_path / "halves", **settings)
    again = nn.Linear(2, 1)
    seen = []

    def loss(step: int) -> Tensor:
        seen.append(step)
        return _loss(again)(step)

    fit(again, loss, folder=tmp_path / "halves", **settings)
    assert seen == list(range(13, 20))
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(again.bias, whole.bias)
    # Once done, another call only loads.
    fit(again, loss, folder=tmp_path / "halves", **settings)
    assert len(seen) == 7
    assert torch.equal(again.weight, whole.weight)
