"""Does the attention score keep an edit at the thing that is named? One drawer's front, in the lab.

    python benchmarks/localisation.py runs/localisation   # all of it; resumable; needs the extra sim

The base that ships is told of cupboards alone. First it is taught 'make the top drawer out of gold', of any
of the three drawers: to paint the drawer's front, and, by a loss of its own, to attend to it at the words
`top drawer`. Then it is looked at: where its attention at these words lies, with and without that lesson, and
what the score says of planted edits. Last come trainings with feedback from there, with the score and
without. Their raw edits, no mask laid over them, are measured on frames that no training saw: of the pixels
that changed (by a tenth of the range, in the mean over colours), how many lie on the drawer's front, and how
many of those changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from simedit.drafts import whole
from simedit.errors import run_cli
from simedit.eval.terminal import print_table
from simedit.lab.ablations.config import TRAIN_CONFIG
from simedit.lab.photographs import save_style, style_photographs
from simedit.lab.quality import HELD_OUT, strip
from simedit.lab.stages import do, read_json, write_json
from simedit.packaged import lab_data
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.progress import tracked
from simedit.training.painted import USUAL, frame_shading, paint

DRAWERS = ("top", "middle", "bottom")
TARGET, STYLE, WIDTH, HEIGHT = "middle", "gold", 160, 128
FRAMES, HELD, PAIRS, BATCH, STEPS = 120, 16, 480, 8, 600
SHOWN = 0.02
"""The least share of a frame that each drawer's front has."""
WITHOUT, MAP, OUTSIDE = 0.5, 0.02, 0.2
"""Of the lesson: the share of pairs without image and style, what the maps weigh, what pixels outside do."""
CHANGED = 0.1
SETTINGS = (
    "steps=8",
    "sampling.steps=8",
    "sampling.edits=4",
    "update.learning_rate=3e-4",
    "regions={inputs: files, styles: full-frame}",
    "scores.semantic.outside=0",
)
ARMS: dict[str, tuple[str, ...]] = {
    "inside alone": (),
    "and attention": ("scores.attention={}",),
    "and attention, thrice": ("scores.attention={weight: 3}",),
    "and the mask's outside": ("scores.semantic.outside=10",),
}
"""By what edits are ranked: eq. 9 inside the mask and edges; with the score; with eq. 9's pixel error."""
FIRST = next(iter(ARMS))


def told(drawer: str, style: str = "{style}") -> str:
    return f"make the {drawer} drawer out of {style}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    silence_loading()
    torch.set_num_threads(1)
    jobs = [(arm, seed) for seed in range(args.seeds) for arm in ARMS]
    trainings = {f"{number_of(arm)}-{seed}": partial(train, folder, arm, seed) for arm, seed in jobs}
    stages = {"frames": render, "base": teach, "looked": look}

    def tell(name: str, minutes: float | None = None, before: bool = False) -> None:
        print(f"{name} ..." if minutes is None else f"{name}: {minutes:.1f} min{' before' * before}")

    do(folder, {**{name: partial(stage, folder) for name, stage in stages.items()}, **trainings}, tell)
    show(folder, jobs)


def number_of(arm: str) -> str:
    return f"arm{[*ARMS].index(arm)}"


def render(folder: Path) -> None:
    """frames.npz and held-out.npz: frames and the cabinet's parts; of the first images and TARGET's masks."""
    from simedit.envs.drawer.inputs import TwinInputs
    from simedit.training.config import TwinConfig

    for name, count, seed in (("frames", FRAMES, 0), ("held-out", HELD, HELD_OUT)):
        inputs, found = TwinInputs(TwinConfig(frames=20 * count, jitter=0.05), WIDTH, HEIGHT, seed), []
        for i in range(len(inputs)):
            surface = inputs.surface(i)
            if all((surface.part == k).mean() >= SHOWN for k in (1, 2, 3)):
                found.append((surface.rgb.copy(), surface.part.copy()))
            if len(found) == count:
                break
        inputs.close()
        frames, parts = map(np.stack, zip(*found, strict=True))
        with whole(folder / f"{name}.npz") as draft, draft.open("wb") as file:
            np.savez_compressed(file, frames=frames, parts=parts)
    with np.load(folder / "frames.npz") as made:
        for i, (frame, part) in enumerate(zip(made["frames"], made["parts"], strict=True)):
            pictures = {"images": frame, "masks": front(part, TARGET).astype(np.uint8) * 255}
            for name, picture in pictures.items():
                with whole(folder / name / f"{i:03}.png") as draft:
                    Image.fromarray(picture).save(draft)
    save_style(STYLE, folder / "photographs")


def front(parts: np.ndarray, drawer: str) -> np.ndarray:
    """bool, where the drawer's front is, of `Surface.part`."""
    return parts == 1 + DRAWERS.index(drawer)


