"""The caption score, by a tiny random CLIP of the real class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_clip import save_clip

from simedit.errors import SimeditError
from simedit.metrics import Scene
from simedit.metrics.clip import Clip, ClipText
from simedit.scores import Differentiable, Targets
from simedit.scores.caption import Caption
from simedit.training.config import CaptionConfig

TEXT = "a golden cupboard"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("clip")
    save_clip(found)
    return found


def test_it_is_1_minus_the_metric_for_each_edit(folder: Path) -> None:
    edits = np.random.default_rng(0).integers(0, 256, (2, 3, 40, 40, 3)).astype(np.uint8)
    images = torch.from_numpy(edits).permute(0, 1, 4, 2, 3) / 255
    inputs, masks = images[:, 0], torch.ones(2, 40, 40, dtype=torch.bool)
    score = Caption.load(CaptionConfig(text=TEXT, model=str(folder)), "cpu")
    values = score(images, Targets(inputs, masks, inputs, masks))
    assert (values.shape, values.dtype) == ((2, 3), torch.float32)
    metric = ClipText(Clip.load(str(folder), "cpu"))
    for own, value in zip(edits, values, strict=True):
        assert value.tolist() == pytest.approx(1 - metric(own, Scene(own[0], prompt=TEXT)), abs=1e-5)
    assert isinstance(score, Differentiable)
    edits = images.clone().requires_grad_()
    score.value(edits, Targets(inputs, masks, inputs, masks)).sum().backward()
    assert edits.grad is not None
    assert (edits.grad != 0).flatten(2).any(-1).all()
    broken = images.clone()
    broken[1, 2, 0, 20, 20] = torch.nan
    assert score(broken, Targets(inputs, masks, inputs, masks)).isnan().nonzero().tolist() == [[1, 2]]


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(SimeditError, match=r"scores\.caption\.model"):
        Caption.load(CaptionConfig(text=TEXT, model="./nowhere"), "cpu")
