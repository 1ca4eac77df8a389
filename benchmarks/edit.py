"""How fast frames are edited, against diffusers' InstructPix2Pix and against a plain loop, in one run.

    python benchmarks/edit.py --skip "diffusers, compiled"           # Stable Diffusion 1.5's size, on the CPU
    python benchmarks/edit.py --device cuda --dtype float16 --width 512 --height 512 --steps 100
    python benchmarks/edit.py --library lab --width 160 --height 128 # the lab's own weights and scales
    python benchmarks/edit.py --device cuda --steps 20 --distilled 1 # and a distilled specialist's cost

Without --library the weights are random and of Stable Diffusion 1.5's size (5 GB of disk in --base, or in the
temporary folder): this measures, and makes no picture. The contenders have the same weights, frames and, but
for the distilled, steps:

diffusers      StableDiffusionInstructPix2PixPipeline, eager: three branches, and no style image
plain loop     four branches, each a U-Net call of its own with the adapter beside the weights; instruction
               and style image encoded for every frame
library, 1     SpecialistLibrary.edit, a frame a call
library, N     the same, N frames a call
distilled S    with --distilled: the library with S consistency steps of one branch, as distilled specialists
window         with --mask: a frame a call, only the window around a mask of that size (cards that say
               `crop`); of distilled ones compiled alone

Diffusers' pipeline (its U-Net by torch.compile) and the library (on the CPU OpenVINO, with its VAE too; on a
GPU torch.compile) compete compiled as well. Each is built, called once before it is timed, timed `--repeat`
times and dropped; what counts is the fastest. The share of peak is of the fastest of a few large matrix
products and convolutions in the same number format, in the same run; operations are counted on the eager
contenders.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline
from full_size_load import build
from peft import get_peft_model
from rich import box
from rich.console import Console
from rich.table import Table
from rows import note
from torch.utils.flop_counter import FlopCounterMode

from simedit.errors import run_cli
from simedit.library import SpecialistLibrary
from simedit.packaged import library_folder
from simedit.pipeline import SpecialistPipeline, guidance, noise_in, silence_loading
from simedit.samplers import sample
from simedit.settings import Scales
from simedit.specialist import Card, Specialist, adapter_weights, lora_config, set_weights

RANK = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", help="a folder of specialists, or `lab`; default: random weights")
    parser.add_argument("--base", type=Path, help="where random weights are kept; made if they are not there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--distilled", type=int, nargs="*", default=[], metavar="S")
    parser.add_argument("--frames", type=int, default=8, help="N")
    parser.add_argument(
        "--mask", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in the middle, pixels"
    )
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="contenders, as in the table")
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    silence_loading()
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (args.frames, args.height, args.width, 3), np.uint8)
    with tempfile.TemporaryDirectory(prefix="simedit-edit-") as scratch, torch.no_grad():
        specialist = find(args.library, args.base or Path(scratch), frames[0])
        top, flops = peak(args), {}
        seconds: dict[str, float] = {}
        for name, made in contend(specialist, frames, args).items():
            if name in args.skip:
                continue
            edit, (kind, *_) = made(), name.split(",")
            seconds[name] = clock(name, edit, args)
            if kind not in flops and "compiled" not in name:
                flops[kind] = count(edit)
            top = max(top, peak(args))  # a busy host may have held the first back
            rate = flops.get(kind, 0) / seconds[name]
            note(
                contender=name,
                size=f"{args.width}x{args.height}",
                steps=args.steps if "distilled" not in kind else int(kind.split()[1]),
                seconds_a_frame=seconds[name],
                edits_a_second=1 / seconds[name],
                x_diffusers=seconds["diffusers"] / seconds[name] if "diffusers" in seconds else None,
                tflops=rate / 1e12 or None,
                peak_tflops=top / 1e12,
                share_of_peak=rate / top or None,
            )
            del edit  # before the next one is built
    show(seconds, flops, top, args)


def find(library: str | None, folder: Path, picture: np.ndarray) -> Specialist:
    """The library's first specialist, or an untrained one on a base of random weights in that folder."""
    if library is not None:
        return Specialist.load(next(iter(sorted(library_folder(library).glob("*/card.json")))).parent)
    if not (folder / "model_index.json").is_file():  # which is written last
        build(folder)
    base = SpecialistPipeline.from_pretrained(folder)
    unet: Any = get_peft_model(base.unet, lora_config(RANK, RANK))
    card = Card(style="gold", base=str(folder), instruction="make the cabinet out of gold", lora_rank=RANK)
    return Specialist(card, adapter_weights(unet, "default", base.style_attention), (picture,))


