"""benchmarks/worth.py and which_metric.py: their counts and correlations on built cases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import which_metric
import worth


def test_each_edit_counts_for_the_nearest_style() -> None:
    painted_gold = np.array([[0.1, 0.9], [0.7, 0.2], [0.3, 0.4]])
    painted_wood = np.array([[0.5, 0.4], [0.9, 0.1], [0.8, 0.3]])
    assert worth.seen([painted_gold, painted_wood]) == [[2, 1], [0, 3]]


def test_styles_together_are_the_mean_of_each_frame() -> None:
    def scores(first: list[float], other: list[float]) -> dict[str, Any]:
        values = {"ssim": {"one": first, "two": other}}
        told = {"editors": ["one", "two"], "images": ["0", "1"], "metrics": {"ssim": {}}, "left_out": {}}
        return told | {"values": values}

    found = worth.together([scores([0.2, 0.4], [0.4, 0.6]), scores([0.4, 0.8], [0.6, 1.0])])
    assert found["values"]["ssim"]["one"] == pytest.approx([0.3, 0.6])
    assert found["means"]["ssim"]["two"]["mean"] == pytest.approx(0.65)
    assert found["differences"]["ssim"]["two"]["mean"] == pytest.approx(0.2)


def test_a_correlation_by_hand() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert which_metric.correlation(x, y) == pytest.approx(0.5)
    assert which_metric.correlation(x, np.ones(3)) == 0


def test_a_metric_that_orders_arms_as_their_fidelity_does_is_found_and_a_constant_one_left_out() -> None:
    arms, frames, draws = 6, 4, 50
    order = np.arange(arms, dtype=float)
    fidelity = np.stack([order, order, -order], 1)
    drawn = np.broadcast_to(fidelity, (draws, arms, 3))
    told = order[:, None] + np.zeros(frames)
    lower = next(iter(which_metric.LOWER))
    found = which_metric.correlations(
        {"ssim": told, lower: told, "edge_f1": np.ones((arms, frames))}, fidelity, drawn, np.ones(arms, bool)
    )
    assert found.keys() == {"ssim", lower}
    assert found["ssim"]["mmrv"]["spearman"] == pytest.approx(1)
    assert found["ssim"]["mae"]["spearman"] == pytest.approx(-1)
    assert found[lower]["mmrv"]["spearman"] == pytest.approx(-1)  # what is lower there is better
    assert found["ssim"]["mmrv"]["p"] == pytest.approx(2 / 720)  # of all orders this one and its reverse
    assert found["ssim"]["mmrv"]["n"] == arms
