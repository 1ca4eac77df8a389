"""Behaviour cloning: four policies of graded skill from the expert's demonstrations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional as F

from simedit.envs.drawer.kitchens import KITCHENS
from simedit.errors import SimeditError
from simedit.lab.demonstrations import Demonstration
from simedit.policies.cloned import MOVE, TURN, Network, NetworkConfig, encode, remember, save
from simedit.progress import tracked

_COPIES = 3
"""How many differently disturbed copies of every frame the hand learns from."""
_EYES_BATCH, _HAND_BATCH = 64, 32  # frames, sequences


@dataclass(frozen=True)
class Recipe:
    """How a policy is trained.

    Attributes:
        eyes_steps, hand_steps: of the optimiser, first for the network that sees, then for the one that acts.
        kitchens: those whose pictures it learns from.
    """

    eyes_steps: int
    hand_steps: int
    kitchens: tuple[str, ...] = tuple(KITCHENS)


RECIPES = {
    "last": Recipe(6000, 2500),
    "half": Recipe(6000, 2500, tuple(KITCHENS)[::2]),
    "early": Recipe(600, 600),
    "begin": Recipe(20, 20),
}


@dataclass(frozen=True)
class _Data:
    """N frames of B episodes, of at most T steps, in one look each; and M moved ones.

    The eyes learn from the moved frames alone: so the hand, which learns from the others, learns how far the
    eyes can be trusted with what they have not learnt.

    Attributes:
        frames: uint8 [N, H, W, 3].
        moved: uint8 [M, H, W, 3].
        poses: float32 [M, 13], what the eyes learn to tell of them; see `_poses`.
        rows: int64 [B, T], each step's frame; beyond an episode's end its last one.
        valid: float32 [B, T], 1 until an episode's end, then 0.
        memory, wanted: float32 [B, T, 14] and [B, T, 8], as `Network.act` takes and gives them.
        instruction: float32 [B, 5].
    """

    frames: Tensor
    moved: Tensor
    poses: Tensor
    rows: Tensor
    valid: Tensor
    memory: Tensor
    wanted: Tensor
    instruction: Tensor


def train_policies(demonstrations: Path, out: Path, *, seed: int = 0) -> None:
    """Train the policies of RECIPES into `out`/NAME, a core each; those already there are not trained again.

    Args:
        demonstrations: a folder that `simedit.lab.demonstrations.record` filled.

    Raises:
        SimeditError: no demonstrations, or a broken one.
    """
    jobs = [(demonstrations, out / name, recipe, seed) for name, recipe in RECIPES.items()]
    missing = [job for job in jobs if not (job[1] / "model.safetensors").is_file()]
    if not missing:
        return
    with get_context("spawn").Pool(min(len(missing), os.cpu_count() or 1)) as pool:
        for _ in tracked(pool.imap_unordered(_clone, missing), "policies, side by side", len(missing)):
            pass


def _clone(job: tuple[Path, Path, Recipe, int]) -> None:
    torch.set_num_threads(1)  # so small a network hardly gains by a second core
    demonstrations, folder, recipe, seed = job
    clone(demonstrations, folder, recipe, seed=seed)


def clone(
    demonstrations: Path,
    folder: Path,
    recipe: Recipe,
    *,
    config: NetworkConfig | None = None,
    seed: int = 0,
    stepped: Callable[[float], None] = lambda loss: None,
) -> None:
    """Train one policy and save it to `folder`.

    The eyes learn to tell from a frame where tool and cabinet are; then the hand, a recurrent network, learns
    the expert's actions from what the eyes see, from its commands so far and the instruction.

    Args:
        config: of the network, None for the default.
        stepped: hears each step's loss.

    Raises:
        SimeditError: no demonstrations in the recipe's kitchens, or a broken one.
    """
    config = config or NetworkConfig()
    torch.manual_seed(seed)
    data = _load(demonstrations, recipe.kitchens, config)
    network = Network(config)
    for loss in _train_eyes(network, data, recipe.eyes_steps):
        stepped(loss)
    for loss in _train_hand(network, data, recipe.hand_steps):
        stepped(loss)
    save(network, config, folder)


def _load(folder: Path, kitchens: tuple[str, ...], config: NetworkConfig) -> _Data:
    def shrunk(frames: np.ndarray) -> np.ndarray:
        size = config.width, config.height
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])

    frames, memory, wanted, instructions = [], [], [], []
    moved, poses = [], []
    for path in sorted(folder.glob("[0-9]*.npz")):
        shown = Demonstration.load(path)
        for look in np.flatnonzero(np.isin(shown.kitchens, kitchens)):
            frames.append(shrunk(shown.frames[look]))
            memory.append(remember(shown.done)[:-1])
            wanted.append(_wanted(shown))
            instructions.append(encode(str(shown.instruction)))
        here = np.isin(shown.moved_kitchens, kitchens)
        if here.any():
            moved.append(shrunk(shown.moved_frames[here]))
            poses.append(_poses(shown)[here])
    if not frames or not moved:
        raise SimeditError(f"no demonstrations in {folder} show {', '.join(kitchens)}: record some first")
    lengths = np.array([len(sequence) for sequence in frames])
    steps = np.arange(lengths.max())
    starts = (lengths.cumsum() - lengths)[:, None]

    def padded(sequences: list[np.ndarray]) -> Tensor:
        last = [np.repeat(s[-1:], lengths.max() - len(s), 0) for s in sequences]
        return torch.from_numpy(
            np.stack([np.concatenate(both) for both in zip(sequences, last, strict=True)])
        )

    return _Data(
        frames=torch.from_numpy(np.concatenate(frames)),
        moved=torch.from_numpy(np.concatenate(moved)),
        poses=torch.from_numpy(np.concatenate(poses)),
        rows=torch.from_numpy(starts + np.minimum(steps, lengths[:, None] - 1)),
        valid=torch.from_numpy((steps < lengths[:, None]).astype(np.float32)),
        memory=padded(memory),
        wanted=padded(wanted),
        instruction=torch.from_numpy(np.stack(instructions)),
    )


def _poses(shown: Demonstration) -> np.ndarray:
    """float32 [S, 13], base axes: the tool's place (m) and rotation since the start (rad), the cabinet's x, y
    and yaw, the tool's place from the cabinet, how far the drawer is out."""
    tcp, out, extension = shown.moved_tcp, shown.moved_handle[:, :3, 0], shown.moved_extension[:, None]
    turned = Rotation.from_matrix(tcp[:, :3, :3] @ shown.tcp[0, :3, :3].T).as_rotvec()
    closed = shown.moved_handle[:, :3, 3] - extension * out
    yaw = np.arctan2(-out[:, 1], -out[:, 0])[:, None]  # the cabinet faces the robot
    place = [tcp[:, :3, 3], turned, closed[:, :2], yaw, tcp[:, :3, 3] - closed, extension]
    return np.concatenate(place, 1).astype(np.float32)


