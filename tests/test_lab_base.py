from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.lab import base as lab_base
from simedit.lab.base import (
    WORDINGS,
    Latents,
    encode_pairs,
    instruction,
    load_latents,
    new_base,
    new_tokenizer,
    train_base,
)
from simedit.lab.materials import MATERIALS
from simedit.lab.vae import new_vae
from simedit.pipeline import SpecialistPipeline


def test_each_word_of_an_instruction_is_a_token() -> None:
    tokenizer = new_tokenizer()
    for wording in WORDINGS:
        for material in MATERIALS:
            text = instruction(wording, material)
            assert len(tokenizer(text).input_ids) == len(text.split()) + 2 <= tokenizer.model_max_length
    assert instruction(WORDINGS[0], "white_marble") == "make the cupboard out of white marble"
    # A word it never saw is spelled out, not unknown, and a long one fits.
    assert tokenizer.decode(tokenizer("teak").input_ids, skip_special_tokens=True).strip() == "teak"
    long = tokenizer(instruction(WORDINGS[3], "quartersawn_walnut")).input_ids
    assert len(long) <= tokenizer.model_max_length


def test_pairs_are_encoded_once_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_base, "SHARD", 2)
    calls = []

    def draw(random: np.random.Generator, *, half: bool) -> tuple:
        calls.append(half)
        side = 32 if half else 64
        pictures = random.integers(0, 256, (3, side, side, 3), np.uint8)
        mask = np.zeros((side, side), bool)
        mask[: side // 4] = True
        return *pictures, mask, len(calls)

    vae = new_vae(0).eval()
    encode_pairs(tmp_path, vae, draw, (3, 2), 0)
    whole, half = load_latents(tmp_path)
    assert (len(whole.frames), len(half.frames)) == (3, 2)
    assert (whole.frames.shape[1:], half.targets.shape[1:]) == ((16, 8, 8), (16, 4, 4))
    assert whole.shown.mean() == 0.25
    assert whole.names.tolist() == [1, 2, 3]
    (tmp_path / "latents_0_001.safetensors").unlink()
    encode_pairs(tmp_path, vae, draw, (3, 2), 0)
    assert calls == [False] * 3 + [True] * 2 + [False]
    assert torch.equal(load_latents(tmp_path)[0].styles, whole.styles)


def test_conditions_are_what_guidance_and_users_need() -> None:
    random = np.random.default_rng(0)
    found = [lab_base._condition(4, random) for _ in range(2000)]
    seen = {sees: sum(one == sees for _, one in found) / len(found) for _, sees in found}
    assert set(seen) == {
        *[(False, False, False), (False, True, False), (True, True, False)],
        *[(False, True, True), (True, True, True)],
    }
    assert seen[True, True, True] > 0.4
    assert min(seen.values()) > 0.03
    named = sum(MATERIALS[4].replace("_", " ") in text for text, _ in found) / len(found)
    assert 0.5 < named < 0.9
    assert not any(
        sees == (True, True, False) for _, sees in (lab_base._condition(-1, random) for _ in range(500))
    )


@pytest.mark.slow
def test_learns_from_a_photograph_and_comes_back_from_disk(tmp_path: Path) -> None:
    """What is painted is the photograph: at almost pure noise the velocity can be told from it alone. So few
    steps are but the beginning; what comes of many is tested on the weights that ship."""
    vae = new_vae(0).eval()
    vae.register_to_config(scaling_factor=1.0)
    frames, pictures = torch.randn(2, 32, 16, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    shown = torch.ones(32, 1, 8, 8).half()
    latents = Latents(frames, pictures, pictures, shown, torch.full((32,), -1))
    pipeline = new_base(vae, 0)
    assert pipeline.style_attention.to_direct is not None
    train_base(pipeline, [latents], steps=60, batch=8, seed=0, folder=tmp_path / "state")
    pipeline.save_pretrained(tmp_path / "base")
    again = SpecialistPipeline.from_pretrained(tmp_path / "base")

    def error(pipe: SpecialistPipeline, style: torch.Tensor) -> float:
        with torch.no_grad():
            text = pipe.encode_text([instruction(WORDINGS[0], "teak")] * 32)
            x = pictures.float() * vae.config["scaling_factor"]
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            a = pipe.scheduler.alphas_cumprod[900]
            seen = pipe.style_attention(style.float(), frames.float(), text)
            given = torch.cat([a.sqrt() * x + (1 - a).sqrt() * noise, frames.float(), seen], 1)
            predicted = pipe.unet(given, 900, encoder_hidden_states=text).sample
            return float((predicted - (a.sqrt() * noise - (1 - a).sqrt() * x)).square().mean())

    own, swapped = error(pipeline, pictures), error(pipeline, pictures.roll(1, 0))
    assert own < 0.9  # 1 is nothing's
    assert own < swapped - 2e-5
    style = pipeline.unet.conv_in.weight[:, 2 * frames.shape[1] :]
    assert style.abs().max() > 0
    assert pipeline.style_attention.to_direct.weight.abs().max() > 0
    assert error(again, pictures) == pytest.approx(own, rel=1e-3)
    assert again.velocity_alphas is not None