def contend(
    specialist: Specialist, frames: np.ndarray, args: argparse.Namespace
) -> dict[str, Callable[[], Callable[[], int]]]:
    """What builds each contender: a function that edits and gives the number of edited frames."""
    card, one = specialist.card, frames[:1]

    def base() -> SpecialistPipeline:
        dtype = getattr(torch, args.dtype)
        return SpecialistPipeline.from_pretrained(card.base, torch_dtype=dtype).to(args.device)

    def diffusers(compiled: bool) -> Callable[[], int]:
        pipeline = base()
        if compiled:
            pipeline.unet.compile(dynamic=False)
        return diffusers_edit(pipeline, card, one, args.steps)

    def library(
        some: np.ndarray, compiled: bool, masks: np.ndarray | None = None, distilled: int | None = None
    ) -> Callable[[], int]:
        says: dict[str, Any] = {"crop": True, "steps": args.steps}
        if distilled is not None:
            says |= {"steps": distilled, "sampler": "consistency", "scales": Scales(image=1, style=1, text=1)}
        editor = SpecialistLibrary(base(), batch_size=len(some), compile=compiled)
        editor.add(replace(specialist, card=card.model_copy(update=says)))
        styles, seeds = [card.style] * len(some), list(range(len(some)))
        return lambda: len(editor.edit(some, styles=styles, masks=masks, seeds=seeds))

    contenders = {
        "diffusers": lambda: diffusers(False),
        "diffusers, compiled": lambda: diffusers(True),
        "plain loop": lambda: plain_edit(base(), specialist, one, args.steps),
        "library, 1": lambda: library(one, False),
        f"library, {len(frames)}": lambda: library(frames, False),
        "library, compiled, 1": lambda: library(one, True),
        f"library, compiled, {len(frames)}": lambda: library(frames, True),
    }
    for steps in args.distilled:
        for suffix, compiled in (("", False), (", compiled", True)):
            for some in (one, frames):
                make = partial(library, some, compiled, distilled=steps)
                contenders[f"distilled {steps}{suffix}, {len(some)}"] = make
    if args.mask is not None:
        mask = np.zeros((1, args.height, args.width), bool)
        top, left = (args.height - args.mask[0]) // 2, (args.width - args.mask[1]) // 2
        mask[:, top : top + args.mask[0], left : left + args.mask[1]] = True
        contenders["window"] = lambda: library(one, False, mask)
        contenders["window, compiled"] = lambda: library(one, True, mask)
        for steps in args.distilled:
            contenders[f"distilled {steps}, compiled, window"] = partial(
                library, one, True, mask, distilled=steps
            )
    return contenders