def tensor(images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """float32 [N, 3, H, W] in 0..1 of uint8 [H, W, 3] each."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255


@torch.no_grad()
def pairs(folder: Path, pipeline: SpecialistPipeline) -> dict[str, Tensor]:
    """Latents of frames, pictures and frames whose one drawer is painted with the picture; its share of each
    latent pixel. The drawers take turns."""
    from simedit.lab.textures import relit, texture

    with np.load(folder / "frames.npz") as made:
        frames, parts = made["frames"], made["parts"]
    found: dict[str, list[Tensor]] = {"image": [], "style": [], "target": [], "share": []}
    for i in tracked(range(PAIRS), "pairs", PAIRS):
        random, which = np.random.default_rng((1, i)), i // 3 % len(frames)
        frame, mask = frames[which], front(parts[which], DRAWERS[i % 3])
        picture = relit(texture(random, HEIGHT, WIDTH), random, 0.5)
        images = tensor([frame, picture, paint(frame, mask, picture, frame_shading(frame, USUAL))])
        latents = pipeline.encode_images(images)
        share = adaptive_avg_pool2d(torch.from_numpy(mask)[None].float(), latents.shape[-2:])
        for part, value in zip(found.values(), (*latents, share), strict=True):
            part.append(value)
    return {name: torch.stack(part) for name, part in found.items()}


def teach(folder: Path) -> None:
    """The base, which learns of drawers: `train_base`'s loss, and how far its attention's map at the drawer's
    words is from the drawer's front (Kullback and Leibler's divergence)."""
    from simedit.lab.fit import fit
    from simedit.scores.attention import Layer, Reading, noun_places, together

    pipeline = SpecialistPipeline.from_pretrained(lab_data("base"))
    latents = pairs(folder, pipeline)
    parts = {"unet": pipeline.unet, "style": pipeline.style_attention, "text": pipeline.text_encoder}
    module = nn.ModuleDict(parts).train()
    pipeline.unet.to(memory_format=torch.channels_last)
    alphas, factor = pipeline.scheduler.alphas_cumprod, pipeline.vae.config.scaling_factor
    places, maps = list[int](), list[Tensor]()
    for layer in pipeline.unet.modules():
        if isinstance(layer, Layer) and layer.is_cross_attention:
            layer.set_processor(Reading(layer.processor, places, maps))  # type: ignore[arg-type]

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((0, 2, step))
        which = int(random.integers(3))
        rows = random.integers(PAIRS // 3, size=BATCH) * 3 + which
        drawer, style = DRAWERS[which], STYLE
        places[:] = noun_places(pipeline.tokenizer, told(drawer, style), f"{drawer} drawer")
        maps.clear()
        image, picture, target, share = (value[rows] for value in latents.values())
        sees = torch.from_numpy(random.random((BATCH, 1, 1, 1)) >= WITHOUT)
        text = pipeline.encode_text([told(drawer, style)]).expand(BATCH, -1, -1)
        picture = pipeline.style_attention(picture, image, text) * sees
        t = torch.from_numpy(random.integers(len(alphas), size=BATCH))
        a, x = alphas[t].view(-1, 1, 1, 1), target * factor
        noise = torch.from_numpy(random.standard_normal(x.shape, np.float32))
        given = torch.cat([a.sqrt() * x + (1 - a).sqrt() * noise, image * sees, picture], 1)
        given = given.contiguous(memory_format=torch.channels_last)
        velocity = pipeline.unet(given, t, encoder_hidden_states=text).sample
        weight = OUTSIDE + (1 - OUTSIDE) * share
        painted = (weight * (velocity - (a.sqrt() * noise - (1 - a).sqrt() * x)) ** 2).mean()
        seen = together(maps, *x.shape[-2:]).flatten(1)
        wanted = share.flatten(1) / share.flatten(1).sum(1, keepdim=True)
        apart = nn.functional.kl_div((seen / seen.sum(1, keepdim=True)).log(), wanted, reduction="batchmean")
        return painted + MAP * apart

    fit(module, loss, steps=STEPS, learning_rate=1e-3, folder=folder / "lesson", title="base", decay=0.99)
    pipeline.save_pretrained(folder / "base")


@torch.no_grad()
def look(folder: Path) -> None:
    """look.json: of each base and drawer, how dense the attention is on each front, against its mean; and the
    score of edits that paint the drawer itself, another one, the whole cabinet."""
    from simedit.scores import Targets
    from simedit.scores.attention import Attention

    with np.load(folder / "held-out.npz") as made:
        frames, parts = made["frames"], made["parts"]
    photograph = np.array(Image.fromarray(style_photographs(STYLE)[0]).resize((WIDTH, HEIGHT)))
    regions = {drawer: front(parts, drawer) for drawer in DRAWERS} | {"cabinet": parts >= 0}
    planted = {
        name: tensor(
            [paint(f, m, photograph, frame_shading(f, USUAL)) for f, m in zip(frames, masks, strict=True)]
        )
        for name, masks in regions.items()
    }
    edits, inputs = torch.stack([*planted.values()], 1), tensor(frames)
    full = torch.ones(len(frames), HEIGHT, WIDTH, dtype=torch.bool)
    rows = []
    for base in (lab_data("base"), folder / "base"):
        pipeline = SpecialistPipeline.from_pretrained(base)
        for drawer in DRAWERS:
            score = Attention(pipeline, told(drawer, STYLE), f"{drawer} drawer")
            maps, row = score.maps(inputs), {"taught": base != lab_data("base"), "drawer": drawer}
            for name, masks in regions.items():
                shares = adaptive_avg_pool2d(torch.from_numpy(masks)[:, None].float(), maps.shape[-2:])[:, 0]
                row[f"attention, {name}"] = float(((maps * shares).sum((1, 2)) / shares.mean((1, 2))).mean())
            values = score(edits, Targets(inputs, full, inputs, full)).numpy()
            for name, value in zip(planted, values.T, strict=True):
                row[f"score, {name}"] = float(value.mean())
                row[f"worse, {name}"] = int((value > values[:, [*planted].index(drawer)]).sum())
            rows.append(row)
    write_json(folder / "look.json", rows)


def train(folder: Path, arm: str, seed: int) -> None:
    """A training with feedback, and what its edits and the untrained base's change."""
    from simedit.training.cli import train as train_specialist

    run = folder / number_of(arm) / str(seed)
    run.mkdir(parents=True, exist_ok=True)
    inputs = {"kind": "images", "path": str(folder / "images"), "masks": str(folder / "masks")}
    style = {"instruction": told(TARGET), "noun": f"{TARGET} drawer", "style_noun": None}
    style["scales"] = {"image": 1.0, "style": 1.0, "text": 1.0}  # type: ignore[assignment]
    resume = (run / "run" / "checkpoints").exists()
    new: dict[str, Any] = {
        "config": TRAIN_CONFIG,
        "style_images": folder / "photographs",
        "name": STYLE,
        "out": run / "run",
        "specialist": run / "specialist",
        "overrides": (
            f"base={folder / 'base'}",
            f"inputs={json.dumps(inputs)}",
            f"style={json.dumps(style)}",
            f"seed={seed}",
            *SETTINGS,
            *ARMS[arm],
        ),
    }
    with (run / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        if not (run / "specialist").exists():
            train_specialist(**{"resume": run / "run"} if resume else new, cpu=True)
    from simedit.lab.ablations.study import edited
    from simedit.specialist import Specialist

    with np.load(folder / "held-out.npz") as made:
        frames, masks = made["frames"], front(made["parts"], TARGET)
    found = {}
    for name, where in (("before", run / "run" / "checkpoints" / "step_0000"), ("after", run / "specialist")):
        edits = edited(Specialist.load(where), frames, seed)
        apart = np.abs(edits.astype(float) - frames).mean(-1) / 255
        changed = apart > CHANGED
        found[name] = {
            "inside": float(changed[masks].sum() / changed.sum()),
            "inside, weighed": float(apart[masks].sum() / apart.sum()),
            "covered": float(changed[masks].mean()),
            "spilled": float(changed[~masks].mean()),
        }
        with whole(run / f"{name}.npz") as draft, draft.open("wb") as file:
            np.savez_compressed(file, edits=edits)
    write_json(run / "found.json", found)


def show(folder: Path, jobs: Sequence[tuple[str, int]]) -> None:
    """Print the tables; write localisation.png."""
    looked = read_json(folder / "look.json")
    print_table(
        [*looked[0]], [[v if isinstance(v, (str, int)) else f"{v:.3f}" for v in r.values()] for r in looked]
    )
    rows, pictures = [], {}
    with np.load(folder / "held-out.npz") as made:
        frames = made["frames"]
    for arm, seed in jobs:
        run = folder / number_of(arm) / str(seed)
        found = read_json(run / "found.json")
        for name in ("before", "after")[seed > 0 or arm != FIRST :]:
            rows.append([arm, seed, name, *(f"{value:.3f}" for value in found[name].values())])
        if seed == 0:
            for name in ("before", "after")[arm != FIRST :]:
                with np.load(run / f"{name}.npz") as made:
                    pictures[f"{arm}, {name}" if name == "before" else arm] = made["edits"]
    print_table(["ranked by", "seed", "", "inside", "inside, weighed", "covered", "spilled"], rows)
    sheet = {"frames": frames, **pictures}
    flat = {f"{name}{' ' * i}": images[i] for name, images in sheet.items() for i in range(4)}
    with whole(folder / "localisation.png") as draft:
        Image.fromarray(strip(flat, columns=4)).save(draft, format="png")


if __name__ == "__main__":
    run_cli(main)
