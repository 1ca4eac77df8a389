"""Put simedit around an environment, and see what a policy would see in each style.

python examples/wrap_env.py --out wrapped.png
python examples/wrap_env.py --out wood.png --styles wood --task close --drawer bottom --pose c1
"""

from pathlib import Path

import gymnasium as gym
import tyro
from PIL import Image

import simedit.envs  # noqa: F401 (registers simedit/Drawer-v1)
from simedit.errors import run_cli
from simedit.lab.quality import strip
from simedit.library import SpecialistLibrary
from simedit.wrapper import EditObservation


def main(
    out: Path,
    library: str = "lab",
    styles: tuple[str, ...] = ("gold", "wood", "black_marble"),
    task: str = "open",
    drawer: str = "top",
    pose: str = "a0",
    height: int = 512,
) -> None:
    """Write one picture: the raw frame, and the same frame in each style.

    Args:
        out: The picture, a PNG.
        library: A folder of specialists; "lab" is those that ship.
        styles: Which of the library's styles to show.
        task: open or close.
        drawer: top, middle or bottom.
        pose: Where the robot stands, a0 to c2.
        height: Of a frame, pixels; SIMPLER's is 512.
    """
    specialists = SpecialistLibrary.load(library)
    size = {"width": height * 5 // 4, "height": height}
    env = gym.make("simedit/Drawer-v1", task=task, drawer=drawer, pose=pose, **size)
    # The only line that an evaluation script gains. The frame as it was stays beside the edit.
    env = EditObservation(env, specialists, style=styles[0], seed=0, keep_raw="raw_rgb")
    pictures = {}
    for style in styles:
        env.style = style
        obs, _ = env.reset(seed=0)
        camera = obs["sensor_data"]["overhead_camera"]  # tensors, uint8 [1, H, W, 3]
        pictures["raw"], pictures[style] = (camera[key][0].numpy() for key in ("raw_rgb", "rgb"))
        changed = (pictures["raw"] != pictures[style]).any(-1).mean()
        print(f"{style}: {changed:.0%} of the pixels are others, all of them on the cabinet")
    env.close()
    Image.fromarray(strip(pictures, columns=2)).save(out)
    print(f"wrote {out}: the raw frame, and what a policy sees in {', '.join(styles)}")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
