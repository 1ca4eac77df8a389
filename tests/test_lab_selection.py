"""Choosing among a training's checkpoints; the choice itself, made for real, is in test_lab_build.py."""

from __future__ import annotations

import numpy as np
import pytest

from simedit.errors import SimeditError
from simedit.lab import selection
from simedit.lab.selection import Likeness, choose


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        ({1: (1.0, 6.0), 2: (0.9, 5.0), 3: (0.8, 4.0)}, 2),
        ({1: (1.0, 6.0), 2: (0.9, 6.5), 3: (1.0, 6.7)}, 2),
        ({1: (0.8, 5.0), 2: (0.8, 4.0), 3: (0.3, 1.0)}, 2),
        ({1: (0.0, 9.0)}, 1),
    ],
)
def test_the_last_that_has_not_drifted(seen: dict[int, tuple[float, float]], step: int) -> None:
    assert choose({key: Likeness(*value) for key, value in seen.items()}) == step


def test_a_training_without_checkpoints_is_named(tmp_path, monkeypatch) -> None:
    frames = np.zeros((1, 8, 8, 3), np.uint8)
    monkeypatch.setattr(selection, "held_out", lambda seed: (frames, frames[..., 0] == 0))
    with pytest.raises(SimeditError, match="gold has no checkpoint"):
        selection.select([tmp_path / "gold"])
