"""What `localisation.py` begins with: frames of the drawers, and the lab's base, taught to tell drawers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, kl_div

from simedit.drafts import whole
from simedit.envs.drawer.inputs import TwinInputs
from simedit.lab.fit import fit
from simedit.lab.photographs import save_style
from simedit.lab.quality import HELD_OUT
from simedit.lab.textures import relit, texture
from simedit.packaged import lab_data
from simedit.pipeline import SpecialistPipeline
from simedit.scores.attention import Layer, Reading, noun_places, together
from simedit.training.config import TwinConfig
from simedit.training.painted import USUAL, frame_shading, paint

DRAWERS, TARGET, STYLE, WIDTH, HEIGHT = ("top", "middle", "bottom"), "middle", "gold", 160, 128
FRAMES, HELD, PAIRS, BATCH, STEPS = 120, 16, 600, 8, 600
SHOWN = 0.02
"""The least share of a frame that each drawer's front has."""
MESSY, WITHOUT, MAP, OUTSIDE = 0.25, 0.5, 0.02, 0.2
"""Of the lesson: the share of pairs with the whole cabinet painted, and of those learned from without image
and style; what the map's loss weighs, and what latent pixels outside do."""


def told(drawer: str, style: str = "{style}") -> str:
    return f"make the {drawer} drawer out of {style}"


def render(folder: Path) -> None:
    """frames.npz and held-out.npz: frames, the cabinet's parts, and frames through the autoencoder; images of
    the first with TARGET's masks, and photographs."""
    pipeline = SpecialistPipeline.from_pretrained(lab_data("base"))
    for name, count, seed in (("frames", FRAMES, 0), ("held-out", HELD, HELD_OUT)):
        inputs = TwinInputs(TwinConfig(frames=20 * count, jitter=0.05), WIDTH, HEIGHT, seed)
        found: list[tuple[np.ndarray, ...]] = []
        for i in range(len(inputs)):
            surface = inputs.surface(i)
            if all((surface.part == k).mean() >= SHOWN for k in (1, 2, 3)):
                found.append((surface.rgb.copy(), surface.part.copy(), through(pipeline, surface.rgb)))
            if len(found) == count:
                break
        inputs.close()
        frames, parts, kept = map(np.stack, zip(*found, strict=True))
        with whole(folder / f"{name}.npz") as draft, draft.open("wb") as file:
            np.savez_compressed(file, frames=frames, parts=parts, kept=kept)
        for i, (frame, part) in enumerate(zip(frames, parts, strict=True) if name == "frames" else ()):
            for kind, picture in (("images", frame), ("masks", front(part, TARGET).astype(np.uint8) * 255)):
                with whole(folder / kind / f"{i:03}.png") as draft:
                    Image.fromarray(picture).save(draft)
    save_style(STYLE, folder / "photographs")


@torch.no_grad()
def through(pipeline: SpecialistPipeline, frame: np.ndarray) -> np.ndarray:
    """A frame, uint8 [H, W, 3], as the autoencoder gives it back."""
    latents = pipeline.encode_images(tensor([frame])) * pipeline.vae.config.scaling_factor
    return pictures(pipeline.decode(latents, *frame.shape[:2]))[0]


def front(parts: np.ndarray, drawer: str) -> np.ndarray:
    """bool, where the drawer's front is, of `Surface.part`."""
    return parts == 1 + DRAWERS.index(drawer)


