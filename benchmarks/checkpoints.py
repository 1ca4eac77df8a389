r"""Does feedback make one of the lab's specialists better? Checkpoints of a run beside the one that ships.

    simedit-lab train-style gold --set steps=2 keep=10 update.learning_rate=3e-4 \
        'objective={kind: draft, last: 3}' scores.structural_weight=0
    python benchmarks/checkpoints.py gold runs/train/gold    # a table, runs/train/gold/checkpoints.png

On ten frames of the twin that no training saw, at 320x256: the distance to the photographs laid on them and
that of colours alone (`simedit.training.worth`; lower is better), the frame's edges that are kept, and by the
metrics of `simedit-lab ablate` SSIM, the texture bank, which feedback learns from, and EfficientNet-Lite0's
patches, which nothing learns from (the extra scores-lite). Step 0 is the warm start.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from simedit.drafts import whole
from simedit.errors import SimeditError, run_cli
from simedit.eval.terminal import print_table
from simedit.lab.ablations.study import measured
from simedit.lab.quality import held_out, strip
from simedit.library import SpecialistLibrary
from simedit.packaged import lab_data
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.specialist import Specialist
from simedit.training.checkpoint import step_folders
from simedit.training.ending import edits_of
from simedit.training.worth import measure

METRICS = ("ssim", "texture", "lite_patches")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a specialist that ships")
    parser.add_argument("run", type=Path, help="of a training of the same name")
    args = parser.parse_args()
    checkpoints = args.run / "checkpoints"
    steps = {0: checkpoints / "step_0000", **step_folders(checkpoints)}
    if not steps[0].exists():
        raise SimeditError(f"{checkpoints} has no step_0000: train with keep=10")
    silence_loading()
    shipped = {path.name: Specialist.load(path) for path in sorted(lab_data("specialists").iterdir())}
    if args.name not in shipped:
        raise SimeditError(f"no specialist {args.name} ships; there are {', '.join(shipped)}")
    tried = {"shipped": shipped[args.name]}
    tried |= {f"step {step}": Specialist.load(path) for step, path in sorted(steps.items())}
    if (style := tried["step 0"].card.style) != args.name:
        raise SimeditError(f"{args.run} trained {style}, not {args.name}")
    library = SpecialistLibrary(SpecialistPipeline.from_pretrained(lab_data("base")))
    frames, masks = held_out(10, width=320, height=256)
    _, left_out = measured(frames[:1], frames, masks, tuple(shipped[args.name].style_images))
    if missing := [f"{key}: {left_out[key]}" for key in METRICS if key in left_out]:
        raise SimeditError("; ".join(missing))
    others = [one for name, one in shipped.items() if name != args.name]
    rivals = edits_of(library, others, frames, masks) | {"raw": frames}
    rows, sheet = [], {"frame": frames}
    for name, one in tried.items():
        sheet[name] = edits_of(library, [one], frames, masks)[one.card.style]
        worth = measure(frames, masks, one.style_images, sheet[name], rivals)
        found, _ = measured(sheet[name], frames, masks, tuple(one.style_images))
        means = [np.nanmean(np.array(found[key], float)) for key in METRICS]
        numbers = [worth["distance"]["edit"], worth["colour"]["edit"], worth["edges"], *means]
        rows.append([name, *(f"{number:.4f}" for number in numbers)])
    print_table([args.name, "distance", "colour", "edges", *METRICS], rows)
    flat = {f"{name}{' ' * i}": pictures[i] for name, pictures in sheet.items() for i in range(4)}
    with whole(args.run / "checkpoints.png") as draft:
        Image.fromarray(strip(flat)).save(draft, format="png")


if __name__ == "__main__":
    run_cli(main)
