"""simedit.training.footprint: what is counted without data is what real runs allocate and compute."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from simedit.config import parse_config
from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.settings import Scales
from simedit.tiny import tiny_pipeline
from simedit.training.config import TrainConfig
from simedit.training.footprint import (
    PARTS,
    STABLE_DIFFUSION,
    Allocations,
    Footprint,
    base_configs,
    footprint,
)
from simedit.training.policy import Encoded, Policy
from simedit.training.rollout import repeated


def config(*, checkpointing: bool = False, precision: str = "fp32", **more: Any) -> TrainConfig:
    data = {
        "width": 128,
        "height": 96,
        "precision": precision,
        "sampling": {"batch_size": 4, "steps": 10},
        "update": {"batch_size": 2, "gradient_checkpointing": checkpointing},
    }
    return parse_config(TrainConfig, data | more, where="test")


def configs(pipeline: SpecialistPipeline) -> dict[str, dict[str, Any]]:
    unet, vae = dict(pipeline.unet.config), dict(pipeline.vae.config)
    return {"unet": unet, "vae": vae, "text_encoder": pipeline.text_encoder.config.to_dict()}


@cache
def tiny(*, checkpointing: bool = False, precision: str = "fp32") -> Footprint:
    return footprint(config(checkpointing=checkpointing, precision=precision), configs(tiny_pipeline()))


class Real:
    """A tiny policy on the CPU and batches for it."""

    def __init__(self, checkpointing: bool):
        self.pipeline = tiny_pipeline()
        self.policy = Policy(
            self.pipeline, rank=8, alpha=8, seed=0, scales=Scales(), gradient_checkpointing=checkpointing
        )
        for parameter in self.policy.parameters:
            parameter.grad = torch.zeros_like(parameter)
        modules = (self.policy.unet, self.policy.style_attention, self.pipeline.vae)
        weights = [p for module in modules for p in module.parameters()]
        self.kept = [*weights, *(p.grad for p in weights if p.grad is not None)]

    def predict(self, pairs: int) -> Tensor:
        latents = torch.zeros(pairs, 4, 6, 8)
        encoded = Encoded(self.pipeline.encode_text(["gold"] * pairs), latents, latents)
        x = torch.zeros(2 * pairs, 4, 6, 8)
        return self.policy.predict(repeated(self.policy.conditioning(encoded), 2), x, torch.zeros(2 * pairs))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_real_run_allocates_as_much(checkpointing: bool) -> None:
    real = Real(checkpointing)
    found = tiny(checkpointing=checkpointing)
    with Allocations(real.kept) as update:
        real.predict(2).square().mean().backward()
    with torch.no_grad(), Allocations(real.kept) as sampling:
        real.predict(4)
    with torch.no_grad(), Allocations(real.kept) as coding:
        real.pipeline.encode_images(torch.zeros(4, 3, 96, 128))
    trajectories = 4 * 2 * 11 * 4 * 6 * 8 * 2
    assert found.update == pytest.approx(update.peak, rel=0.05)
    assert found.sampling - trajectories == pytest.approx(sampling.peak, rel=0.05)
    assert found.coding == pytest.approx(coding.peak, rel=0.2)  # the images themselves come on top
    assert update.live < 0.03 * update.peak


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_of_scores_go_through_several_steps_and_the_decoder(checkpointing: bool) -> None:
    real = Real(checkpointing)
    real.policy.unet.train()  # else nothing is recomputed
    objective = {"kind": "draft", "last": 2}
    scores = {"structural": {"kind": "canny"}, "structural_weight": 0}
    found = footprint(
        config(checkpointing=checkpointing, objective=objective, scores=scores), configs(tiny_pipeline())
    )
    with Allocations(real.kept) as update:
        latents = torch.zeros(2, 4, 6, 8)
        encoded = Encoded(real.pipeline.encode_text(["gold"] * 2), latents, latents)
        conditioning = repeated(real.policy.conditioning(encoded), 2)
        x = torch.zeros(4, 4, 6, 8)
        for _ in range(2):
            x = real.policy.predict(conditioning, x, torch.zeros(4))
        real.pipeline.decode(x, 96, 128).sum().backward()
    assert found.update == pytest.approx(update.peak, rel=0.1)
    assert found.update > tiny(checkpointing=checkpointing).update


def test_what_autograd_saves_is_most_of_a_backward_pass() -> None:
    """Counted another way: the tensors that autograd keeps for the backward pass."""
    real = Real(checkpointing=False)
    weights = {id(tensor.untyped_storage()): tensor.untyped_storage() for tensor in real.kept}
    saved: dict[int, Any] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in weights:
            saved[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = real.predict(2)
    assert output.requires_grad
    kept = sum(storage.nbytes() for storage in saved.values())
    found = tiny()
    assert kept < found.update < 1.3 * kept


def test_a_real_run_computes_as_much() -> None:
    real = Real(checkpointing=False)
    found = tiny()
    with (
        FlopCounterMode(display=False) as counter,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        output = real.predict(1)
        forward = counter.get_total_flops()
        output.sum().backward()
    # The style attention's gradients and the text encoder are not the U-Net's.
    assert found.forward == pytest.approx(forward / 8, rel=0.1)
    assert found.learning == pytest.approx(counter.get_total_flops() / 8, rel=0.1)
    assert 1.5 * found.forward < found.learning < 3.1 * found.forward


def test_weights() -> None:
    pipeline = tiny_pipeline()
    modules = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.style_attention)
    base = sum(p.numel() for module in modules for p in module.parameters())
    found = tiny()
    assert found.base == 4 * base
    assert found.trained == sum(p.numel() for p in Real(checkpointing=False).policy.parameters)
    assert found.latent == 2 * 4 * 6 * 8


def test_the_knobs_that_save_memory_do() -> None:
    plain, bf16, spared = tiny(), tiny(precision="bf16"), tiny(checkpointing=True)
    assert 0.49 < bf16.base / plain.base < 0.55
    for name in ("update", "sampling", "coding"):
        assert 0.5 < getattr(bf16, name) / getattr(plain, name) < 0.9
    assert spared.update < 0.6 * plain.update
    assert spared.sampling == plain.sampling
    assert spared.learning > 1.2 * plain.learning
    update = {"batch_size": 4, "gradient_checkpointing": False}
    more = footprint(config(update=update, lora_rank=16), configs(tiny_pipeline()))
    assert more.update == pytest.approx(2 * plain.update, rel=0.1)
    assert more.trained > plain.trained


def test_allocations_follow_lifetimes() -> None:
    before = torch.zeros(1000)
    with Allocations([before]) as allocations:
        view = before[:10]
        a = before + 1
        assert allocations.live == allocations.peak == 4000
        b = a.view(10, 100).T  # no memory of its own
        del a
        assert allocations.live == 4000
        del b
        assert allocations.live == 0
        c = view * 2
        assert (allocations.live, allocations.peak) == (40, 4000)
    del c


def test_configs_of_a_directory(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path)
    parts = base_configs(str(tmp_path))
    assert parts is not None
    assert sorted(parts) == sorted(PARTS)
    assert footprint(config(), parts) == tiny()
    (tmp_path / "vae" / "config.json").write_text("{")
    with pytest.raises(SimeditError, match="vae"):
        base_configs(str(tmp_path))
    (tmp_path / "unet" / "config.json").unlink()
    with pytest.raises(SimeditError, match="unet"):
        base_configs(str(tmp_path))


def test_no_configs() -> None:
    assert base_configs("nobody/has-this") is None
    with pytest.raises(SimeditError, match="no such directory"):
        base_configs("./nowhere")


@pytest.mark.slow
def test_the_size_assumed_is_stable_diffusions() -> None:
    found = footprint(
        parse_config(TrainConfig, {"sampling": {"batch_size": 1}}, where="test"), STABLE_DIFFUSION
    )
    # 860 M (U-Net, its input widened) + 84 M (VAE) + 123 M (text encoder), in 2 bytes each.
    assert found.base / 2 == pytest.approx(1067e6, rel=0.002)
