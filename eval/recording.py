"""Pictures of a few trials: which ones, and the strips and videos made of them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from simedit.coding import Coding
from simedit.drafts import whole
from simedit.eval.trials import Trial
from simedit.video import Timing, writing

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
    """The `count` trials to picture, edited ones if there are any, over styles, policies and scenes."""
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
    """Where a trial's strip is written in the run folder. No two trials share a file, on any file system."""
    return folder / "media" / f"{_name(trial)}.png"


def video_path(folder: Path, trial: Trial) -> Path:
    """Where a trial's video is written in the run folder. No two trials share a file."""
    return folder / "media" / f"{_name(trial)}.mp4"


def recorded(path: Path, trial: Trial) -> Path:
    """Where the trial's strip or video lies: at `path`, or where simedit 0.1 put it."""
    before = path.with_name(f"{_readable(trial)}{path.suffix}")
    return before if not path.exists() and len(os.fsencode(before.name)) < 256 and before.exists() else path


def save_strip(recording: Recording, path: Path) -> None:
    """Write the strip as PNG; the file appears whole or not at all.

    Raises:
        SimeditError: it cannot be written.
    """
    with whole(path) as draft:
        Image.fromarray(recording.strip()).save(draft)


def save_video(recording: Recording, path: Path) -> None:
    """Write the video as H.264, yuv420p: every browser plays it. The file appears whole or not at all.

    Raises:
        SimeditError: it cannot be written.
    """
    frames = recording.video()
    with writing(path, frames[0].shape[:2], Timing.steady(len(frames), FPS), coding=Coding(crf=25)) as write:
        for frame in frames:
            write(frame)


def _name(trial: Trial) -> str:
    # What can be read is cut and loses its signs, on some file systems its capitals: the digits tell.
    t = trial
    parts = (t.policy, t.task, *t.scene.split("/"), t.domain, t.variant, t.style, t.seed)
    key = "\0".join(map(str, parts))
    readable = _readable(trial).encode()[:100].decode(errors="ignore")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def _readable(trial: Trial) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in str(trial))
