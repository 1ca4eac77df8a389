"""Repaint frames in Python, and lay them beside the originals in a video.

python examples/edit_video.py --out gold.mp4
python examples/edit_video.py --out mine.mp4 --video in.mp4 --style wood
"""

from itertools import islice
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import tyro

from simedit.errors import SimeditError, run_cli
from simedit.lab.quality import episode
from simedit.library import SpecialistLibrary


def main(
    out: Path, video: Path | None = None, library: str = "lab", style: str = "gold", frames: int = 24
) -> None:
    """Write a video: each frame as it was, and repainted. (For files alone: `simedit-edit IN OUT`.)

    Args:
        out: The video, an MP4.
        video: What to edit, whole frames of it; without it the scripted expert opens a drawer.
        library: A folder of specialists; "lab" is those that ship.
        style: One of the library's.
        frames: The most to edit.
    """
    if video is not None:
        try:
            raw, masks = np.stack([*islice(iio.imiter(video, plugin="FFMPEG"), frames)]), None
        except OSError as error:
            raise SimeditError(f"cannot read {video}: {error}") from error
    else:
        raw, masks = episode("open", "middle", "b1", np.linspace(0, 1, frames).tolist(), height=256)
    n, height, width, _ = raw.shape
    print(f"{n} frames of {width}x{height} pixels")

    # Frames are uint8 [N, H, W, 3]; masks bool [N, H, W], True where an edit may show, or None for all.
    # One seed for all is the same noise for all: the edit holds still where the scene does.
    specialists = SpecialistLibrary.load(library)
    edits = specialists.edit(raw, styles=[style] * n, masks=masks, seeds=[0] * n)

    iio.imwrite(out, np.concatenate([raw, edits], axis=2), fps=6, plugin="FFMPEG", macro_block_size=2)
    print(f"wrote {out}: as it was on the left, {style} on the right")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
