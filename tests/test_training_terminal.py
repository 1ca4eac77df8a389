"""simedit.training.terminal: progress with the time left; nouns are shown as they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from clock import Clock
from rich.console import Console
from torch import Tensor

from simedit.training.config import RegionsConfig, StyleConfig, TrainConfig
from simedit.training.regions import Regions
from simedit.training.terminal import shown, warning_masks


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


def train(console: Console, clock: Clock, until: tuple[str, int]) -> str:
    """What is shown of three steps of five minutes, the first of four, after a warm start."""
    with shown(console, TrainConfig()) as show:
        for done in range(1, 5):
            clock.now += 40
            show("warm start", done, 4)
        for step in range(3):
            show("step", step, 3)
            for phase, parts, seconds in (("sample", 4, 30), ("reference", 2, 30), ("update", 3, 40)):
                if phase == "reference" and step == 0:
                    continue
                for done in range(1, parts + 1):
                    clock.now += seconds
                    show(phase, done, parts)
                    if (phase, step) == until:
                        return console.file.getvalue()  # type: ignore[attr-defined]
        show("step", 3, 3)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_log_gets_a_line_at_each_step_and_each_minute_with_the_time_left(clock: Clock) -> None:
    text = train(Console(file=io.StringIO(), width=30), clock, ("", 0))
    before, after = text.splitlines()[:3], text.splitlines()[6:]
    assert before == ["warm start 2 of 4, about 80 s left of it", "warm start 4 of 4", "step 0 of 3 done"]
    assert after == [
        "step 1 of 3 done, about 10 min left",
        "sample 2 of 4, step 2 of 3, about 9 min left",
        "sample 4 of 4, step 2 of 3, about 8 min left",
        "reference 2 of 2, step 2 of 3, about 7 min left",
        "update 2 of 3, step 2 of 3, about 6 min left",
        "step 2 of 3 done, about 5 min left",
        "sample 2 of 4, step 3 of 3, about 4 min left",
        "sample 4 of 4, step 3 of 3, about 3 min left",
        "reference 2 of 2, step 3 of 3, about 2 min left",
        "update 2 of 3, step 3 of 3, about 40 s left",
        "step 3 of 3 done",
    ]


def test_a_terminal_shows_the_time_left_within_the_first_step(clock: Clock) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    text = train(terminal, clock, ("update", 0))
    last = [line for line in text.splitlines() if line.strip()][-2:]
    assert "step" in last[0]
    assert "0/3" in last[0]
    assert "0:11:20" in last[0]  # what references will take is still a guess
    assert "update" in last[1]
    assert "0:01:20" in last[1]
