"""Edit the drawer twin in two passes, each in a region of its own: a cabinet of stone, then drawers of wood.

python examples/recipe.py --out two.png
"""

from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

import simedit.envs  # noqa: F401 (registers simedit/Drawer-v1)
from simedit.errors import run_cli
from simedit.library import SpecialistLibrary
from simedit.packaged import lab_data
from simedit.recipe import Pass, Recipe
from simedit.specialist import Specialist
from simedit.wrapper import EditObservation

LINKS = {"body": ["body"], "drawers": ["top_drawer", "middle_drawer", "bottom_drawer"]}


def main(out: Path, body: str = "stone", drawers: str = "wood", height: int = 256) -> None:
    """Write one picture: the scene as rendered, after the first pass, and after both.

    Args:
        out: The picture, a PNG.
        body, drawers: Styles of the lab's.
        height: Of a frame, pixels.
    """
    one, two = (Specialist.load(lab_data(f"specialists/{style}")) for style in (body, drawers))
    passes = Pass(one, region="body"), Pass(two, region="drawers")
    library = SpecialistLibrary.load("lab")
    library.add(Recipe("first", passes[:1]))
    library.add(Recipe("both", passes))  # Recipe("both", passes).save("specialists/both") keeps it

    env = gym.make("simedit/Drawer-v1", width=height * 5 // 4, height=height)
    masks = dict.fromkeys(LINKS, "segmentation")  # a mask of each region, by the ids of its links
    env = EditObservation(env, library, "first", mask=masks, mask_ids=LINKS, keep_raw="raw_rgb")
    pictures = []
    for style in ("first", "both"):
        env.style = style
        camera = env.reset(seed=0)[0]["sensor_data"]["overhead_camera"]
        pictures += [camera[key][0].numpy() for key in ("raw_rgb", "rgb")]
    raw, first, _, both = pictures
    Image.fromarray(np.concatenate([raw, first, both], axis=1)).save(out)
    env.close()
    print(f"wrote {out}: as rendered; with a body of {body}; with drawers of {drawers}, too")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
