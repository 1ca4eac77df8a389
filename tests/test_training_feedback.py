from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.training.feedback import advantages, best_and_worst, feedback

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")


@needs_golden
def test_totals_as_the_public_code() -> None:
    golden = np.load(GOLDEN / "advantage.npz")
    structural, semantic = (torch.from_numpy(golden[key]) for key in ("structural", "semantic"))
    weights = {"structural": 1.0, "semantic": float(golden["alpha"])}
    found = feedback({"structural": structural, "semantic": semantic}, weights)
    torch.testing.assert_close(found.totals, torch.from_numpy(golden["total"]), atol=1e-5, rtol=0)


def test_advantages_are_normalised_over_all_given() -> None:
    scores = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    found = advantages(3 * scores + 7)
    assert found.mean().abs() < 1e-5
    assert found.std().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found, advantages(scores), atol=1e-5, rtol=0)


def test_advantages_are_clipped() -> None:
    scores = torch.zeros(200, 2)
    scores[0, 0] = 1000
    assert advantages(scores, clip=5).max() == 5
    assert advantages(scores, clip=50).max() > 5


def test_a_score_that_is_missing_spoils_no_other() -> None:
    scores = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    with_hole = torch.cat([scores, torch.tensor([[torch.nan, torch.inf]])])
    found = advantages(with_hole)
    torch.testing.assert_close(found[:6], advantages(scores))
    assert not found[6].isfinite().all()


def test_equal_scores_prefer_nothing() -> None:
    found = feedback({"a": torch.full((7, 3), 0.3), "b": torch.full((7, 3), 2.1)}, {"a": 1, "b": 1})
    assert found.totals.abs().max() < 1e-6
    assert not found.useful.any()
    assert not found.lost.any()


def test_weights_weigh_the_scores() -> None:
    scores = {"structural": torch.tensor([[0.0, 1.0]]), "semantic": torch.tensor([[1.0, 0.0]])}
    assert feedback(scores, {"structural": 1, "semantic": 0.5}).best == 0
    assert feedback(scores, {"structural": 1, "semantic": 2}).best == 1


def test_three_scores_of_three_edits_name_the_best_and_the_worst() -> None:
    scores = {name: torch.tensor([[2.0, 0.0, 1.0], [3.0, 4.0, 3.0]]) for name in "abc"}
    scores["b"] = scores["b"] * torch.tensor([[1.0, 1.0, torch.nan], [1.0, 1.0, 1.0]])
    found = feedback(scores, dict.fromkeys("abc", 1.0))
    assert found.lost.tolist() == [True, False]
    assert found.useful.tolist() == [False, True]
    edits, winner = best_and_worst(torch.tensor([[2.0, 0.0, 1.0], [1.0, 5.0, 2.0], [9.0, 3.0, 1.0]]))
    assert edits.tolist() == [[0, 1], [0, 1], [0, 2]]
    assert winner.tolist() == [1, 0, 1]
