"""Wrap a gymnasium environment of your own: a ball on a table, seen by a camera.

python examples/own_env.py --out own.png
"""

from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

from simedit.errors import run_cli
from simedit.library import SpecialistLibrary
from simedit.wrapper import EditObservation


class Ball(gym.Env):
    observation_space = gym.spaces.Dict(
        pixels=gym.spaces.Box(0, 255, (128, 160, 3), np.uint8), table=gym.spaces.MultiBinary((128, 160))
    )
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.uniform(40, 90, 2)
        return self.look(), {}

    def step(self, action):
        self.at = np.clip(self.at + 5 * np.asarray(action), 30, 98)
        return self.look(), float(-self.at[0]), bool(self.at[0] < 35), False, {}

    def look(self):
        rows, columns = np.indices((128, 160))
        ball = (rows - self.at[0]) ** 2 + (columns - self.at[1]) ** 2 < 100
        table = (rows > 20) & ~ball
        pixels = np.where(ball[..., None], [200, 40, 40], np.where(table[..., None], 150, 230))
        return {"pixels": pixels.astype(np.uint8), "table": table.astype(np.int8)}


def main(out: Path, library: str = "lab", style: str = "wood") -> None:
    """Write one picture: the table repainted, the ball and the wall as they were.

    Args:
        out: The picture, a PNG.
        library: A folder of specialists; "lab" is those that ship.
        style: One of the library's styles.
    """
    specialists = SpecialistLibrary.load(library)
    env = EditObservation(Ball(), specialists, style, mask="table", mask_ids=[1])
    env.reset(seed=0)
    obs, *_ = env.step(env.action_space.sample())
    Image.fromarray(obs["pixels"]).save(out)
    print(f"wrote {out}: {style}")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
