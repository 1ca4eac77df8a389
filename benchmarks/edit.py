"""How fast frames are edited, against diffusers' InstructPix2Pix and against a plain loop, in one run.

    python benchmarks/edit.py --skip "diffusers, compiled"           # Stable Diffusion 1.5's size, on the CPU
    python benchmarks/edit.py --device cuda --dtype float16 --width 512 --height 512 --steps 100
    python benchmarks/edit.py --library lab --width 160 --height 128 # the lab's own weights and scales

Without --library the weights are random and of Stable Diffusion 1.5's size (5 GB of disk in the temporary
folder): this measures, and makes no picture. The contenders have the same weights, frames and steps:

diffusers      StableDiffusionInstructPix2PixPipeline, eager: three branches, and no style image
plain loop     four branches, each a U-Net call of its own with the adapter beside the weights; instruction
               and style image encoded for every frame
library, 1     SpecialistLibrary.edit, a frame a call
library, N     the same, N frames a call
window         with --mask: a frame a call, only the window around a mask of that size (cards that say `crop`)

Diffusers' pipeline (its U-Net by torch.compile) and the library (on the CPU OpenVINO, with its VAE too; on a
GPU torch.compile) compete compiled as well. Each is built, called once before it is timed, timed `--repeat`
times and dropped; what counts is the fastest. The share of peak is of the fastest of a few large matrix
products and convolutions in the same number format, in the same run.
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
from torch.utils.flop_counter import FlopCounterMode

from simedit.errors import run_cli
from simedit.library import SpecialistLibrary
from simedit.packaged import library_folder
from simedit.pipeline import SpecialistPipeline, guidance, noise_in, silence_loading
from simedit.samplers import sample
from simedit.specialist import Card, Specialist, adapter_weights, lora_config, set_weights

RANK = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", help="a folder of specialists, or `lab`; default: random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float16", "bfloat16"))
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
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
        specialist = find(args.library, Path(scratch), frames[0])
        top, flops = peak(args), 0
        seconds: dict[str, float] = {}
        for name, made in contend(specialist, frames, args).items():
            if name in args.skip:
                continue
            edit = made()
            seconds[name] = clock(name, edit, args)
            if name == "library, 1":
                flops = count(edit)
            del edit  # before the next one is built
    show(seconds, flops, max(top, peak(args)), args)  # a busy host may have held the first back


def find(library: str | None, scratch: Path, picture: np.ndarray) -> Specialist:
    """The library's first specialist, or an untrained one on a base of random weights in `scratch`."""
    if library is not None:
        return Specialist.load(next(iter(sorted(library_folder(library).glob("*/card.json")))).parent)
    build(scratch)
    base = SpecialistPipeline.from_pretrained(scratch)
    unet: Any = get_peft_model(base.unet, lora_config(RANK, RANK))
    card = Card(style="gold", base=str(scratch), instruction="make the cabinet out of gold", lora_rank=RANK)
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

    def library(some: np.ndarray, compiled: bool, masks: np.ndarray | None = None) -> Callable[[], int]:
        editor = SpecialistLibrary(base(), batch_size=len(some), steps=args.steps, compile=compiled)
        editor.add(replace(specialist, card=card.model_copy(update={"crop": True})))
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
    if args.mask is not None:
        mask = np.zeros((1, args.height, args.width), bool)
        top, left = (args.height - args.mask[0]) // 2, (args.width - args.mask[1]) // 2
        mask[:, top : top + args.mask[0], left : left + args.mask[1]] = True
        contenders["window"] = lambda: library(one, False, mask)
        contenders["window, compiled"] = lambda: library(one, True, mask)
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


def count(edit: Callable[[], int]) -> int:
    """Floating-point operations of one edit."""
    with FlopCounterMode(display=False) as counter:
        edit()
    return counter.get_total_flops()


def peak(args: argparse.Namespace) -> float:
    """Operations a second of the fastest of a few large matrix products and convolutions."""
    kind: Any = {"device": args.device, "dtype": getattr(torch, args.dtype)}
    contenders: list[tuple[int, Callable[[], torch.Tensor]]] = []
    for size in (1024, 2048, 4096):
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


def show(seconds: dict[str, float], flops: int, top: float, args: argparse.Namespace) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("contender", no_wrap=True)
    for head in ("s a frame", "frames/s", "x diffusers", "x plain loop", "x library, 1"):
        table.add_column(head, justify="right")
    for name, taken in seconds.items():
        peers = ("diffusers", "plain loop", "library, 1")
        ratios = (f"{seconds[peer] / taken:.2f}" if peer in seconds else "-" for peer in peers)
        table.add_row(name, f"{taken:.3g}", f"{1 / taken:.3g}", *ratios)
    Console(width=110).print(table)
    print(
        f"{args.width}x{args.height}, {args.steps} steps, {args.device}, {args.dtype}, "
        f"{torch.get_num_threads()} threads; the measured peak is {top / 1e9:.4g} GFLOP/s"
    )
    if flops:
        best = min(taken for name, taken in seconds.items() if name.startswith("library"))
        print(
            f"an edit of the library takes {flops / 1e9:.4g} GFLOP: {flops / best / top:.0%} of that at best"
        )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