def _wanted(shown: Demonstration) -> np.ndarray:
    """float32 [T, 8], as `Network.act` gives it."""
    closed = np.cumsum(shown.right[:, 6])[:, None]  # the gripper is never pushed
    moves, turns = shown.right[:, :3] / MOVE, shown.right[:, 3:6] / TURN
    return np.concatenate([moves, turns, closed, shown.over[:, None]], 1).astype(np.float32)


def _train_eyes(network: Network, data: _Data, steps: int) -> Iterator[float]:
    mean, spread = data.poses.mean(0), data.poses.std(0) + 1e-3
    tell = nn.Linear(network.hand.input_size - data.memory.shape[-1] - data.instruction.shape[-1], len(mean))
    parameters = [*network.eyes.parameters(), *tell.parameters()]
    network.train()
    for learn in _optimise(parameters, steps, rate=2e-3):
        rows = torch.randint(len(data.moved), (_EYES_BATCH,))
        told = tell(network.see(_disturbed(data.moved[rows])))
        yield learn(F.smooth_l1_loss(told, (data.poses[rows] - mean) / spread, beta=0.1))


def _train_hand(network: Network, data: _Data, steps: int) -> Iterator[float]:
    network.eval()
    with torch.inference_mode():
        copies = [
            torch.cat([network.see(_disturbed(some)) for some in data.frames.split(256)])
            for _ in range(_COPIES)
        ]
    seen = torch.cat(copies).clone()
    parameters = [*network.hand.parameters(), *network.command.parameters()]
    for learn in _optimise(parameters, steps, rate=3e-3):
        rows = torch.randint(len(data.rows), (_HAND_BATCH,))
        copy = torch.randint(_COPIES, (_HAND_BATCH, 1)) * len(data.frames)
        said, _ = network.act(seen[data.rows[rows] + copy], data.memory[rows], data.instruction[rows])
        wanted, valid = data.wanted[rows], data.valid[rows]
        action = F.smooth_l1_loss(said[..., :7], wanted[..., :7], beta=0.1, reduction="none").mean(-1)
        over = F.binary_cross_entropy_with_logits(said[..., 7], wanted[..., 7], reduction="none")
        yield learn(((action + 0.1 * over) * valid).sum() / valid.sum())


def _optimise(
    parameters: list[nn.Parameter], steps: int, *, rate: float
) -> Iterator[Callable[[Tensor], float]]:
    """For each step a function that takes it, given the loss, and gives the loss back."""
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1, (step + 1) / 100) * (1 + math.cos(math.pi * step / steps)) / 2
    )

    def learn(loss: Tensor) -> float:
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        return loss.item()

    for _ in range(steps):
        yield learn


def _disturbed(frames: Tensor) -> Tensor:
    """Frames a little brighter or darker, in another tint, with more or less contrast; float32, 0 to 255."""
    count = len(frames)
    tint = 1 + 0.08 * torch.randn(count, 1, 1, 3) + 0.1 * torch.randn(count, 1, 1, 1)
    return ((frames.float() * tint) + 8 * torch.randn(count, 1, 1, 1)).clamp(0, 255)
