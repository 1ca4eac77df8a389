"""What two ways to reuse earlier work cost in pictures, against simply taking fewer steps.

    python benchmarks/reuse.py        # the lab's models, two cores: eight minutes

warm start   a frame's edit begins with the edit of the frame before it in the episode, noised to a later
             step's level (SDEdit, arXiv 2108.01073)
deep blocks  all of the U-Net but its outermost blocks runs at every second or fourth step only; in between
             its last outputs stand in (DeepCache, arXiv 2312.00858)

The scripted expert opens one drawer and closes another in the twin, in front of photographs; each episode
is edited in two styles, whole frames, with one noise for the episode, as the wrapper does. Warm starts go
through every frame; every fourth is compared. The columns are those of presets.py; "late" is PSNR in the
last third of the episodes, where errors that one edit hands to the next would have grown.

Neither is an option of simedit: this measures whether either should be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from peft import get_peft_model
from presets import agreement, alike
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from simedit.envs.proxy_real import VisualMatching
from simedit.errors import run_cli
from simedit.lab.quality import StyleJudge, lit_boards
from simedit.packaged import library_folder
from simedit.pipeline import Conditioning, SpecialistPipeline, denoise, noise, silence_loading
from simedit.policies.scripted import ScriptedExpert
from simedit.samplers import Schedule
from simedit.specialist import Specialist, lora_config, set_weights

EPISODES = (("open", "top", "b1"), ("close", "middle", "a0"))
STYLES = ("gold", "wood")
EVERY = 4
# Steps, the step that edits begin with, and how often deep blocks run; seed of the noise.
WAYS: dict[str, tuple[int, int, int, int]] = {
    "100 steps": (100, 0, 1, 0),
    "other noise": (100, 0, 1, 1000),
    "20 steps": (20, 0, 1, 0),
    "20 steps, deep blocks every 2nd": (20, 0, 2, 0),
    "20 steps, deep blocks every 4th": (20, 0, 4, 0),
    "8 steps": (8, 0, 1, 0),
    "8 steps, deep blocks every 2nd": (8, 0, 2, 0),
    "8 steps, warm start at the 5th": (8, 4, 1, 0),
    "4 steps": (4, 0, 1, 0),
    "4 steps, deep blocks every 2nd": (4, 0, 2, 0),
    "4 steps, warm start at the 2nd": (4, 1, 1, 0),
    "4 steps, warm start at the 3rd": (4, 2, 1, 0),
    "3 steps": (3, 0, 1, 0),
}


class Painter:
    """One specialist, without the library around it.

    Args:
        specialist: its style images are the condition, its card says the rest.
    """

    def __init__(self, specialist: Specialist) -> None:
        card = specialist.card
        self._base = base = SpecialistPipeline.from_pretrained(card.base)
        adapted: Any = get_peft_model(base.unet, lora_config(card.lora_rank, card.lora_alpha))
        set_weights(specialist, adapted, "default", base.style_attention)
        self._unet = adapted.merge_and_unload()
        base.fast_convolutions()
        self._card = card
        self._pixels = torch.tensor(specialist.style_images[card.style_image]).permute(2, 0, 1)[None] / 255
        self._text, self._empty_text = base.encode_text([card.instruction]), base.encode_text([""])
        self._calls, self._every = 0, 1
        for block in [*self._unet.down_blocks[1:], self._unet.mid_block, *self._unet.up_blocks[:-1]]:
            block.forward = self._now_and_then(block.forward)

    def _now_and_then(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        kept: Any = None

        def reuse(*args: Any, **kwargs: Any) -> Any:
            nonlocal kept
            if self._calls % self._every == 0:
                kept = forward(*args, **kwargs)
            return kept

        return reuse

    def _counted(self, *args: Any, **kwargs: Any) -> Any:
        output = self._unet(*args, **kwargs)
        self._calls += 1
        return output

    def episode(
        self, frames: np.ndarray, steps: int, begin: int, every: int, seed: int
    ) -> Iterator[np.ndarray]:
        """Edits, uint8 [H, W, 3] each, of an episode's frames uint8 [T, H, W, 3]."""
        base, (height, width) = self._base, frames.shape[1:3]
        schedule, before = base.schedule(self._card.sampler, steps), None
        style = base.encode_style(self._pixels, height, width)
        for frame in frames:
            image = base.encode_images(torch.tensor(frame[None]).permute(0, 3, 1, 2) / 255)
            conditioning = Conditioning(
                text=self._text,
                empty_text=self._empty_text,
                image=image,
                style=base.style_attention(style, image, self._text),
                scales=[self._card.scales],
            )
            draw = noise([torch.Generator().manual_seed(seed)], image.shape[1:], image.device)
            way = schedule
            if begin and before is not None:
                way = later(schedule, begin)
                draw = added(draw, before / way.init_scale)
            self._calls, self._every = 0, every
            before = denoise(self._counted, conditioning, way, draw)
            picture = base.decode(before, height, width)[0].permute(1, 2, 0)
            yield (picture.numpy() * 255).round().astype(np.uint8)


