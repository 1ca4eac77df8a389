"""Edit several environments at once, in one call of the editor, each in a style of its own.

python examples/vector_env.py --out vector.png
python examples/vector_env.py --out vector.png --num-envs 4 --mode async
"""

from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image

import simedit.envs  # noqa: F401 (registers simedit/Drawer-v1)
from simedit.errors import run_cli
from simedit.lab.quality import strip
from simedit.library import SpecialistLibrary
from simedit.vector import EditVectorObservation


def main(
    out: Path,
    library: str = "lab",
    num_envs: int = 2,
    mode: Literal["sync", "async"] = "sync",
    height: int = 512,
    steps: int = 1,
) -> None:
    """Write one picture: what each environment's policy sees last.

    Args:
        out: The picture, a PNG.
        library: A folder of specialists; "lab" is those that ship.
        num_envs: How many environments.
        mode: In this process (sync) or each in one of its own (async).
        height: Of a frame, pixels; SIMPLER's is 512.
        steps: How many steps to take.
    """
    specialists = SpecialistLibrary.load(library)
    styles = [specialists.styles[i % len(specialists.styles)] for i in range(num_envs)]
    # A renderer does not survive a fork, so worker processes are spawned.
    settings = {"vector_kwargs": {"context": "spawn"}} if mode == "async" else {}
    size = {"width": height * 5 // 4, "height": height}
    envs = gym.make_vec("simedit/Drawer-v1", num_envs, vectorization_mode=mode, **settings, **size)
    envs = EditVectorObservation(envs, specialists, style=styles)
    obs, _ = envs.reset(seed=0)
    for _ in range(steps):
        obs, *_ = envs.step(envs.action_space.sample())
    envs.close()
    frames = np.asarray(obs["sensor_data"]["overhead_camera"]["rgb"])[:, 0]  # uint8 [N, 1, H, W, 3]
    pictures = {f"{i} {style}": frame for i, (style, frame) in enumerate(zip(styles, frames, strict=True))}
    Image.fromarray(strip(pictures, columns=2)).save(out)
    print(f"wrote {out}: {num_envs} environments after {steps} steps")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
