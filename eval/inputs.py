"""Training inputs from the videos that a study recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simedit.errors import SimeditError
from simedit.eval.recording import recorded, video_path
from simedit.eval.store import Store
from simedit.eval.trials import Result
from simedit.training.config import RunConfig
from simedit.training.data import fit
from simedit.video import probe, read


class RunInputs:
    """Unedited frames of a run folder's videos, without masks, in the order of the videos' names.

    A video of the domain "edited" has the edit to the right of the frame; its left half is taken. All frames
    are read at once into memory: at 256x256, 0.2 MB each.

    Args:
        config: the folder, and which frames.
        width, height: of the frames, pixels.

    Raises:
        SimeditError: no such folder, no results or no videos in it, or a damaged video.
    """

    def __init__(self, config: RunConfig, width: int, height: int) -> None:
        folder = Path(config.path)
        if not folder.is_dir():
            raise SimeditError(f"there is no run folder {folder}")
        with Store(folder, write=False) as store:
            results = store.results()
        videos = {recorded(video_path(folder, trial), trial): result for trial, result in results.items()}
        self._frames = [
            fit(frame, width, height)
            for path in sorted(filter(Path.is_file, videos))
            for frame in _unedited(path, videos[path])[:: config.every]
        ]
        if not self._frames:
            raise SimeditError(
                f"{folder} holds no videos: run the study with report.videos above 0, into a new folder, "
                "for a finished trial is not recorded again"
            )

    def unseen(self, index: int, /) -> None:
        return None

    def regions(self, number: int, /) -> dict[str, np.ndarray]:
        return {}

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> tuple[np.ndarray, None]:
        """The frame, uint8 [height, width, 3], and no mask."""
        return self._frames[index], None


def _unedited(path: Path, result: Result) -> list[np.ndarray]:
    frames = list(read(probe(path)))
    if len(frames) <= result.steps:  # one before each step, one after the last
        raise SimeditError(
            f"the video {path} is damaged: it holds {len(frames)} of {result.steps + 1} frames"
        )
    if result.trial.domain == "edited":
        return [frame[:, : frame.shape[1] // 2] for frame in frames]
    return frames
