"""Does the attention score keep an edit at the thing that is named? One drawer's front, in the lab.

    python benchmarks/localisation.py runs/localisation   # all of it; resumable; needs the extra sim

The base that ships is told of cupboards alone. First it is taught 'make the top drawer out of gold', of any
of the three drawers: to paint the drawer's front, though in half of the pairs the whole cabinet is painted, and,
by a loss of its own, to attend to the drawer at the words `top drawer`. Then it is looked at: where its
attention lies at these words, with and without that lesson, and what the score says of planted edits. Of eight
edits of a frame each ranking takes its best. Last come trainings with feedback by these rankings.

Edits are measured raw, no mask laid over them, on frames that no training saw. A pixel has changed if it differs
by a tenth of the range, in the mean over colours, from the frame as the autoencoder gives it back: `inside` is
the share of the changed that lie on the drawer's front, `covered` that of the front that changed, `spilled` that
of the rest of the frame that did.
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
from torch.nn.functional import adaptive_avg_pool2d, kl_div

from simedit.drafts import whole
from simedit.errors import run_cli
from simedit.eval.terminal import print_table
from simedit.lab.ablations.config import TRAIN_CONFIG
from simedit.lab.ablations.study import edited
from simedit.lab.build import style_config
from simedit.lab.fit import fit as fit_weights
from simedit.lab.photographs import save_style, style_photographs
from simedit.lab.quality import HELD_OUT, strip
from simedit.lab.stages import do, read_json, write_json
from simedit.lab.textures import relit, texture
from simedit.packaged import lab_data
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.scores import Targets
from simedit.scores.attention import Attention, Layer, Reading, noun_places, together
from simedit.specialist import Specialist
from simedit.training.cli import scores_of
from simedit.training.cli import train as train_specialist
from simedit.training.config import TrainConfig
from simedit.training.data import fit
from simedit.training.feedback import feedback
from simedit.training.painted import USUAL, frame_shading, paint

DRAWERS, TARGET, STYLE, WIDTH, HEIGHT = ("top", "middle", "bottom"), "middle", "gold", 160, 128
FRAMES, HELD, PAIRS, BATCH, STEPS, CHOICE = 120, 16, 600, 8, 600, 8
SHOWN, CHANGED = 0.02, 0.1
"""The least share of a frame that each drawer's front has; what a change is."""
MESSY, WITHOUT, MAP, OUTSIDE = 0.5, 0.5, 0.02, 0.2
"""Of the lesson: the share of pairs with the whole cabinet painted, and of those that are learned from without
image and style; what the map's loss weighs, and what latent pixels outside do."""
SETTINGS = (
    *("steps=8", "keep=1000", "sampling.steps=4", "sampling.edits=4", "update.learning_rate=3e-4"),
    "regions={inputs: files, styles: full-frame}",
)
ARMS: dict[str, tuple[str, ...]] = {
    "inside": ("scores.semantic.outside=0",),
    "inside, attention": ("scores.semantic.outside=0", "scores.attention={}"),
    "inside, attention x 3": ("scores.semantic.outside=0", "scores.attention={weight: 3}"),
    "inside, outside": ("scores.semantic.outside=20",),
}
"""By what edits are ranked: edges and eq. 9 inside the mask; and by attention; and by eq. 9's pixel error."""


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
    runs = {f"{i}-{seed}": (arm, seed) for seed in range(args.seeds) for i, arm in enumerate(ARMS)}
    stages = {stage.__name__: partial(stage, folder) for stage in (render, teach, look, choose)}
    stages |= {f"train-{name}": partial(train, folder / name, *run) for name, run in runs.items()}
    do(folder, stages, lambda *told, **_: print(*told))
    show(folder, runs)


