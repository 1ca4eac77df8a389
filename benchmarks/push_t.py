"""Push-T's masks against what the simulator fills and against its geometry; proxy-real's pictures in time.

    python benchmarks/push_t.py                # half a minute on one thread
    python benchmarks/push_t.py --expert 200   # and the expert's successes, in two minutes more

Masks: the intersection over the union of each region, over 60 states (as in episodes, near walls, pushed).

filled     what the simulator fills for each shape, drawn once more with a colour for each
geometry   polygons and a disc where its shapes are, with the outline that gym-pusht asks for
area       the region with the largest area in a pixel, of what was filled at 512
AV1        the same states as a video's frames, 4:2:0, crf 30, against the largest share in a pixel

Pictures: milliseconds for one, gym-pusht's own drawing and proxy-real's photograph of the same state in
turns, the fastest of 40.

Expert: successes in episodes from the starts 1000, 1001, ..., and their steps.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import imageio.v3 as iio
import numpy as np
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from simedit.envs.push_t.env import PushT, arrange, drawn, simulator, state
from simedit.envs.push_t.look import draw_look
from simedit.envs.push_t.masks import regions
from simedit.envs.push_t.proxy_real import Photographer
from simedit.envs.push_t.scene import GOAL, REGIONS, TEE, draw_state, placed
from simedit.policies.pusher import Pusher
from simedit.progress import tracked

STATES = 40
Drawing = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A state, its frame at 512 pixels, and the number of the region that each pixel was filled for."""


