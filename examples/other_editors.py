"""Repaint one picture by several editors that are no specialists, side by side.

python examples/other_editors.py --image frame.png --mask cabinet.png --out all.png
python examples/other_editors.py --image in.png --mask mask.png --out all.png --editors flux2-klein flat
"""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tyro

from simedit.errors import run_cli
from simedit.eval.editors import load_editor
from simedit.images import read_image, read_mask


def main(
    image: Path,
    mask: Path,
    out: Path,
    style: str = "gold",
    editors: tuple[str, ...] = ("histogram", "reinhard", "flat"),
    seed: int = 0,
) -> None:
    """Write the picture, and right of it each editor's edit. (For files alone: `simedit-edit --editor`.)

    Args:
        image: What to edit.
        mask: Of its size, white where it may change.
        out: The picture to write.
        style: What it shall look like.
        editors: Names of editors that ship, or YAML files that describe some. All but the first three of
            docs/editors.md download weights.
        seed: Of the noise.
    """
    frames, masks = read_image(image)[None], read_mask(mask)[None]
    shown = [frames[0]]
    for name in editors:
        editor = load_editor(name, [style])  # what EditObservation takes in a specialist library's place
        shown.append(editor.edit(frames, styles=[style], masks=masks, seeds=[seed])[0])
        print(
            f"{name}: {np.abs(shown[-1].astype(int) - frames[0])[masks[0]].mean():.1f} of 255 off the frame"
        )
    iio.imwrite(out, np.concatenate(shown, axis=1))


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