def render(folder: Path) -> None:
    """frames.npz and held-out.npz: frames, the cabinet's parts, and frames through the autoencoder; images of
    the first with TARGET's masks, and photographs."""
    from simedit.envs.drawer.inputs import TwinInputs
    from simedit.training.config import TwinConfig

    pipeline = SpecialistPipeline.from_pretrained(lab_data("base"))
    for name, count, seed in (("frames", FRAMES, 0), ("held-out", HELD, HELD_OUT)):
        inputs = TwinInputs(TwinConfig(frames=20 * count, jitter=0.05), WIDTH, HEIGHT, seed)
        found: list[tuple[np.ndarray, ...]] = []
        for i in range(len(inputs)):
            surface = inputs.surface(i)
            if len(found) < count and all((surface.part == k).mean() >= SHOWN for k in (1, 2, 3)):
                found.append((surface.rgb.copy(), surface.part.copy(), through(pipeline, surface.rgb)))
            elif len(found) == count:
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


def held_out(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(folder / "held-out.npz") as made:
        return made["frames"], made["parts"], made["kept"]


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

    fit_weights(
        module, loss, steps=STEPS, learning_rate=1e-3, folder=folder / "lesson", title="base", decay=0.99
    )
    pipeline.save_pretrained(folder / "base")


@torch.no_grad()
def look(folder: Path) -> None:
    """looked.json: by base and drawer, how dense the attention is on each front and on the cabinet, 1 in the
    mean; the score of edits that paint those; and on how many frames it is above that of the drawer's own."""
    frames, parts, _ = held_out(folder)
    regions = {drawer: front(parts, drawer) for drawer in DRAWERS} | {"cabinet": parts >= 0}
    photograph, rows = fit(style_photographs(STYLE)[0], WIDTH, HEIGHT), []
    edits = torch.stack([painted(frames, masks, photograph) for masks in regions.values()], 1)
    targets = targets_of(frames, parts >= 0, frames)
    for base in (lab_data("base"), folder / "base"):
        pipeline = SpecialistPipeline.from_pretrained(base)
        for k, drawer in enumerate(DRAWERS):
            score = Attention(pipeline, told(drawer, STYLE), f"{drawer} drawer")
            maps, values = score.maps(targets.inputs), score(edits, targets)
            row: dict[str, Any] = {"base": "taught" if base == folder / "base" else "shipped", "told": drawer}
            for name, masks in regions.items():
                shown = adaptive_avg_pool2d(torch.from_numpy(masks).float().unsqueeze(1), maps.shape[-2:])[
                    :, 0
                ]
                row[f"on {name}"] = float(((maps * shown).sum((1, 2)) / shown.mean((1, 2))).mean())
            for name, value in zip(regions, values.T, strict=True):
                row[f"{name} painted"] = f"{value.mean():.3f} ({int((value > values[:, k]).sum())})"
            rows.append(row)
    write_json(folder / "looked.json", rows)


def targets_of(frames: np.ndarray, masks: np.ndarray, styles: np.ndarray) -> Targets:
    full = torch.ones(len(frames), HEIGHT, WIDTH, dtype=torch.bool)
    return Targets(tensor(frames), torch.from_numpy(masks), tensor(styles), full)


def changes(edits: np.ndarray, kept: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    changed = np.abs(edits.astype(float) - kept).mean(-1) / 255 > CHANGED
    shares = changed[masks].sum() / max(1, changed.sum()), changed[masks].mean(), changed[~masks].mean()
    return dict(zip(("inside", "covered", "spilled"), map(float, shares), strict=True))


def config_of(folder: Path, arm: str) -> tuple[str, ...]:
    inputs = {"kind": "images", "path": str(folder / "images"), "masks": str(folder / "masks")}
    style = {"instruction": told(TARGET), "noun": f"{TARGET} drawer", "style_noun": None}
    scales = {"scales": {"image": 1, "style": 1, "text": 1}}
    here = (f"inputs={json.dumps(inputs)}", f"style={json.dumps(style | scales)}")
    return (f"base={folder / 'base'}", *here, *SETTINGS, *ARMS[arm])


def choose(folder: Path) -> None:
    """chosen.json: what changed in the edit that each ranking takes of CHOICE, and in all of them."""
    frames, parts, kept = held_out(folder)
    masks, pipeline = front(parts, TARGET), SpecialistPipeline.from_pretrained(folder / "base")
    configs: dict[str, TrainConfig] = {
        arm: style_config(folder / "base", config_of(folder, arm), TRAIN_CONFIG).named(STYLE) for arm in ARMS
    }
    (config, *_), photographs = configs.values(), style_photographs(STYLE)
    styles = np.stack([fit(photographs[i % len(photographs)], WIDTH, HEIGHT) for i in range(len(frames))])
    schedule = pipeline.schedule("euler_ancestral", config.sampling.steps)
    seeds = [[torch.Generator().manual_seed(1000 * g + i) for i in range(len(frames))] for g in range(CHOICE)]
    given = tensor(frames), tensor(styles), config.style.instruction
    many = [pipeline(*given, generator=s, scales=config.style.scales, schedule=schedule) for s in seeds]
    edits, targets = torch.stack(many, 1), targets_of(frames, masks, styles)
    everything = np.concatenate([pictures(one) for one in many])
    found = {"(all)": changes(everything, np.tile(kept, (CHOICE, 1, 1, 1)), np.tile(masks, (CHOICE, 1, 1)))}
    for arm, config in configs.items():
        scores = scores_of(config, pipeline, torch.device("cpu"))
        best = feedback({name: s(edits, targets) for name, s in scores.items()}, config.scores.weights).best
        found[arm] = changes(pictures(edits[torch.arange(len(edits)), best]), kept, masks)
    write_json(folder / "chosen.json", found)


def train(run: Path, arm: str, seed: int) -> None:
    """A training with feedback, and what its edits and those from before it change."""
    folder, (frames, parts, kept) = run.parent, held_out(run.parent)
    run.mkdir(exist_ok=True)
    new: dict[str, Any] = {
        "config": TRAIN_CONFIG,
        "style_images": folder / "photographs",
        "name": STYLE,
        "out": run / "run",
        "specialist": run / "specialist",
        "overrides": (f"seed={seed}", *config_of(folder, arm)),
    }
    going_on = (run / "run" / "checkpoints").exists()
    with (run / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        if not (run / "specialist").exists():
            train_specialist(**{"resume": run / "run"} if going_on else new, cpu=True)
    steps = {"before": run / "run" / "checkpoints" / "step_0000", "after": run / "specialist"}
    edits = {name: edited(Specialist.load(where), frames, 0) for name, where in steps.items()}
    found = {name: changes(one, kept, front(parts, TARGET)) for name, one in edits.items()}
    write_json(run / "found.json", found)
    np.savez_compressed(run / "edits.npz", **edits)  # type: ignore[arg-type]


def show(folder: Path, runs: dict[str, tuple[str, int]]) -> None:
    """Print the tables; write localisation.png."""

    def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        print_table(head, [[f"{x:.3f}" if isinstance(x, float) else x for x in row] for row in rows])

    looked, chosen = read_json(folder / "looked.json"), read_json(folder / "chosen.json")
    table([*looked[0]], [[*row.values()] for row in looked])
    table(["best of eight by", *chosen["(all)"]], [[arm, *row.values()] for arm, row in chosen.items()])
    rows, sheet = [], {"frame": held_out(folder)[0]}
    for name, (arm, seed) in runs.items():
        found = read_json(folder / name / "found.json")
        rows += [
            [arm, seed, when, *found[when].values()] for when in found if when == "after" or name == "0-0"
        ]
        with np.load(folder / name / "edits.npz") as made:
            if not seed:
                sheet |= {"before": made["before"], arm: made["after"]}
    table(["trained by", "seed", "", *chosen["(all)"]], rows)
    flat = {f"{name}{' ' * i}": images[i] for name, images in sheet.items() for i in range(5)}
    with whole(folder / "localisation.png") as draft:
        Image.fromarray(strip(flat, columns=5)).save(draft, format="png")


if __name__ == "__main__":
    run_cli(main)
