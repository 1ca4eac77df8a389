"""What are edits worth? Specialists of the lab against photographs laid on the frames, and against no edit.

python examples/score_edits.py --out scores
python examples/score_edits.py --out scores --style wood --frames 24
"""

from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from simedit.errors import SimeditError, run_cli
from simedit.eval.scoring import cli
from simedit.lab.quality import held_out
from simedit.photograph import PhotographEditor


def save(folder: Path, pictures: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:03}.png")


def main(out: Path, style: str = "gold", frames: int = 12) -> None:
    """Write frames that no training saw, their masks and edits, and what simedit-score says of them.

    Args:
        out: A new folder: frames, masks, laid (photographs on the frames) and scores.
        style: One of the lab's.
        frames: How many.
    """
    if out.exists():
        raise SimeditError(f"{out} is there: give a new folder")
    pictures, masks = held_out(frames)
    editor = PhotographEditor.load("lab")
    laid = editor.edit(pictures, styles=[style] * frames, masks=masks, seeds=[0] * frames)
    for name, made in {"frames": pictures, "masks": masks.astype(np.uint8) * 255, "laid": laid}.items():
        save(out / name, made)

    folders = {"inputs": out / "frames", "masks": out / "masks", "out": out / "scores"}
    args = [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]
    # The first editor is what the others are compared with.
    args += ["--edits", f"laid={out / 'laid'}", f"raw={out / 'frames'}"]
    args += ["--specialist", f"lab:{style}", f"lab-distilled:{style}", "--style-images", f"lab:{style}"]
    raise SystemExit(cli.main(args))


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
