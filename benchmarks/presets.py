"""What fewer U-Net evaluations cost in pictures and in policies' success, on the lab's models.

    python benchmarks/presets.py                 # pictures: some minutes on the CPU
    python benchmarks/presets.py --trials 18     # the policy "last" as well: minutes for each preset

Ten held-out frames in all seven styles, each with its own noise, are edited with each preset. The reference
is 100 steps, fully guided; "other noise" is that again from another seed: what chance alone changes, for
samplers of different length take different ways from the same noise. Over the cabinet:

PSNR, SSIM   against the reference, the cabinet's bounding box
edges        the share of Canny edges kept within 1.5 pixels: of the reference's, and of the raw frame's
away         how far the edits look from their style's photographs laid on the frames (`worth.distance`)
success      of the policy, in trials edited in gold

Seconds are of one frame a call with one thread, networks converted for the CPU's engine before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from simedit.errors import SimeditError, run_cli
from simedit.eval.cli import main as simedit_eval
from simedit.eval.store import Store
from simedit.lab.pairs import FRONT
from simedit.lab.quality import held_out
from simedit.library import SpecialistLibrary
from simedit.packaged import library_folder
from simedit.pipeline import silence_loading
from simedit.specialist import Card, Specialist
from simedit.training.data import fit
from simedit.training.painted import frame_shading, paint
from simedit.training.worth import distance, edges_kept

WHOLE = (0.0, 1.0)
PRESETS: dict[str, tuple[int, tuple[float, float]]] = {
    "100 steps": (100, WHOLE),
    "20 steps": (20, WHOLE),
    "8 steps": (8, WHOLE),
    "8 steps, first half guided": (8, (0.0, 0.5)),
    "4 steps": (4, WHOLE),
    "4 steps, first half guided": (4, (0.0, 0.5)),
    "3 steps": (3, WHOLE),
    "2 steps": (2, WHOLE),
}
TASKS = 6
POSES = ("b1", "a1", "c2", "a0", "b2", "c0", "a2", "b0", "c1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--trials", type=int, default=0, help=f"a multiple of {TASKS}, at most 54")
    args = parser.parse_args()
    if args.trials % TASKS or not 0 <= args.trials <= TASKS * len(POSES):
        raise SimeditError(f"--trials must be a multiple of {TASKS}, at most 54, got {args.trials}")
    torch.set_num_threads(1)
    silence_loading()
    folder = library_folder("lab")
    specialists = [Specialist.load(card.parent) for card in sorted(folder.glob("*/card.json"))]
    names = [specialist.card.style for specialist in specialists]
    frames, masks = held_out(args.frames)
    wanted = [laid(specialist, frames, masks) for specialist in specialists]
    table = Table(box=box.SIMPLE)
    table.add_column("preset", no_wrap=True)
    for head in ("s", "PSNR", "SSIM", "edges, reference", "edges, raw", "away", "success"):
        table.add_column(head, justify="right")
    library = SpecialistLibrary.load(folder, batch_size=1, compile=True)  # one, for networks convert slowly
    reference = np.empty(0)
    rows = [(name, *preset, 0) for name, preset in PRESETS.items()]
    rows.insert(1, ("other noise", *PRESETS["100 steps"], 1000))
    for name, steps, interval, seed in track(rows, "presets", console=Console(stderr=True)):
        library.steps, library.guidance_interval = steps, interval
        edits, seconds = edit(library, specialists[0].card, names, frames, masks, seed)
        if not len(reference):
            reference = edits
        found = [
            (*alike(a, b, mask), edges_kept(b, a, mask), edges_kept(frame, a, mask), distance(a, best, mask))
            for style, full, ideal in zip(edits, reference, wanted, strict=True)
            for a, b, best, frame, mask in zip(style, full, ideal, frames, masks, strict=True)
        ]
        success = play(args.trials, steps, interval) if args.trials and not seed else ""
        psnr, ssim, edges, raw, away = np.mean(found, 0)
        table.add_row(
            name,
            f"{seconds:.3f}",
            "" if np.isinf(psnr) else f"{psnr:.1f}",
            f"{ssim:.3f}",
            f"{edges:.2f}",
            f"{raw:.2f}",
            f"{away:.1f}",
            success,
        )
    Console(width=110).print(table)


def edit(
    library: SpecialistLibrary,
    card: Card,
    names: list[str],
    frames: np.ndarray,
    masks: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, float]:
    """Edits uint8 [styles, N, H, W, 3], and the mean seconds of one."""
    edits, seconds = [], []
    sizes = {}  # of windows, from the first frame of each
    for i, mask in enumerate(masks):
        sizes.setdefault(mask[library.window(card, mask.shape, mask)].shape, i)
    for style in names:

        def one(i: int, style: str = style) -> np.ndarray:
            here = slice(i, i + 1)
            return library.edit(frames[here], styles=[style], masks=masks[here], seeds=[seed + i])[0]

        for i in sizes.values():
            one(i)  # converts
        for i in range(len(frames)):
            start = time.perf_counter()
            edits.append(one(i))
            seconds.append(time.perf_counter() - start)
    return np.stack(edits).reshape(len(names), *frames.shape), float(np.mean(seconds))


def alike(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """PSNR and SSIM over the mask's bounding box."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    where = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    with np.errstate(divide="ignore"):
        psnr = peak_signal_noise_ratio(b[where], a[where])
    return psnr, float(structural_similarity(b[where], a[where], channel_axis=2))


def laid(specialist: Specialist, frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The photograph that a specialist edits with, laid on frames; uint8 [N, H, W, 3]."""
    height, width = frames.shape[1:3]
    photograph = fit(specialist.style_images[specialist.card.style_image], width, height)
    pairs = zip(frames, masks, strict=True)
    return np.stack([paint(frame, mask, photograph, frame_shading(frame, FRONT)) for frame, mask in pairs])


def play(trials: int, steps: int, interval: tuple[float, float]) -> str:
    """Successes of the policy "last" with this preset."""
    settings = ["domains=[edited]", "styles=[gold]", "real.source=none"]
    settings += ['policies={last: {kind: cloned, checkpoint: "lab:last"}}', "report={videos: 0, strips: 0}"]
    settings += [f"scenes.pose=[{','.join(POSES[: trials // TASKS])}]", f"editor.steps={steps}"]
    settings += [f"editor.guidance_interval=[{interval[0]},{interval[1]}]"]
    config = Path(__file__).resolve().parents[1] / "configs" / "eval" / "lab.yaml"
    with tempfile.TemporaryDirectory(prefix="simedit-presets-") as out:
        common = ["run", "--config", str(config), "--out", out, "--num-envs", "2"]
        if simedit_eval([*common, "--set", *settings]):
            sys.exit(1)
        with Store(Path(out), write=False) as store:
            results = store.results().values()
    return f"{sum(result.outcome == 'success' for result in results)} of {len(results)}"


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
