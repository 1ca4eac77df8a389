"""Choosing among a training's checkpoints; the choice itself, made for real, is in test_lab_build.py."""

from __future__ import annotations

import pytest

from simedit.lab.selection import choose


@pytest.mark.parametrize(
    ("own", "step"),
    [
        ({1: 1.0, 2: 0.9, 3: 0.8}, 2),
        ({1: 0.8, 2: 0.9, 3: 1.0}, 3),
        ({1: 0.8, 2: 0.8, 3: 0.3}, 2),
        ({1: 0.0}, 1),
    ],
)
def test_the_last_that_looks_like_its_style_or_the_best(own: dict[int, float], step: int) -> None:
    assert choose(own) == step