def diffusers_edit(base: SpecialistPipeline, card: Card, frames: np.ndarray, steps: int) -> Callable[[], int]:
    unet = base.unet
    latent = unet.config["out_channels"]
    conv: Any = torch.nn.Conv2d(2 * latent, unet.conv_in.out_channels, 3, padding=1).to(unet.conv_in.weight)
    conv.weight.data = unet.conv_in.weight.data[:, : 2 * latent].clone()
    conv.bias.data = unet.conv_in.bias.data.clone()
    unet.conv_in = conv
    unet.register_to_config(in_channels=2 * latent)
    scheduler = EulerAncestralDiscreteScheduler.from_config(base.scheduler.config)
    pipe = StableDiffusionInstructPix2PixPipeline(
        base.vae,
        base.text_encoder,
        base.tokenizer,
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    image = torch.tensor(frames).permute(0, 3, 1, 2) / 255

    def edit() -> int:
        generator = torch.Generator(base.device).manual_seed(0)
        out = pipe(card.instruction, image, num_inference_steps=steps, generator=generator, output_type="np")
        return len(out.images)

    return edit


def plain_edit(
    base: SpecialistPipeline, specialist: Specialist, frames: np.ndarray, steps: int
) -> Callable[[], int]:
    card, (height, width) = specialist.card, frames.shape[1:3]
    unet: Any = get_peft_model(
        base.unet, lora_config(card.lora_rank, card.lora_alpha), autocast_adapter_dtype=False
    )
    set_weights(specialist, unet, "default", base.style_attention)
    pixels = torch.tensor(specialist.style_images[card.style_image]).permute(2, 0, 1)[None] / 255
    schedule = base.schedule(card.sampler, steps)
    scales = (card.scales.image, card.scales.style, card.scales.text)

    def edit() -> int:
        text, empty = base.encode_text([card.instruction]), base.encode_text([""])
        image = base.encode_images(torch.tensor(frames).permute(0, 3, 1, 2) / 255)
        style = base.style_attention(base.encode_style(pixels, height, width), image, text)
        nothing = torch.zeros_like(image)
        generator = torch.Generator().manual_seed(0)

        def draw(_step: int) -> torch.Tensor:
            return torch.randn(image.shape, generator=generator).to(image.device)

        def model(x: torch.Tensor, t: float) -> torch.Tensor:
            def eps(*latents: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
                seen = torch.cat([x.to(image.dtype), *latents], 1)
                found = unet(seen, t, encoder_hidden_states=states, return_dict=False)[0].to(x.dtype)
                if base.velocity_alphas is None:
                    return found
                return noise_in(found, x, torch.full((len(x),), t, device=x.device), base.velocity_alphas)

            full, image_style = eps(image, style, states=text), eps(image, style, states=empty)
            return guidance(
                full,
                eps(image, nothing, states=empty),
                eps(nothing, nothing, states=empty),
                image_style,
                scales,
            )

        latents = sample(model, draw(-1) * schedule.init_scale, schedule, draw).final
        return len(base.decode(latents, height, width).cpu())

    return edit


def clock(name: str, edit: Callable[[], int], args: argparse.Namespace) -> float:
    """Seconds a frame, the fastest of the repeats."""
    found = []
    for turn in range(args.repeat + 1):
        start = time.perf_counter()
        frames = edit()
        if args.device != "cpu":
            torch.cuda.synchronize()
        found.append((time.perf_counter() - start) / frames)
        said = f"turn {turn}" if turn else "warm-up"
        print(f"{name}, {said}: {found[-1]:.3f} s a frame", flush=True)
    return min(found[1:])


def count(edit: Callable[[], int]) -> float:
    """Floating-point operations a frame."""
    with FlopCounterMode(display=False) as counter:
        frames = edit()
    return counter.get_total_flops() / frames


def peak(args: argparse.Namespace) -> float:
    """Operations a second of the fastest of a few large matrix products and convolutions."""
    kind: Any = {"device": args.device, "dtype": getattr(torch, args.dtype)}
    contenders: list[tuple[int, Callable[[], torch.Tensor]]] = []
    for size in (1024, 2048) if args.device == "cpu" else (4096, 8192):
        a = torch.randn(size, size, **kind)
        contenders.append((2 * size**3, partial(torch.mm, a, a)))
    # On AMD's processors PyTorch's convolutions (oneDNN) are faster than its matrix products (MKL).
    for channels, side in ((320, 64), (640, 32), (1280, 16)):
        conv: Any = torch.nn.Conv2d(channels, channels, 3, padding=1, **kind)
        x = torch.randn(4, channels, side, side, **kind)
        last: Any = {"memory_format": torch.channels_last}
        operations = 2 * len(x) * side**2 * 9 * channels**2
        contenders.append((operations, partial(conv.to(**last), x.to(**last))))
    best = 0.0
    for operations, compute in contenders:
        for _ in range(4):
            start = time.perf_counter()
            compute()
            if args.device != "cpu":
                torch.cuda.synchronize()
            best = max(best, operations / (time.perf_counter() - start))
    return best


def show(seconds: dict[str, float], flops: dict[str, float], top: float, args: argparse.Namespace) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("contender", no_wrap=True)
    for head in ("s a frame", "frames/s", "x diffusers", "x plain loop", "x library, 1", "of peak"):
        table.add_column(head, justify="right")
    for name, taken in seconds.items():
        peers = ("diffusers", "plain loop", "library, 1")
        ratios = (f"{seconds[peer] / taken:.2f}" if peer in seconds else "-" for peer in peers)
        work = flops.get(name.split(",")[0], 0)
        share = f"{work / taken / top:.0%}" if work else "-"
        table.add_row(name, f"{taken:.3g}", f"{1 / taken:.3g}", *ratios, share)
    Console(width=110).print(table)
    print(
        f"{args.width}x{args.height}, {args.steps} steps, {args.device}, {args.dtype}, "
        f"{torch.get_num_threads()} threads; the measured peak is {top / 1e9:.4g} GFLOP/s"
    )
    if "library" in flops:
        print(f"an edit of the library takes {flops['library'] / 1e9:.4g} GFLOP")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
