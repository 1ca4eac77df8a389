"""Behaviour cloning: policies of graded, and differently graded, skill from the expert's demonstrations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional as F

from simedit.errors import SimeditError
from simedit.lab.demonstrations import Demonstration
from simedit.lab.fit import fit
from simedit.lab.recipes import RECIPES, Recipe
from simedit.policies.cloned import MOVE, TURN, Network, NetworkConfig, encode, remember
from simedit.policies.networks import save
from simedit.progress import tracked

_COPIES = 3
"""How many differently disturbed copies of every frame the hand learns from."""
_EYES_BATCH, _HAND_BATCH = 64, 32  # frames, sequences
_EYES_RATE, _HAND_RATE = 5e-3, 1e-2
_Disturb = Callable[[Tensor, np.random.Generator], Tensor]


@dataclass(frozen=True)
class _Data:
    """N frames of B episodes, of at most T steps, in one look each; and M that the eyes learn from.

    These are moved ones, unless a recipe asks for no augmentation: so the hand, which learns from the others,
    learns how far the eyes can be trusted with what they have not learnt.

    Attributes:
        frames: uint8 [N, H, W, 3].
        shown: uint8 [M, H, W, 3].
        poses: float32 [M, 13], what the eyes learn to tell of them; see `_poses`.
        rows: int64 [B, T], each step's frame; beyond an episode's end its last one.
        valid: float32 [B, T], 1 until an episode's end, then 0.
        memory, wanted: float32 [B, T, 14] and [B, T, 8], as `Network.act` takes and gives them.
        instruction: float32 [B, 5].
    """

    frames: Tensor
    shown: Tensor
    poses: Tensor
    rows: Tensor
    valid: Tensor
    memory: Tensor
    wanted: Tensor
    instruction: Tensor


def train_policies(
    demonstrations: Path, out: Path, work: Path, names: Sequence[str], *, cores: int, seed: int = 0
) -> None:
    """Train policies into `out`/NAME, each on one core; those already there are not trained again.

    Args:
        demonstrations: a folder that `simedit.lab.demonstrations.record` filled.
        work: for the trainings' states: one that was stopped goes on.
        names: of RECIPES.
        cores: how many are trained at once.

    Raises:
        SimeditError: no demonstrations, or a broken one.
    """
    missing = [name for name in names if not (out / name / "model.safetensors").is_file()]
    jobs = [(demonstrations, out / name, work / name, RECIPES[name], seed) for name in missing]
    if jobs:
        with get_context("spawn").Pool(min(len(jobs), cores)) as pool:
            for _ in tracked(pool.imap_unordered(_clone, jobs, chunksize=1), "policies", len(jobs)):
                pass


def _clone(job: tuple[Path, Path, Path, Recipe, int]) -> None:
    torch.set_num_threads(1)  # so small a network hardly gains by a second core
    clone(*job)


def clone(demonstrations: Path, out: Path, work: Path, recipe: Recipe, seed: int = 0) -> None:
    """Train one policy and save it to `out`.

    The eyes learn to tell from a frame where tool and cabinet are; then the hand learns the expert's actions
    from what the eyes see, from its commands so far and the instruction.

    Args:
        work: for the training's states: one that was stopped goes on.

    Raises:
        SimeditError: no demonstrations such as the recipe asks for, or a broken one.
    """
    config = NetworkConfig(**recipe.network)
    data = _load(demonstrations, recipe, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, tell = Network(config), nn.Linear(config.features, data.poses.shape[1])
    disturbed = _disturbed if recipe.augmented else _as_they_are
    _train_eyes(network, tell, data, recipe.eyes_steps, disturbed, work / "eyes", seed)
    _train_hand(network, data, recipe.hand_steps, disturbed, work / "hand", seed)
    save(network, config, out)


def _load(folder: Path, recipe: Recipe, config: NetworkConfig) -> _Data:
    def shrunk(frames: np.ndarray) -> np.ndarray:
        size = config.width, config.height
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])

    frames, memory, wanted, instructions = [], [], [], []
    seen, poses = [], []
    paths = sorted(folder.glob("[0-9]*.npz"))
    for path in paths[: math.ceil(recipe.episodes * len(paths))]:
        shown = Demonstration.load(path)
        if str(shown.instruction).split()[0] not in recipe.tasks:
            continue
        for look in np.flatnonzero(np.isin(shown.kitchens, recipe.kitchens)):
            frames.append(shrunk(shown.frames[look]))
            memory.append(remember(shown.done)[:-1])
            wanted.append(_wanted(shown))
            instructions.append(encode(str(shown.instruction)))
            if not recipe.augmented:
                seen.append(frames[-1])
                poses.append(_poses(shown))
        here = np.isin(shown.moved_kitchens, recipe.kitchens)
        if recipe.augmented and here.any():
            seen.append(shrunk(shown.moved_frames[here]))
            poses.append(_poses(shown, "moved_")[here])
    if not frames or not seen:
        wished = f"to {' or '.join(recipe.tasks)} in {', '.join(recipe.kitchens)}"
        raise SimeditError(f"no demonstrations in {folder} show how {wished}: record some first")
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
        shown=torch.from_numpy(np.concatenate(seen)),
        poses=torch.from_numpy(np.concatenate(poses)),
        rows=torch.from_numpy(starts + np.minimum(steps, lengths[:, None] - 1)),
        valid=torch.from_numpy((steps < lengths[:, None]).astype(np.float32)),
        memory=padded(memory),
        wanted=padded(wanted),
        instruction=torch.from_numpy(np.stack(instructions)),
    )


def _poses(shown: Demonstration, kind: str = "") -> np.ndarray:
    """float32 [S, 13], base axes: the tool's place (m) and rotation since the start (rad), the cabinet's x, y
    and yaw, the tool's place from the cabinet, how far the drawer is out. Of the frames or `moved_` ones."""
    tcp, handle, extension = (getattr(shown, f"{kind}{name}") for name in ("tcp", "handle", "extension"))
    out, extension = handle[:, :3, 0], extension[:, None]
    turned = Rotation.from_matrix(tcp[:, :3, :3] @ shown.tcp[0, :3, :3].T).as_rotvec()
    closed = handle[:, :3, 3] - extension * out
    yaw = np.arctan2(-out[:, 1], -out[:, 0])[:, None]  # the cabinet faces the robot
    place = [tcp[:, :3, 3], turned, closed[:, :2], yaw, tcp[:, :3, 3] - closed, extension]
    return np.concatenate(place, 1).astype(np.float32)


