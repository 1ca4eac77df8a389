"""Pictures of the docs: strip.png, the lab's edits of one frame; seven.png and five.png, photographs and what
became of them; and scatter.png, a study's result."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from simedit.errors import SimeditError, run_cli
from simedit.eval.figures import PALETTE
from simedit.eval.headline import number
from simedit.lab.materials import STYLES
from simedit.lab.quality import episode, strip
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.specialist import Specialist
from simedit.training.data import fit

WIDTH, HEIGHT = 640, 512  # SIMPLER's camera
TIMES = (0.0, 0.5, 0.95)
DOMAINS = ("raw", "varagg", "vismatch", "edited")
MARKERS = "osD^vP*X"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default="lab", help="folder of specialists; lab: those that ship")
    parser.add_argument("--run", type=Path, help="folder of a finished study; without it, only the strip")
    parser.add_argument("--five", type=Path, help="folder of specialists to show beside their photographs")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where the pictures go")
    args = parser.parse_args()
    silence_loading()
    summary = None if args.run is None else read_report(args.run)
    shipped = files("simedit.lab") / "data" / "specialists"
    folder = Path(str(shipped)) if args.library == "lab" else Path(args.library)
    library = SpecialistLibrary.load(folder)
    args.out.mkdir(parents=True, exist_ok=True)
    styles = [style for style in STYLES if style in library.styles]
    pictures = {"raw": pose()[0], **edits(library, styles, *pose())}
    save(strip(small(pictures), columns=4), args.out / "strip.png")
    save(sheet([Specialist.load(folder / style) for style in styles]), args.out / "seven.png")
    if args.five is not None:
        cards = sorted(args.five.glob("*/card.json"))
        save(sheet([Specialist.load(card.parent) for card in cards]), args.out / "five.png")
    if summary is not None:
        save(scatter(summary), args.out / "scatter.png")


def edits(
    library: SpecialistLibrary, styles: list[str], frame: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """The frame in each style, uint8 [H, W, 3]."""
    frames, masks = (np.repeat(one[None], len(styles), 0) for one in (frame, mask))
    found = library.edit(frames, styles=styles, masks=masks, seeds=[0] * len(styles))
    return dict(zip(styles, found, strict=True))


def sheet(specialists: list[Specialist]) -> np.ndarray:
    """A row for each specialist, uint8 [h, w, 3]: two of its photographs, then an episode's frames in its
    style at three times; above them the raw frames."""
    frames, masks = episode("open", "middle", "b1", TIMES, HEIGHT)
    library = SpecialistLibrary(SpecialistPipeline.from_pretrained(specialists[0].card.base))
    blank = np.full_like(frames[0], 255)
    pictures = {" ": blank, "  ": blank, **{f"raw, {t:.0%}": f for t, f in zip(TIMES, frames, strict=True)}}
    for one in specialists:
        name = one.card.style
        library.add(one)
        found = library.edit(frames, styles=[name] * len(frames), masks=masks, seeds=[0] * len(frames))
        library.remove(name)
        photographs = [fit(photograph, WIDTH, HEIGHT) for photograph in one.style_images]
        others = [photograph for i, photograph in enumerate(photographs) if i != one.card.style_image]
        row = [photographs[one.card.style_image], (others or photographs)[0], *found]
        labels = (name, f"{name}, again", *(f"{name}, {time:.0%}" for time in TIMES))
        pictures |= dict(zip(labels, row, strict=True))
    return strip(small(pictures, WIDTH // 4), columns=2 + len(TIMES))


def small(pictures: dict[str, np.ndarray], width: int = 240) -> dict[str, np.ndarray]:
    """Of that width, before they are labelled, so that the labels can be read."""
    return {label: fit(picture, width, width * HEIGHT // WIDTH) for label, picture in pictures.items()}


def pose() -> tuple[np.ndarray, np.ndarray]:
    """A frame of the twin with a drawer partly open, uint8 [H, W, 3], and its mask, bool [H, W]."""
    import simedit.envs.drawer.twin  # noqa: F401 (registers the environment)

    env = gymnasium.make("simedit/Drawer-v1", width=WIDTH, height=HEIGHT)
    env.reset()
    twin: Any = env.unwrapped
    twin.arrange("b1", {"top": 0.0, "middle": 0.15, "bottom": 0.0})
    seen = twin.get_obs()["sensor_data"]["overhead_camera"]
    frame = seen["rgb"][0].numpy().copy()
    mask = np.isin(seen["segmentation"][0, ..., 0].numpy(), twin.edit_segmentation_ids)
    env.close()
    return frame, mask


def read_report(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimeditError(
            f"cannot read the report of {run} ({error}): finish it with simedit-eval run"
        ) from error


def scatter(summary: Mapping[str, Any]) -> np.ndarray:
    """Simulated against real success rates, uint8 [h, w, 3]: a colour for each domain, a mark for each
    policy, its interval behind it, the metrics with theirs in the legend."""
    figure = Figure(figsize=(4.8, 5.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=(0, (3, 3)))
    for colour, domain in zip(PALETTE, DOMAINS, strict=False):
        if domain not in summary["domains"]:
            continue
        block = list(summary["domains"][domain].values())[-1]  # the average where there are two tasks
        if block["mmrv"] is None:
            raise SimeditError(
                f"the report's domain {domain} has no MMRV: it needs real rates and more trials"
            )
        mmrv, r = (number(block[key], block[f"{key}_ci"]) for key in ("mmrv", "pearson_r"))
        label = f"{domain}: MMRV {mmrv}, r {r}"
        axes.plot([], [], color=colour, marker="o", linestyle="none", label=label)
        for mark, entry in zip(MARKERS, block["policies"].values(), strict=False):
            if entry["wilson"] is not None:
                axes.plot([entry["real"]] * 2, entry["wilson"], color=colour, alpha=0.5, linewidth=1.2)
            axes.plot(entry["real"], entry["sim"], color=colour, marker=mark, markersize=7)
    policies = next(iter(next(iter(summary["domains"].values())).values()))["policies"]
    for mark, policy in zip(MARKERS, policies, strict=False):
        axes.plot([], [], color="0.4", marker=mark, linestyle="none", label=policy)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set(xlabel=f"success rate: {summary['real']['name']}", ylabel="simulated success rate")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save(picture: np.ndarray, path: Path) -> None:
    image = Image.fromarray(picture)
    # 256 colours are enough for either picture, and a third of the size.
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
