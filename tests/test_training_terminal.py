"""simedit.training.terminal: nouns are shown as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from simedit.training.config import RegionsConfig, StyleConfig
from simedit.training.regions import Regions
from simedit.training.terminal import warning_masks


@pytest.mark.parametrize("noun", ["cupboard", "[/cupboard]", "[red]"])
def test_nouns_that_are_not_found_are_named_once(noun: str) -> None:
    def nothing(images: Tensor, nouns: object) -> tuple[Tensor, Tensor]:
        return torch.ones(len(images), *images.shape[-2:], dtype=torch.bool), torch.zeros(len(images)).bool()

    style = StyleConfig(noun=noun, style_noun=noun)
    images = np.zeros((2, 32, 32, 3), np.uint8)
    regions = Regions(RegionsConfig(inputs="grounded-sam2"), style, images, lambda: nothing)
    console = Console(file=io.StringIO(), width=1000)
    masks = warning_masks(regions, style, console)
    for index in (0, 1):
        masks([index], images[:1], [None])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("warning: ") == 2
    assert f"{noun!r} was not found in 2 of 2 style images" in shown
    assert f"{noun!r} was found in none of the first 1 inputs" in shown