def _wanted(shown: Demonstration) -> np.ndarray:
    """float32 [T, 8], as `Network.act` gives it."""
    closed = np.cumsum(shown.right[:, 6])[:, None]  # the gripper is never pushed
    moves, turns = shown.right[:, :3] / MOVE, shown.right[:, 3:6] / TURN
    return np.concatenate([moves, turns, closed, shown.over[:, None]], 1).astype(np.float32)


def _train_eyes(
    network: Network, tell: nn.Module, data: _Data, steps: int, disturbed: _Disturb, folder: Path, seed: int
) -> None:
    mean, spread = data.poses.mean(0), data.poses.std(0) + 1e-3
    module = nn.ModuleList([network.eyes, tell]).train()

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, 0, step))
        rows = torch.from_numpy(random.integers(len(data.shown), size=_EYES_BATCH))
        told = tell(network.see(disturbed(data.shown[rows], random)))
        return F.smooth_l1_loss(told, (data.poses[rows] - mean) / spread, beta=0.1)

    _fit(module, loss, steps, _EYES_RATE, folder)


def _train_hand(
    network: Network, data: _Data, steps: int, disturbed: _Disturb, folder: Path, seed: int
) -> None:
    network.eval()
    random = np.random.default_rng((seed, 1))
    copies = _COPIES if disturbed is _disturbed else 1
    with torch.no_grad():
        seen = torch.cat(
            [network.see(disturbed(some, random)) for _ in range(copies) for some in data.frames.split(256)]
        )

    def loss(step: int) -> Tensor:
        random = np.random.default_rng((seed, 2, step))
        rows = torch.from_numpy(random.integers(len(data.rows), size=_HAND_BATCH))
        copy = torch.from_numpy(random.integers(copies, size=(_HAND_BATCH, 1))) * len(data.frames)
        said, _ = network.act(seen[data.rows[rows] + copy], data.memory[rows], data.instruction[rows])
        wanted, valid = data.wanted[rows], data.valid[rows]
        action = F.smooth_l1_loss(said[..., :7], wanted[..., :7], beta=0.1, reduction="none").mean(-1)
        over = F.binary_cross_entropy_with_logits(said[..., 7], wanted[..., 7], reduction="none")
        return ((action + 0.1 * over) * valid).sum() / valid.sum()

    _fit(nn.ModuleList([network.hand, network.command]), loss, steps, _HAND_RATE, folder)


def _fit(module: nn.Module, loss: Callable[[int], Tensor], steps: int, rate: float, folder: Path) -> None:
    title = f"policy {folder.parent.name}, {folder.name}"
    # A longer average would lag behind the eyes' batch statistics, which are not averaged.
    fit(module, loss, steps=steps, learning_rate=rate, folder=folder, title=title, decay=0.99)


def _disturbed(frames: Tensor, random: np.random.Generator) -> Tensor:
    """Frames a little brighter or darker, in another tint, with more or less contrast; float32, 0 to 255."""

    def normal(channels: int = 1) -> Tensor:
        return torch.from_numpy(random.standard_normal((len(frames), 1, 1, channels), np.float32))

    tint = 1 + 0.08 * normal(3) + 0.1 * normal()
    return (frames.float() * tint + 8 * normal()).clamp(0, 255)


def _as_they_are(frames: Tensor, random: np.random.Generator) -> Tensor:
    return frames
