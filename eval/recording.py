"""Pictures of a few trials: which ones, and the strips and videos made of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from simedit.eval.trials import Trial

MAX_WIDTH = 320
STRIP_FRAMES = 5
FPS = 10


@dataclass
class Recording:
    """The frames of one episode, shrunk to at most 320 pixels wide.

    Attributes:
        raw: what the renderer drew, uint8 [h, w, 3] each.
        edited: what the policy saw, where that is another picture; else empty.
    """

    raw: list[np.ndarray] = field(default_factory=list)
    edited: list[np.ndarray] = field(default_factory=list)

    def add(self, seen: np.ndarray, raw: np.ndarray | None) -> None:
        """Keep a frame: what the policy saw, and the unedited frame where there is one; uint8 [H, W, 3]."""
        self.raw.append(_shrunk(seen if raw is None else raw))
        if raw is not None:
            self.edited.append(_shrunk(seen))

    def strip(self) -> np.ndarray:
        """A few frames from first to last in a row, the edited ones beneath; uint8 [H, W, 3]."""
        chosen = np.linspace(0, len(self.raw) - 1, STRIP_FRAMES).round().astype(int)
        rows = [frames for frames in (self.raw, self.edited) if frames]
        return np.concatenate([np.concatenate([row[i] for i in chosen], 1) for row in rows], 0)

    def video(self) -> list[np.ndarray]:
        """Every frame, with its edit to the right; uint8 [h, w, 3] each."""
        if not self.edited:
            return self.raw
        return [np.concatenate(pair, 1) for pair in zip(self.raw, self.edited, strict=True)]


def _shrunk(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if width > MAX_WIDTH:
        height, width = round(height * MAX_WIDTH / width), MAX_WIDTH
    # The video codec needs even sides.
    size = (max(2, width - width % 2), max(2, height - height % 2))
    return (
        frame.copy() if size == frame.shape[1::-1] else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    )


def chosen_trials(wanted: Iterable[Trial], count: int) -> list[Trial]:
    """The `count` trials to picture, edited ones if there are any, spread over styles, policies and poses."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in wanted:
        groups.setdefault((trial.domain, trial.style), []).append(trial)
    edited = [group for (domain, _), group in groups.items() if domain == "edited"]
    shown = edited or list(groups.values())
    # Each round of styles steps a golden section further through a style's trials.
    picks = (
        group[int(len(group) * (index * 0.6180339887 % 1))]
        for index, group in enumerate(itertools.islice(itertools.cycle(shown), count))
    )
    return list(dict.fromkeys(picks))


def strip_path(folder: Path, trial: Trial) -> Path:
    """Where a trial's strip lies in the run folder."""
    return folder / "media" / f"{_slug(trial)}.png"


def video_path(folder: Path, trial: Trial) -> Path:
    """Where a trial's video lies in the run folder."""
    return folder / "media" / f"{_slug(trial)}.mp4"


def save_strip(recording: Recording, path: Path) -> None:
    """Write the strip as PNG; the file appears whole or not at all."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f"draft-{path.name}")
    Image.fromarray(recording.strip()).save(draft)
    draft.replace(path)


def save_video(recording: Recording, path: Path) -> None:
    """Write the video as H.264, yuv420p: every browser plays it. The file appears whole or not at all."""
    import imageio.v2 as imageio

    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f"draft-{path.name}")
    encoding: dict[str, Any] = {"codec": "libx264", "pixelformat": "yuv420p", "macro_block_size": 2}
    frames: Any = recording.video()  # Any: imageio's own annotation refuses arrays
    imageio.mimwrite(draft, frames, fps=FPS, **encoding)
    draft.replace(path)


def _slug(trial: Trial) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in str(trial))