def tensor(images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [H, W, 3] each."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255


def pictures(images: Tensor) -> np.ndarray:
    """The reverse of `tensor`."""
    return (images.permute(0, 2, 3, 1) * 255).round().byte().numpy()


def painted(frames: np.ndarray, masks: np.ndarray, picture: np.ndarray) -> Tensor:
    """The frames with the picture laid on what the masks show, like `tensor`."""
    pairs = zip(frames, masks, strict=True)
    return tensor([paint(frame, mask, picture, frame_shading(frame, USUAL)) for frame, mask in pairs])


@torch.no_grad()
def pairs(folder: Path, pipeline: SpecialistPipeline) -> tuple[Tensor, ...]:
    """Latents of frames, of pictures, and of frames painted with them; the share of each latent pixel that
    is drawer, and what of it was painted. The drawers take turns."""
    with np.load(folder / "frames.npz") as made:
        frames, parts = made["frames"], made["parts"]
    found = []
    for i in range(PAIRS):
        random, which = np.random.default_rng((1, i)), i // 3 % len(frames)
        drawer, picture = (
            front(parts[which], DRAWERS[i % 3]),
            relit(texture(random, HEIGHT, WIDTH), random, 0.5),
        )
        mask = parts[which] >= 0 if random.random() < MESSY else drawer
        target = painted(frames[which][None], mask[None], picture)
        latents = pipeline.encode_images(torch.cat([tensor([frames[which], picture]), target]))
        shares = adaptive_avg_pool2d(torch.from_numpy(np.stack([drawer, mask])).float(), latents.shape[-2:])
        found.append((*latents, *shares.unsqueeze(1)))
    return tuple(map(torch.stack, zip(*found, strict=True)))


def teach(folder: Path) -> None:
    """FOLDER/base. The loss is `simedit.lab.base.train_base`'s, and Kullback and Leibler's divergence of the
    drawer's front from the attention's map at the drawer's words."""
    pipeline = SpecialistPipeline.from_pretrained(lab_data("base"))
    latents = pairs(folder, pipeline)
    parts = {"unet": pipeline.unet, "style": pipeline.style_attention, "text": pipeline.text_encoder}
    module = nn.ModuleDict(parts).train()
    pipeline.unet.to(memory_format=torch.channels_last)
    alphas, places, maps = pipeline.scheduler.alphas_cumprod, list[int](), list[Tensor]()
    for layer in pipeline.unet.modules():
        if isinstance(layer, Layer) and layer.is_cross_attention:
            layer.set_processor(Reading(layer.processor, places, maps))  # type: ignore[arg-type]

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((0, 2, step))
        which = int(random.integers(len(DRAWERS)))
        rows = random.integers(PAIRS // 3, size=BATCH) * 3 + which
        image, picture, x, drawer, mask = (part[rows] for part in latents)
        places[:] = noun_places(pipeline.tokenizer, told(DRAWERS[which], STYLE), f"{DRAWERS[which]} drawer")
        maps.clear()
        sees = torch.from_numpy(random.random((BATCH, 1, 1, 1)) >= WITHOUT)
        text = pipeline.encode_text([told(DRAWERS[which], STYLE)]).expand(BATCH, -1, -1)
        style = pipeline.style_attention(picture, image, text) * sees
        t = torch.from_numpy(random.integers(len(alphas), size=BATCH))
        a, x = alphas[t].view(-1, 1, 1, 1), x * pipeline.vae.config.scaling_factor
        noise = torch.from_numpy(random.standard_normal(x.shape, np.float32))
        given = torch.cat([a.sqrt() * x + (1 - a).sqrt() * noise, image * sees, style], 1)
        given = given.contiguous(memory_format=torch.channels_last)
        velocity = pipeline.unet(given, t, encoder_hidden_states=text).sample
        errors = (velocity - (a.sqrt() * noise - (1 - a).sqrt() * x)) ** 2
        seen, wanted = together(maps, *x.shape[-2:]).flatten(1), drawer.flatten(1)
        seen, wanted = (value / value.sum(1, keepdim=True) for value in (seen, wanted))
        apart = kl_div(seen.log(), wanted, reduction="batchmean")
        return ((OUTSIDE + (1 - OUTSIDE) * mask) * errors).mean() + MAP * apart

    fit(module, loss, steps=STEPS, learning_rate=1e-3, folder=folder / "lesson", title="base", decay=0.99)
    pipeline.save_pretrained(folder / "base")
