from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.training.config import ScoresConfig
from simedit.training.feedback import advantages, best_and_worst, feedback, judged

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


def test_an_inputs_own_edits_are_its_baseline() -> None:
    scores = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    scores[1] = 0.3
    scores[2, 1] = torch.nan
    config = ScoresConfig(baseline="input", alpha=0.5)
    named = {"structural": scores, "semantic": scores.flip(1)}
    found, newest = judged(config, named, torch.zeros(5, dtype=torch.int64), {})
    assert newest == {}
    for row in (0, 3, 4):
        own = (scores[row] - scores[row].mean()) / scores[row].std()
        torch.testing.assert_close(found.totals[row], own + 0.5 * own.flip(0))
    assert not found.totals[1].any()
    assert found.useful.tolist() == [True, False, False, True, True]


def test_a_wordings_newest_scores_are_its_baseline() -> None:
    """Over three steps, against a deque for each wording, as ddpo-pytorch keeps them."""
    random = torch.Generator().manual_seed(0)
    config = ScoresConfig(baseline="prompt", alpha=0, buffer_size=9, min_count=5)
    kept: dict[int, deque[float]] = {}
    newest: dict[str, torch.Tensor] = {}
    few = 0
    for wording in ([0, 1, 0, 0], [2, 1, 1, 0], [0, 0, 1, 2]):
        scores = torch.rand(4, 2, generator=random)
        scores[0, 0] = torch.nan
        named = {"structural": scores, "semantic": scores + 1}
        found, newest = judged(config, named, torch.tensor(wording), newest)
        finite = scores[scores.isfinite()]
        for which, row in zip(wording, scores, strict=True):
            kept.setdefault(which, deque(maxlen=9)).extend(row[row.isfinite()].tolist())
        for row, which in enumerate(wording[1:], 1):
            known = torch.tensor(kept[which]) if len(kept[which]) >= 5 else finite
            few += len(kept[which]) < 5
            torch.testing.assert_close(found.totals[row], (scores[row] - known.mean()) / known.std())
        assert found.lost.tolist() == [True, False, False, False]
        assert newest.keys() == {f"{name}.{which}" for name in named for which in kept}
        for which, values in kept.items():
            assert newest[f"structural.{which}"].tolist() == pytest.approx([*values])
    assert 0 < few < 9


def test_all_scores_of_a_step_are_the_usual_baseline() -> None:
    scores = {"structural": torch.rand(5, 2), "semantic": torch.rand(5, 2)}
    found, newest = judged(ScoresConfig(alpha=0.5), scores, torch.arange(5), {})
    usual = feedback(scores, {"structural": 1, "semantic": 0.5})
    assert torch.equal(found.totals, usual.totals)
    assert newest == {}
