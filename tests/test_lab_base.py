from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.lab.base import WORDINGS, encode, instruction, new_base, new_tokenizer, train_base
from simedit.lab.materials import MATERIALS
from simedit.lab.pairs import PairSet
from simedit.lab.vae import new_vae
from simedit.pipeline import SpecialistPipeline


def test_each_word_of_an_instruction_is_a_token() -> None:
    tokenizer = new_tokenizer()
    for wording in WORDINGS:
        for material in MATERIALS:
            text = instruction(wording, material)
            assert len(tokenizer(text).input_ids) == len(text.split()) + 2 <= tokenizer.model_max_length
    assert instruction(WORDINGS[0], "white_marble") == "make the cupboard out of white marble"
    # A word it never saw is spelled out, not unknown.
    assert tokenizer.decode(tokenizer("teak").input_ids, skip_special_tokens=True).strip() == "teak"


@pytest.mark.slow
def test_learns_and_comes_back_from_disk(tmp_path: Path) -> None:
    """Two paintings of one scene: after some steps the noise in them is predicted better than by nothing."""
    random = np.random.default_rng(0)
    inputs = random.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    colours = np.array([[255, 200, 0], [90, 90, 90]], np.uint8)
    targets = np.broadcast_to(colours[:, None, None], (2, 2, 64, 64, 3))
    masks = np.zeros((2, 64, 64), bool)
    masks[:, 16:48] = True
    pairs = PairSet(inputs, np.ascontiguousarray(targets), np.array([[0, 4], [0, 4]]), masks)
    vae = new_vae(0).eval()
    before = encode(vae, inputs)
    after = torch.stack([encode(vae, t) for t in pairs.targets.swapaxes(0, 1)], 1)
    assert before.shape == (2, 16, 8, 8)
    assert after.shape == (2, 2, 16, 8, 8)
    pipeline = new_base(vae, 0)
    losses = []
    hook = pipeline.unet.register_forward_hook(lambda *_: losses.append(0))
    train_base(pipeline, before, after, pairs, steps=60, batch=4, seed=0, folder=tmp_path / "state")
    hook.remove()
    assert len(losses) == 60
    x = after[:, 0].float() * vae.config["scaling_factor"]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    a = pipeline.scheduler.alphas_cumprod[800]
    noisy = torch.cat([a.sqrt() * x + (1 - a).sqrt() * noise, before.float(), torch.zeros_like(x)], 1)
    texts = pipeline.encode_text([instruction(WORDINGS[0], MATERIALS[0])] * 2)

    def predict(pipe: SpecialistPipeline) -> torch.Tensor:
        with torch.no_grad():
            return pipe.unet(noisy, 800, encoder_hidden_states=texts).sample

    assert (predict(pipeline) - noise).square().mean() < 0.8 * noise.square().mean()
    pipeline.save_pretrained(tmp_path / "base")
    again = SpecialistPipeline.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(predict(again), predict(pipeline))
    jade = ["turn the cupboard into jade"]
    assert torch.equal(again.encode_text(jade), pipeline.encode_text(jade))
