"""Behaviour cloning of Push-T: one small flow policy for every kind of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simedit.lab.fit import fit
from simedit.lab.push_t.seen import Seen
from simedit.policies.flow import FlowConfig, FlowNetwork

BATCH = 128
_RATE = 3e-3
_SHIFT = 3
"""Pixels that a frame is moved by at most, each way, while it is learned from."""
_AT_ONCE = 256
Look = Callable[[Tensor, Tensor, np.random.Generator], Tensor]
"""(frames uint8 [B, S, S, 3], their rows int64 [B], numbers) -> frames float32 or uint8 of that shape: how
frames look while they are learned from."""


def new_network(config: FlowConfig, seed: int) -> FlowNetwork:
    """Untrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FlowNetwork(config)


def train(
    network: FlowNetwork,
    seen: Seen,
    *,
    steps: int,
    folder: Path,
    seed: int,
    look: Look | None = None,
    rate: float = _RATE,
) -> None:
    """Train in place, for so many batches of `BATCH` frames.

    Args:
        folder: for the training's state: one that was stopped goes on.
        look: by default frames look as they are, but for light and tint.
    """
    look = look or as_they_are

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, step))
        rows = torch.from_numpy(random.integers(len(seen), size=BATCH))
        return _loss(network, seen, rows, look, random)

    fit(network, loss, steps=steps, learning_rate=rate, folder=folder, title=folder.name)


def one_pass(
    network: FlowNetwork, seen: Seen, *, batch: int, seed: int, every: int, rate: float = 1e-3
) -> Iterator[int]:
    """Train in place on each frame once, in a random order; yields how many were learned from, every so many
    of them and at the end. As figure 8 of the earlier version (right) has it."""
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0)
    order = torch.from_numpy(np.random.default_rng((seed, 3)).permutation(len(seen)))
    reported = 0
    for number, rows in enumerate(order.split(batch)):
        random = np.random.default_rng((seed, 4, number))
        optimizer.zero_grad()
        _loss(network, seen, rows, as_they_are, random).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        done = number * batch + len(rows)
        if done - reported >= every or done == len(seen):
            reported = done
            yield done


def _loss(network: FlowNetwork, seen: Seen, rows: Tensor, look: Look, random: np.random.Generator) -> Tensor:
    frames = _moved(look(seen.frames[rows], rows, random), random)
    actions = seen.actions[rows]
    noise = torch.from_numpy(random.standard_normal(actions.shape, np.float32))
    time = torch.from_numpy(random.random(len(rows), np.float32))
    return network.loss(frames, seen.state[rows], actions, noise, time)


@torch.inference_mode()
def errors(network: FlowNetwork, seen: Seen, *, execute: int, seed: int = 0) -> np.ndarray:
    """The mean squared error of the actions that would be played, float64 [E], one an episode.

    Actions are in units of the config's spread; each frame's chunk is drawn once, its noise from the seed and
    the frame's number.

    Args:
        execute: how many actions of a chunk are played.
    """
    noise = torch.from_numpy(np.random.default_rng((seed, 5)).standard_normal(seen.actions.shape, np.float32))
    each = []
    for rows in torch.arange(len(seen)).split(_AT_ONCE):
        drawn = network.draw(network.see(seen.frames[rows]), seen.state[rows], noise[rows])
        each.append((drawn - seen.actions[rows])[:, :execute].square().mean((1, 2)).numpy())
    found = np.concatenate(each).astype(np.float64)
    of = seen.episodes - seen.episodes[0]
    return np.bincount(of, found) / np.bincount(of)


def as_they_are(frames: Tensor, rows: Tensor, random: np.random.Generator) -> Tensor:
    """Frames a little brighter or darker, and in another tint; float32, 0 to 255."""

    def normal(channels: int) -> Tensor:
        return torch.from_numpy(random.standard_normal((len(frames), 1, 1, channels), np.float32))

    return (frames.float() * (1 + 0.05 * normal(3) + 0.08 * normal(1)) + 6 * normal(1)).clamp(0, 255)


class Coloured:
    """Each region in a random colour with a random cloudy texture: what is done where nobody knows how the
    real world looks (arXiv 1703.06907).

    Args:
        regions: int64 [N, S, S], the number of the region that each pixel of each frame shows.
    """

    def __init__(self, regions: Tensor) -> None:
        self._regions, self._count = regions, int(regions.max()) + 1

    def __call__(self, frames: Tensor, rows: Tensor, random: np.random.Generator) -> Tensor:
        count, side = len(frames), frames.shape[1]
        colours = torch.from_numpy(random.uniform(0, 255, (count, self._count, 3)).astype(np.float32))
        coarse = torch.from_numpy(random.standard_normal((count, 3, 12, 12), np.float32))
        cloudy = F.interpolate(coarse, (side, side), mode="bilinear").permute(0, 2, 3, 1)
        strength = torch.from_numpy(random.uniform(0, 40, (count, 1, 1, 1)).astype(np.float32))
        painted = torch.stack([colours[i][self._regions[row].long()] for i, row in enumerate(rows)])
        return as_they_are((painted + strength * cloudy).clamp(0, 255), rows, random)


def _moved(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Frames moved by a few pixels, float32 [B, S, S, 3]; what comes in is as the border was."""
    side = frames.shape[1]
    wide = F.pad(frames.permute(0, 3, 1, 2), [_SHIFT] * 4, mode="replicate").permute(0, 2, 3, 1)
    at = random.integers(2 * _SHIFT + 1, size=(len(frames), 2)).tolist()
    return torch.stack([w[y : y + side, x : x + side] for w, (y, x) in zip(wide, at, strict=True)])