def main(expert: int = 0) -> None:
    found, console = drawings(), Console(width=100)
    table = Table("masks", *REGIONS, box=box.SIMPLE)

    def row(label: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        table.add_row(label, *(f"{share:.4f}" for share in overlaps(pairs)))

    row("512, filled", ((numbers(frame), label) for _, frame, label in found))
    row("512, geometry", ((numbers(frame), fill(each)) for each, frame, _ in found))
    for size in (256, 128, 96):
        row(f"{size}, area", ((numbers(scaled(f, size)), areas(label, size)) for _, f, label in found))
    for size in (128, 96):
        frames = through_av1([scaled(frame, size) for _, frame, _ in found])
        truth = [shares(label, size).argmax(-1) for *_, label in found]
        row(f"{size}, AV1", zip(map(numbers, frames), truth, strict=True))
    console.print(table)
    table = Table("pixels a side", "gym-pusht draws", "proxy-real", "a visit's preparation", box=box.SIMPLE)
    for size in (96, 128, 256):
        table.add_row(str(size), *(f"{1000 * seconds:.1f} ms" for seconds in times(found[0][0], size)))
    console.print(table)
    if expert:
        solved, steps = played(expert)
        low, middle, high = np.percentile(steps, (5, 50, 95))
        console.print(
            f"the expert reached the goal in {solved} of {expert} episodes, in {np.mean(steps):.1f} steps "
            f"(5th, 50th and 95th percentile: {low:.0f}, {middle:.0f}, {high:.0f})"
        )


def played(episodes: int) -> tuple[int, list[int]]:
    """How many of the expert's episodes reached the goal, and each one's steps."""
    env = PushT(64)
    pusher, solved, steps = Pusher(env.privileged_state), 0, []
    for start in tracked(range(1000, 1000 + episodes), "episodes", episodes):
        seen, info = env.reset(options={"scene": (start,)})
        pusher.reset(info["instruction"])
        for step in range(1, 301):
            seen, _, success, _, _ = env.step(pusher.act(seen["image"]))
            if success or step == 300:
                solved += success
                steps.append(step)
                break
    return solved, steps


def drawings() -> list[Drawing]:
    """Of all states."""
    env, found = simulator(512), []
    for each in states():
        arrange(env, each)
        found.append((each, drawn(env), filled(env)))
    return found


def states() -> Iterator[np.ndarray]:
    """States as in episodes, near walls too, and of an agent that pushes."""
    random = np.random.default_rng(0)
    for number in range(STATES):
        found = draw_state(random)
        if number % 5 == 0:
            found[2:4] = random.choice([40, 470]), random.uniform(100, 400)
            found[:2] = random.choice([12, 500], 2)
        yield found
    env = simulator(512)
    arrange(env, draw_state(random))
    for _ in range(STATES // 2):
        env.step(np.array(env.block.position) + random.normal(0, 15, 2))
        yield state(env)


def filled(env: Any) -> np.ndarray:
    """The number of each pixel's region, [512, 512]: every shape is drawn in a colour of its own."""
    own = {env.agent: (0, 0, 100), env.block: (100, 0, 0)}
    for shape in env.space.shapes:
        shape.color = (*own.get(shape.body, (0, 100, 0)), 255)
    red, green, blue = np.moveaxis(drawn(env).astype(int), -1, 0)
    goal = (red == 144) & (green == 238)
    return np.select([goal, (red > 0) & (green == 0), (blue > 0) & (green == 0)], [2, 1, 3], 0)


def fill(each: np.ndarray) -> np.ndarray:
    """The number of each pixel's region, [512, 512], by polygons where the simulator has them.

    Corners and the disc's centre are on whole pixels, as gym-pusht draws. Its outline is what its DrawOptions
    ask for along each edge: a line four pixels thick, and a quadrilateral that only edges of one slant have
    at right angles. A disc of pygame's has a radius of 14.8 for 15. Walls are on top.
    """
    label = np.zeros((512, 512), np.uint8)
    y, x = np.mgrid[:512, :512]
    cv2.fillPoly(label, [np.rint(placed(GOAL)).astype(np.int32)], 2)
    centre = np.rint(each[:2])
    label[(x + 0.5 - centre[0]) ** 2 + (y + 0.5 - centre[1]) ** 2 <= 14.8**2] = 3
    for rectangle in (TEE[[0, 1, 2, 7]], TEE[[3, 4, 5, 6]]):
        corners = np.rint(placed(each[2:], rectangle)).astype(np.int32)
        cv2.fillPoly(label, [corners], 1)
        for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
            wide, high = abs(end - start)
            thick = np.array([0, 1] if wide > high else [1, 0], np.int32)
            across = np.rint(np.array([high, wide]) * 2 / np.hypot(wide, high)).astype(np.int32)
            for low, far in ((-thick, 2 * thick), (-across, across)):
                cv2.fillConvexPoly(label, np.array([start + low, end + low, end + far, start + far]), 1)
    label[np.minimum(abs(x - 5), abs(x - 506)) <= 2] = 0
    label[np.minimum(abs(y - 5), abs(y - 506)) <= 2] = 0
    return label


def numbers(frame: np.ndarray) -> np.ndarray:
    """The number of each pixel's region by its mask."""
    return np.argmax(list(regions(frame).values()), 0)


def scaled(frame: np.ndarray, size: int) -> np.ndarray:
    """As gym-pusht scales what it has drawn."""
    return cv2.resize(frame, (size, size))


def shares(label: np.ndarray, size: int) -> np.ndarray:
    """Each region's share in the pixels so scaled, float32 [size, size, 4]."""
    return scaled(_each(label), size)


def areas(label: np.ndarray, size: int) -> np.ndarray:
    """The number of the region with the largest area in each pixel of that size."""
    return cv2.resize(_each(label), (size, size), interpolation=cv2.INTER_AREA).argmax(-1)


def _each(label: np.ndarray) -> np.ndarray:
    return np.stack([label == number for number in range(len(REGIONS))], -1).astype(np.float32)


def overlaps(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """The intersection over the union of each region, over all pairs of numbers."""
    both, either = np.zeros(len(REGIONS)), np.zeros(len(REGIONS))
    for one, other in pairs:
        for number in range(len(REGIONS)):
            both[number] += ((one == number) & (other == number)).sum()
            either[number] += ((one == number) | (other == number)).sum()
    return (both / either).tolist()


def through_av1(frames: list[np.ndarray]) -> np.ndarray:
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.mp4"
        options: dict[str, Any] = {"codec": "libsvtav1", "output_params": ["-crf", "30", "-g", "2"]}
        iio.imwrite(
            path, np.stack(frames), fps=10, plugin="FFMPEG", macro_block_size=1, quality=None, **options
        )
        return np.stack([np.array(frame) for frame in iio.imiter(path, plugin="FFMPEG")])


def times(each: np.ndarray, size: int) -> list[float]:
    """Seconds to draw, to photograph, and to prepare a visit's photographs, the fastest of several."""
    env, random = simulator(size), np.random.default_rng(0)
    arrange(env, each)
    visits: list[Photographer] = []

    def visit() -> None:
        visits.append(Photographer(draw_look(random), size))

    visit()
    jobs = (lambda: drawn(env), lambda: visits[0].photograph(each, random), visit)
    best = [float("inf")] * len(jobs)
    for turn in range(40):
        for number, job in enumerate(jobs[: 3 if turn < 6 else 2]):
            begun = time.perf_counter()
            job()
            best[number] = min(best[number], time.perf_counter() - begun)
    return best


if __name__ == "__main__":
    tyro.cli(main)
