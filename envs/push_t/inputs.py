"""Training inputs of Push-T with the exact mask of a region, and photographs of proxy-real for its styles."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from simedit.envs.push_t import masks
from simedit.envs.push_t.camera import Camera
from simedit.envs.push_t.env import arrange, drawn, simulator
from simedit.envs.push_t.look import draw_look
from simedit.envs.push_t.proxy_real import Photographer
from simedit.envs.push_t.scene import SIDE, WALL, draw_state
from simedit.errors import SimeditError
from simedit.training.config import PushTConfig


class PushTInputs:
    """Frames as gym-pusht draws them, each with the mask of the config's region.

    The states are those of `simedit.envs.push_t.scene.draw_state`. A frame depends on the seed and its index
    alone. The view is cut at the centre to the asked shape.

    Args:
        config: how many frames, and of which region the masks are.
        width, height: of the frames, pixels.
        seed: 0 or more.

    Raises:
        SimeditError: gym-pusht is not installed.
    """

    def __init__(self, config: PushTConfig, width: int, height: int, seed: int) -> None:
        side = max(width, height)
        left, top = (side - width) // 2, (side - height) // 2
        self._cut = np.s_[top : top + height, left : left + width]
        self._simulator, self._config, self._seed = simulator(side), config, seed

    def __len__(self) -> int:
        return self._config.frames

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The frame, uint8 [height, width, 3], and its mask, bool [height, width]."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no input {index}: there are {len(self)}")
        return self.unseen(index - len(self))

    def unseen(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame and its mask that is none of the inputs, for any index from 0."""
        number = index + len(self)
        return self._frame(number)[self._cut].copy(), self.regions(number)[self._config.region]

    def regions(self, number: int, /) -> dict[str, np.ndarray]:
        """The masks of all regions, bool [height, width], of an input, or as number len(self) + i of the
        unseen frame i."""
        return {name: mask[self._cut] for name, mask in masks.regions(self._frame(number)).items()}

    def _frame(self, number: int) -> np.ndarray:
        arrange(self._simulator, draw_state(np.random.default_rng((self._seed, number))))
        return drawn(self._simulator)


def write_photographs(folder: str | Path, count: int, size: int, seed: int = 0) -> None:
    """Photographs of proxy-real, each of a visit and a state of its own, and what they show where.

    They go into `folder/images`, and for each region into `folder/REGION`, where it is white (of the
    background only the table between the walls, without the tape that marks them); in both a
    photograph is called by its number, so that `folder/images` does for `--style-images` of a training, and
    `folder/REGION` for its `regions.style_masks`.

    Args:
        folder: a new one.
        count: how many.
        size: pixels a side.
        seed: 0 or more; others make other photographs.

    Raises:
        SimeditError: the folder holds something already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SimeditError(f"{folder} holds something already: name a new folder")
    for number in range(count):
        random = np.random.default_rng((seed, number))
        look = draw_look(random)
        frame, regions = Photographer(look, size).photograph(draw_state(random), random)
        table = Camera(size, look.shift, look.roll, look.scale).table()
        regions["background"] &= (abs(table - SIDE / 2) < SIDE / 2 - 2 * WALL).all(-1)
        pictures = {"images": frame[..., ::-1]}
        pictures |= {name: mask.astype(np.uint8) * 255 for name, mask in regions.items()}
        for name, picture in pictures.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
