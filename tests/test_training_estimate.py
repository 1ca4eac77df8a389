"""simedit.training.estimate: the dry run's numbers, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.progress import about
from simedit.tiny import tiny_pipeline
from simedit.training.config import TrainConfig
from simedit.training.estimate import TFLOPS, estimate, table
from simedit.training.speed import Speed

HERE = Speed("2 threads", 150e9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


def config(base: str, **update: Any) -> TrainConfig:
    data = {
        "base": base,
        "steps": 3,
        "samples": 16,
        "width": 64,
        "height": 64,
        "sampling": {"steps": 10, "batch_size": 4, "storage": "float32"},
        "update": {"batch_size": 2, "accumulation": 2} | update,
    }
    return parse_config(TrainConfig, data, where="test")


def shown(found: Any) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table(found, HERE))
    return capture.get()


def test_counts(base: str) -> None:
    found = estimate(config(base, timesteps=0.5, epochs=2))
    learned = 4  # half of the nine steps that draw noise
    sample, reference, update = (found.phases[name] for name in ("sample", "reference", "update"))
    assert (sample.each, sample.total) == (16 * 2 * 10 * 4, 3 * 16 * 2 * 10 * 4)
    assert (reference.each, reference.total) == (16 * 2 * learned * 4, 2 * 16 * 2 * learned * 4)
    assert (update.each, update.total) == (2 * 16 * 2 * learned * 4, 3 * 2 * 16 * 2 * learned * 4)
    assert found.updates == 2 * 16 // (2 * 2)
    assert (sample.forwards, reference.forwards) == (sample.total, reference.total)
    # Frozen weights need no gradient of their own: a backward pass is one to two forward passes, the
    # recomputation most of a third.
    assert 2.5 * update.total < update.forwards < 4 * update.total
    forwards = sum(phase.forwards for phase in found.phases.values())
    assert found.hours == pytest.approx(forwards * found.needs.forward / (TFLOPS * 1e12) / 3600)


def test_an_objective_says_what_it_costs(base: str) -> None:
    data = config(base).model_dump() | {"objective": {"kind": "dpo", "levels": 3}}
    data["sampling"]["edits"] = 5
    found = estimate(parse_config(TrainConfig, data, where="test"))
    sample, reference, update = (found.phases[name] for name in ("sample", "reference", "update"))
    assert sample.each == 16 * 5 * 10 * 4
    # Of two edits the conditional branch alone, at three noise levels, in the first step too.
    assert (reference.each, reference.total) == (16 * 2 * 3, 3 * 16 * 2 * 3)
    assert (update.each, update.total) == (16 * 2 * 3, 3 * 16 * 2 * 3)
    assert found.trajectory_bytes == 16 * 5 * 4 * 4 * 4 * 4
    assert found.needs.update < 0.6 * estimate(config(base)).needs.update


def test_the_attention_score_looks_at_each_input_and_its_edits(base: str) -> None:
    data = config(base).model_dump() | {"scores": {"attention": {"steps": 5}}}
    attention = estimate(parse_config(TrainConfig, data, where="test")).phases["attention"]
    assert (attention.each, attention.total, attention.forwards) == (240, 720, 720)
    assert "attention" not in estimate(config(base)).phases


def test_a_gradient_through_the_decoder_and_several_steps_is_counted(base: str) -> None:
    data = config(base).model_dump()
    data["sampling"]["edits"] = 3
    light = {"structural": {"kind": "canny"}, "structural_weight": 0}
    one, two = (
        estimate(
            parse_config(
                TrainConfig,
                data | {"objective": {"kind": "draft", "last": last}, "scores": light},
                where="test",
            )
        )
        for last in (1, 2)
    )
    assert one.phases["update"].each == 16 * 3 * 4
    assert two.phases["update"].each == 16 * 3 * 2 * 4
    assert one.phases["reference"].total == two.phases["reference"].total == 0
    assert one.trajectory_bytes == 16 * 3 * 11 * 4 * 4 * 4 * 4
    data["objective"] = {"kind": "nft", "levels": 3}
    nft = estimate(parse_config(TrainConfig, data, where="test"))
    assert nft.phases["reference"].total == nft.phases["update"].total == 3 * 16 * 3 * 3
    assert nft.trajectory_bytes == 16 * 3 * 4 * 4 * 4 * 4
    # U-Net batches of 6 and of 24; then the decoder's activations, and as many again of the U-Net.
    assert 2 * nft.needs.update < one.needs.update < two.needs.update - nft.needs.update


@pytest.mark.parametrize(("kl", "reference"), [(0.0, 0), (0.1, 1)])
def test_a_window_is_all_that_is_learned_from(base: str, kl: float, reference: int) -> None:
    data = config(base, epochs=2).model_dump() | {"objective": {"kind": "ppo", "kl": kl}}
    data["sampling"] |= {"edits": 5, "window": 4, "sampler": "ddim"}
    found = estimate(parse_config(TrainConfig, data, where="test"))
    sample, known, update = (found.phases[name] for name in ("sample", "reference", "update"))
    assert sample.each == 16 * 5 * 10 * 4
    each = 16 * 5 * 4 * 4  # of all five edits, at four denoising steps, with four branches
    assert (known.each, known.total) == (reference * each, 3 * reference * each)
    assert (update.each, update.total) == (2 * each, 3 * 2 * each)
    assert found.trajectory_bytes == 16 * 5 * (4 + 2) * 4 * 4 * 4 * 4


def test_memory_adds_up(base: str) -> None:
    found = estimate(config(base))
    assert found.trajectory_bytes == 16 * 2 * 11 * 4 * 4 * 4 * 4
    assert found.trained_bytes == 16 * found.needs.trained
    rest = max(found.needs.update, found.needs.sampling, found.needs.coding)
    assert found.device_bytes == found.needs.base + found.trained_bytes + rest


def test_processes_share_the_work(base: str) -> None:
    one, two = estimate(config(base)), estimate(config(base), processes=2)
    assert two.phases == one.phases
    assert two.device_bytes == one.device_bytes
    assert 2 * two.trajectory_bytes == one.trajectory_bytes
    assert 2 * two.updates == one.updates
    assert 2 * two.hours == pytest.approx(one.hours)
    assert "on 2 devices" in shown(two)


def test_counts_that_do_not_divide(base: str) -> None:
    with pytest.raises(SimeditError, match="samples"):
        estimate(config(base), processes=3)


def test_a_path_without_a_base() -> None:
    with pytest.raises(SimeditError, match="no such directory"):
        estimate(config("./nowhere"))


def test_the_table_says_what_is_estimated(base: str) -> None:
    found = estimate(config(base))
    text = shown(found)
    assert text.count("(estimated") == 3
    assert "assumed" not in text
    assert "3 training steps on 1 device, each of 16 inputs with 2 edits each" in text
    for phase in found.phases.values():
        assert f"{phase.forwards:,}" in text


def test_the_time_here_stands_beside_that_of_a_gpu(base: str) -> None:
    found = estimate(config(base))
    hours = replace(found, needs=replace(found.needs, forward=10**12))  # a larger U-Net
    forwards = sum(phase.forwards for phase in found.phases.values())
    assert hours.seconds(150e9) == pytest.approx(forwards / 0.15)
    assert 2 * replace(hours, processes=2).seconds(150e9) == hours.seconds(150e9)
    text = shown(hours)
    assert f"{about(forwards / 0.15)} on this machine (2 threads, 0.15 TFLOP/s measured)" in text
    assert f"{about(forwards / 100)} on a GPU that sustains 100 TFLOP/s" in text
    assert "the scores and the VAE come on top" in text


@pytest.mark.slow
def test_a_base_that_is_not_at_hand_is_assumed() -> None:
    found = estimate(config("nobody/has-this"))
    assert found.assumed
    assert found.needs.base > 2e9
    assert "nobody/has-this is not on this machine: assumed" in shown(found)
