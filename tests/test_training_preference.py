from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.training.preference import advantages, d3po_loss, total

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")


@needs_golden
def test_totals_as_the_public_code() -> None:
    golden = np.load(GOLDEN / "advantage.npz")
    structural, semantic = (torch.from_numpy(golden[key]) for key in ("structural", "semantic"))
    found = total(structural, semantic, alpha=float(golden["alpha"]))
    torch.testing.assert_close(found, torch.from_numpy(golden["total"]), atol=1e-5, rtol=0)


@needs_golden
def test_loss_as_the_public_code() -> None:
    golden = np.load(GOLDEN / "d3po_loss.npz")
    found = d3po_loss(
        torch.from_numpy(golden["logprob"]),
        torch.from_numpy(golden["logprob_ref"]),
        torch.from_numpy(golden["preference"][:, 0]),
        beta=float(golden["beta"]),
        clamp=float(golden["eps"]),
    )
    assert found.mean().item() == pytest.approx(float(golden["loss"]), abs=1e-6)


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
    found = total(torch.full((7, 2), 0.3), torch.full((7, 2), 2.1))
    assert found.abs().max() < 1e-6
    assert (found[:, 0] == found[:, 1]).all()


def test_alpha_weighs_the_semantic_score() -> None:
    structural, semantic = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    assert total(structural, semantic, alpha=0.5).argmin(1) == 0
    assert total(structural, semantic, alpha=2.0).argmin(1) == 1


def test_the_loss_is_log_2_where_nothing_changed_and_falls_as_the_winner_gets_likelier() -> None:
    reference, winner = torch.zeros(3, 2), torch.tensor([0, 1, 0])
    unchanged = d3po_loss(reference, reference, winner)
    torch.testing.assert_close(unchanged, torch.full((3,), math.log(2)))
    better = torch.tensor([[0.05, -0.05], [-0.05, 0.05], [-0.05, 0.05]])
    found = d3po_loss(better, reference, winner)
    assert (found[:2] < unchanged[:2]).all()
    assert found[2] > unchanged[2]


def test_a_clamped_ratio_has_no_gradient() -> None:
    log_probs = torch.tensor([[0.3, -0.3], [0.05, -0.3], [0.05, -0.05]], requires_grad=True)
    d3po_loss(log_probs, torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)).sum().backward()
    assert log_probs.grad is not None
    assert ((log_probs.grad != 0) == torch.tensor([[False, False], [True, False], [True, True]])).all()
