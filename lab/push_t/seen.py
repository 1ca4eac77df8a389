"""What policies see of a dataset of Push-T, and what they should do: pictures, states, chunks of actions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from simedit.errors import SimeditError, unknown
from simedit.lab.push_t.plan import Source
from simedit.policies.flow import FlowConfig, shrunk


@dataclass(frozen=True)
class Seen:
    """The N frames of a dataset, as a flow policy sees them, and what it should do.

    Attributes:
        frames: uint8 [N, S, S, 3].
        state: float32 [N, A], as the network takes it.
        actions: float32 [N, T, A], the chunk from each frame on, as the network gives it; beyond an episode's
            end its last action.
        episodes: int64 [N], each frame's.
    """

    frames: Tensor
    state: Tensor
    actions: Tensor
    episodes: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, episodes: int) -> Seen:
        """Those of the first episodes alone."""
        rows = torch.from_numpy(self.episodes < self.episodes[0] + episodes)
        return replace(
            self,
            frames=self.frames[rows],
            state=self.state[rows],
            actions=self.actions[rows],
            episodes=self.episodes[rows.numpy()],
        )


class Units(NamedTuple):
    """What a dataset measures the table in: a network takes positions less the mean, by the spread.

    Attributes:
        mean, spread: float64 [A].
    """

    mean: np.ndarray
    spread: np.ndarray


def units_of(source: Source) -> Units:
    """The mean of a dataset's states, and their spread.

    Raises:
        SimeditError: as `positions`, or the states are all the same.
    """
    state, _, _ = positions(source)
    mean, spread = state.mean(0), state.std(0)
    if not (spread > 0).all():
        raise SimeditError(f"{source.dataset}: {source.state} never changes in numbers {source.numbers}")
    return Units(mean, spread)


def positions(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dataset's states and actions, float64 [N, 2] each, and each frame's episode, int64 [N].

    Both are places in the table's plane, in the dataset's units.

    Raises:
        SimeditError: no such column, or it holds no such numbers; a file is missing or broken.
    """
    from simedit.lerobot.reading import needs_pyarrow, parquets, reading_parquet

    needs_pyarrow()
    names = (source.state, source.action, "episode_index")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for path in parquets(source.dataset, "data"):
        with reading_parquet(path) as file:
            for name in columns:
                if name not in file.schema_arrow.names:
                    raise SimeditError(f"{path}: {unknown('column', name, file.schema_arrow.names)}")
            table = file.read(columns=[*columns])
            for name, parts in columns.items():
                parts.append(_numbers(path, name, table.column(name).to_pylist()))
    state, action, episodes = (np.concatenate(columns[name]) for name in names)
    found = []
    for name, values in ((source.state, state), (source.action, action)):
        if values.ndim != 2 or values.shape[1] <= max(source.numbers):
            raise SimeditError(
                f"{source.dataset}: {name} has rows of the shape {values.shape[1:]}, and no numbers "
                f"{source.numbers}"
            )
        found.append(values[:, list(source.numbers)] * source.signs)
    return found[0], found[1] + found[0] if source.relative else found[1], episodes.astype(np.int64)


def cut(frame: np.ndarray, source: Source) -> np.ndarray:
    """The part of a frame, uint8 [H, W, 3], that a policy sees.

    Raises:
        SimeditError: it goes beyond the frame.
    """
    if source.crop is None:
        return frame
    top, left, side = source.crop
    found = frame[top : top + side, left : left + side]
    if found.shape[:2] != (side, side):
        raise SimeditError(
            f"crop {list(source.crop)} goes beyond the frames of {source.dataset}, "
            f"{frame.shape[1]}x{frame.shape[0]} pixels"
        )
    return found


def load_seen(source: Source, config: FlowConfig, units: Units | None = None) -> Seen:
    """Read a dataset.

    Args:
        units: of its positions; by default the config's.

    Raises:
        SimeditError: it is none, or broken, or has no such columns, or not that many episodes.
    """
    from simedit.lerobot.reading import read_dataset
    from simedit.video import read

    dataset = read_dataset(source.dataset, source.camera)
    state, action, episodes = positions(source)
    shown = np.concatenate([file.episodes() for file in dataset.files])  # -1: of no episode
    if not np.array_equal(shown[shown >= 0], episodes):
        raise SimeditError(f"{source.dataset}: its videos and its data have episodes in different orders")
    if source.first > episodes[-1]:
        raise SimeditError(f"{source.dataset} has no episode {source.first}, its last is {episodes[-1]}")
    rows = episodes >= source.first
    read_out = (frame for file in dataset.files for frame in read(file.video))
    frames = [
        shrunk(cut(frame, source)[None], config.size)
        for frame, of in zip(read_out, shown, strict=True)
        if of >= source.first
    ]
    mean, spread = units or Units(np.array(config.mean), np.array(config.spread))
    ends = np.searchsorted(episodes, episodes, side="right") - 1
    ahead = np.minimum(np.arange(len(episodes))[:, None] + np.arange(config.chunk), ends[:, None])
    return Seen(
        frames=torch.from_numpy(np.concatenate(frames)),
        state=torch.from_numpy(((state[rows] - mean) / spread).astype(np.float32)),
        actions=torch.from_numpy(((action[ahead[rows]] - mean) / spread).astype(np.float32)),
        episodes=episodes[rows],
    )


def _numbers(path: Path, name: str, values: list) -> np.ndarray:
    try:
        found = np.array(values, np.float64)
    except (ValueError, TypeError) as error:
        raise SimeditError(f"{path}: the column {name} holds no rows of equally many numbers") from error
    if not np.isfinite(found).all():
        raise SimeditError(f"{path}: the column {name} has numbers that are not finite")
    return found
