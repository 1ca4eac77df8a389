"""Is the editor any good? What specialists are worth on frames that no training has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from simedit.envs.drawer.inputs import TwinInputs
from simedit.envs.drawer.surface import CABINET
from simedit.errors import SimeditError
from simedit.lab.pairs import HEIGHT, WIDTH
from simedit.library import SpecialistLibrary
from simedit.pipeline import SpecialistPipeline
from simedit.policies.scripted import ScriptedExpert
from simedit.specialist import Specialist
from simedit.training.config import TwinConfig
from simedit.training.ending import edits_of, untrained
from simedit.training.worth import measure as measure_worth

HELD_OUT = 5_000_000
"""The seed of held-out frames: no training is to use it."""

_SHOWN = 0.08  # the least share of a held-out frame that is cabinet
_MOST_STEPS = 60  # of an episode
_GAP = 4  # pixels between pictures


def held_out(
    count: int = 10, seed: int = HELD_OUT, *, width: int = WIDTH, height: int = HEIGHT
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the twin, uint8 [count, height, width, 3], and their masks, bool; at least 8 % is cabinet."""
    inputs = TwinInputs(TwinConfig(frames=10 * count, jitter=0.05), width, height, seed)
    found = []
    try:
        for i in range(len(inputs)):
            if len(found) < count and (pair := inputs[i])[1].mean() >= _SHOWN:
                found.append(pair)
    finally:
        inputs.close()
    frames, masks = zip(*found, strict=True)
    return np.stack(frames), np.stack(masks)


def episode(
    task: str, drawer: str, pose: str, times: Sequence[float], height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the scripted expert at work, uint8 [T, height, 5/4 height, 3], and the cabinet's masks, bool.

    Args:
        task, drawer, pose: as simedit/Drawer-v1's.
        times: 0 is the first frame, 1 the last.
    """
    env = gymnasium.make("simedit/Drawer-v1", width=height * 5 // 4, height=height)
    env.reset(seed=0, options={"task": task, "drawer": drawer, "pose": pose})
    twin: Any = env.unwrapped
    expert, seen = ScriptedExpert(twin.privileged_state), []
    while len(seen) < _MOST_STEPS:
        action, surface = expert.act(np.empty(0)), twin.surface()
        seen.append((surface.rgb.copy(), surface.kind == CABINET))
        if action.terminate:
            break
        env.step(action.to_array())
    env.close()
    frames, masks = zip(*(seen[int(time * (len(seen) - 1))] for time in times), strict=True)
    return np.stack(frames), np.stack(masks)


def measure(
    specialists: Sequence[Specialist], base: SpecialistPipeline, frames: np.ndarray, masks: np.ndarray
) -> dict[str, Any]:
    """What each specialist is worth, among the others: see `simedit.training.worth.measure`.

    Args:
        specialists: of different styles.
        base: theirs, fresh; it is changed in place.
        frames, masks: from `held_out`.

    Returns:
        JSON: by style.

    Raises:
        SimeditError: no specialists or no frames.
    """
    if not len(specialists) or not len(frames):
        raise SimeditError(f"nothing to measure: {len(specialists)} specialists, {len(frames)} frames")
    alone = [untrained(one, base, f"{one.card.style} by the base alone") for one in specialists]
    pictures = edits_of(SpecialistLibrary(base), [*specialists, *alone], frames, masks)
    by_base = [pictures.pop(one.card.style) for one in alone]
    found = {}
    for one, base_edits in zip(specialists, by_base, strict=True):
        others = {name: edits for name, edits in pictures.items() if name != one.card.style}
        others |= {"raw": frames, "base": base_edits}
        found[one.card.style] = measure_worth(
            frames, masks, one.style_images, pictures[one.card.style], others
        )
    return found


def strip(pictures: Mapping[str, np.ndarray], *, columns: int = 4, scale: int = 1) -> np.ndarray:
    """Named pictures, uint8 [H, W, 3] of one size, enlarged and labelled; uint8 [h, w, 3].

    Args:
        columns: pictures in a row.
        scale: how many times as large.
    """
    height, width = (side * scale for side in next(iter(pictures.values())).shape[:2])
    line, font = 24, ImageFont.load_default(16)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, picture) in enumerate(pictures.items()):
        left, top = i % columns * (width + _GAP), i // columns * (height + line)
        sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        middle = (left + width / 2, top + height + line / 2)
        draw.text(middle, name.replace("_", " "), (40, 40, 40), font, anchor="mm")
    return np.array(sheet)