def later(schedule: Schedule, begin: int) -> Schedule:
    """The steps of an Euler schedule from `begin` on."""
    names = ("timesteps", "input_scale", "keep", "push", "std")
    sigma = float((1 / schedule.input_scale[begin] ** 2 - 1).sqrt())
    return Schedule(*(getattr(schedule, name)[begin:] for name in names), init_scale=sigma)


def added(draw: Callable[[], Tensor], latents: Tensor) -> Callable[[], Tensor]:
    """`draw`, whose first noise has `latents` added."""
    pending = [latents]
    return lambda: draw() + (pending.pop() if pending else 0)


def play(task: str, drawer: str, pose: str) -> tuple[np.ndarray, np.ndarray]:
    """An episode's frames, uint8 [T, H, W, 3], and masks, bool [T, H, W]."""
    env = VisualMatching(
        gym.make("simedit/Drawer-v1", task=task, drawer=drawer, pose=pose, width=160, height=128)
    )
    twin: Any = env.unwrapped
    expert = ScriptedExpert(twin.privileged_state)
    frames, masks = [], []
    try:
        observation, _ = env.reset(seed=0)
        expert.reset(twin.instruction)
        over = False
        while not over and len(frames) < 60:
            camera = observation["sensor_data"]["overhead_camera"]
            frames.append(camera["rgb"][0].numpy())
            masks.append(np.isin(camera["segmentation"][0, ..., 0].numpy(), twin.edit_segmentation_ids))
            action = expert.act(frames[-1])
            observation, *_ = env.step(action.to_array())
            over = action.terminate
    finally:
        env.close()
    return np.stack(frames), np.stack(masks)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ways", nargs="*", default=list(WAYS)[1:], metavar="NAME", help="as in the table")
    args = parser.parse_args()
    silence_loading()
    folder = library_folder("lab")
    specialists = [Specialist.load(card.parent) for card in sorted(folder.glob("*/card.json"))]
    names = [specialist.card.style for specialist in specialists]
    painters = {name: Painter(specialists[names.index(name)]) for name in STYLES}
    episodes = [play(*episode) for episode in EPISODES]
    compared = [compare_at(*episode) for episode in episodes]
    boards = np.concatenate([found for _, found in compared])
    judge = StyleJudge([specialist.style_images for specialist in specialists], boards)
    table = Table(box=box.SIMPLE)
    table.add_column("way", no_wrap=True)
    for head in ("s", "PSNR", "late", "SSIM", "edges, reference", "edges, raw", "own"):
        table.add_column(head, justify="right")
    wanted: list[np.ndarray] = []
    for way in track(["100 steps", *args.ways], "ways", console=Console(stderr=True)):
        found, late, own, seconds = [], [], [], []
        for i, (style, which) in enumerate((style, e) for style in STYLES for e in range(len(episodes))):
            (frames, masks), (at, shown) = episodes[which], compared[which]
            chosen = range(len(frames)) if WAYS[way][1] else at
            start = time.perf_counter()
            edits = np.stack(list(painters[style].episode(frames[chosen], *WAYS[way])))
            seconds.append((time.perf_counter() - start) / len(edits))
            edits = edits[at] if WAYS[way][1] else edits
            if i == len(wanted):
                wanted.append(edits)
            each = [
                (*alike(edit, other, mask), agreement(other, edit, mask), agreement(frame, edit, mask))
                for edit, other, frame, mask in zip(edits, wanted[i], frames[at], masks[at], strict=True)
            ]
            found += each
            late += [psnr for psnr, *_ in each[-(-2 * len(each) // 3) :]]
            own += list(judge.distances(edits, shown).argmin(1) == names.index(style))
        table.add_row(*row(way, seconds, found, late, own))
    Console(width=110).print(table)


def compare_at(frames: np.ndarray, masks: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Which frames are compared: every fourth, if it shows enough of the cabinet; and where it does. Not the
    first, for it has no frame before it."""
    shown = {i: lit_boards(frames[i], masks[i]) for i in range(EVERY, len(frames), EVERY)}
    shown = {i: boards for i, boards in shown.items() if boards.any()}
    return list(shown), np.stack(list(shown.values()))


def row(
    way: str, seconds: Sequence[float], found: list[tuple[float, ...]], late: list[float], own: list[bool]
) -> list[str]:
    psnr, ssim, edges, raw = np.mean(found, 0)
    pictures = ["" if np.isinf(value) else f"{value:.1f}" for value in (psnr, float(np.mean(late)))]
    numbers = [f"{ssim:.3f}", f"{edges:.2f}", f"{raw:.2f}"]
    return [way, f"{np.mean(seconds):.3f}", *pictures, *numbers, f"{sum(own)} of {len(own)}"]


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
