from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from simedit.lab.vae import CROP, LATENT_CHANNELS, new_vae, train_vae


def _stripes(count: int, size: int) -> np.ndarray:
    """uint8 [count, size, size, 3], stripes of random colours."""
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (count, 2, 3))
    return colours[:, (np.arange(size) // 8) % 2][:, None].repeat(size, 1).astype(np.uint8)


def test_latents_are_an_eighth_in_size() -> None:
    vae = new_vae(0)
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, 128, 160)).latent_dist.mode()  # type: ignore[union-attr]
    assert latents.shape == (1, LATENT_CHANNELS, 16, 20)


@pytest.mark.slow
def test_learns_to_reproduce(tmp_path: Path) -> None:
    images = _stripes(8, 112)
    masks = np.zeros(images.shape[:3], bool)
    masks[:, 20:40] = True

    def error(vae) -> float:
        x = torch.from_numpy(images[:, :CROP, :CROP]).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            return (vae(x).sample - x).abs().mean().item()

    def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        i = random.integers(len(images))
        return images[i], masks[i] if random.random() < 0.5 else None

    vae = train_vae(draw, steps=40, batch=4, seed=0, folder=tmp_path)
    assert error(vae) < 0.7 * error(new_vae(0).eval())
    with torch.no_grad():
        x = torch.from_numpy(images[:, :CROP, :CROP]).permute(0, 3, 1, 2) / 127.5 - 1
        deviation = vae.encode(x).latent_dist.mode().std().item()  # type: ignore[union-attr]
    assert vae.config["scaling_factor"] * deviation == pytest.approx(1, rel=0.1)
