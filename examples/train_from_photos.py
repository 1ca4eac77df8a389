"""Make a specialist from five photographs, and look at its first edit: minutes on a laptop.

python examples/train_from_photos.py --out brick
python examples/train_from_photos.py --out teak --photos photos/teak
"""

from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from simedit.errors import SimeditError, run_cli
from simedit.lab.build import train_style
from simedit.lab.quality import held_out, strip
from simedit.library import SpecialistLibrary
from simedit.packaged import lab_data

# Left, top and side: other places and distances of one wall in one light, which makes good photographs.
PIECES = ((0, 0, 300), (200, 0, 312), (0, 200, 290), (212, 212, 300), (100, 90, 330))


def five_photographs(folder: Path) -> Path:
    try:
        from skimage.data import brick  # 512 x 512, in scikit-image's own package
    except ImportError as error:
        raise SimeditError("the brick wall needs `pip install scikit-image`; or give --photos") from error
    folder.mkdir(parents=True, exist_ok=True)
    for i, (left, top, side) in enumerate(PIECES):
        piece = Image.fromarray(brick()[top : top + side, left : left + side])
        piece.convert("RGB").save(folder / f"brick_{i}.png")
    return folder


def main(out: Path, photos: Path | None = None, set: tuple[str, ...] = ()) -> None:
    """What `simedit-lab train-style` does, from Python: it goes on where it was stopped.

    Args:
        out: The folder of all that is made; its name is the specialist's.
        photos: A folder of about five photographs. Without it: five pieces of scikit-image's brick wall.
        set: KEY=VALUE in place of settings of lab/train.yaml, such as warm_start.steps=50
    """
    photos, made = photos or five_photographs(out / "photos"), out / "specialist"
    name = out.resolve().name
    train_style(name, photos, base=lab_data("base"), run=out / "run", target=made, settings=set)

    library = SpecialistLibrary.load(made)
    frames, masks = held_out(1)  # a frame that no training saw
    (edit,) = library.edit(frames, styles=library.styles, masks=masks, seeds=[0])
    photograph = Image.open(sorted(photos.iterdir())[0]).convert("RGB").resize((320, 256))
    pictures = {"a photograph": np.array(photograph), "a frame": frames[0], "edited": edit}
    Image.fromarray(strip(pictures, columns=3)).save(out / "edit.png")
    print(f"wrote {out / 'edit.png'}; repaint files with simedit-edit --specialist {made} IN OUT")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
