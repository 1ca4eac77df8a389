"""A small learned policy: a network that sees, and one that remembers and acts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from simedit.config import Config
from simedit.errors import SimeditError, unknown
from simedit.policies.networks import load
from simedit.protocols import Action

MOVE, TURN = 0.1, 0.4
"""The most that a step moves or turns along each axis: metres, radians. What the network says is in these."""
TASKS, DRAWERS = ("open", "close"), ("top", "middle", "bottom")
INSTRUCTIONS = tuple(f"{task} {drawer} drawer" for task in TASKS for drawer in DRAWERS)
_MEMORY = 14
_Size = Annotated[int, Field(gt=0, le=4096)]


class NetworkConfig(Config):
    """The size of a network.

    Attributes:
        width, height: of the frames that it sees, pixels, multiples of 4.
        channels: of its convolutions; the first two halve the frame.
        features: how many numbers it takes from a frame.
        hidden: how many it remembers, or has in each of its two layers if it does not.
        recurrent: whether it remembers anything but its commands.
        told: whether it hears the instruction.
    """

    width: int = Field(default=80, gt=0, le=1024, multiple_of=4)
    height: int = Field(default=64, gt=0, le=1024, multiple_of=4)
    channels: list[_Size] = Field(default=[16, 32, 32, 32, 8], min_length=2, max_length=20)
    features: _Size = 96
    hidden: _Size = 128
    recurrent: bool = True
    told: bool = True


class _FeedForward(nn.Sequential):
    """In place of a recurrent layer: the same call, and nothing to remember."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, None]:
        return super().forward(inputs), None


class Network(nn.Module):
    """From frames, an instruction and what was commanded so far to the next command."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, after in enumerate(config.channels):
            halve = number < 2
            kernel = 5 if number == 0 else 3
            layers += [
                nn.Conv2d(before, after, kernel, stride=2 if halve else 1, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            before = after
        cells = (config.width // 4) * (config.height // 4)
        layers += [nn.Flatten(), nn.Linear(before * cells, config.features), nn.ReLU(inplace=True)]
        eyes: Any = nn.Sequential(*layers)  # Any: torch's types leave out memory formats
        self.eyes = eyes.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self._told = config.told
        inputs = config.features + _MEMORY + config.told * (len(TASKS) + len(DRAWERS))
        self.hand: nn.Module = (
            nn.GRU(inputs, config.hidden, batch_first=True)
            if config.recurrent
            else _FeedForward(inputs, config.hidden)
        )
        self.command = nn.Linear(config.hidden, 8)

    def see(self, frames: Tensor) -> Tensor:
        """Features [N, F] of frames, uint8 [N, H, W, 3] or float32 of the same range."""
        pixels = frames.permute(0, 3, 1, 2).float() / 127.5 - 1  # channels last in memory, as it was
        return self.eyes(pixels)

    def act(
        self, features: Tensor, memory: Tensor, instruction: Tensor, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Commands for B sequences of T steps.

        Args:
            features: [B, T, F].
            memory: [B, T, 14], `remember` of what was commanded before each step.
            instruction: [B, 5], `encode` of each.
            state: what it remembers, [1, B, hidden]; None at an episode's start.

        Returns:
            [B, T, 8]: motion (3) and rotation (3) in units of MOVE and TURN, all that the gripper should have
            closed so far, and the log-odds that the episode is over; and the new state.
        """
        inputs = [features, memory]
        if self._told:
            inputs.append(instruction[:, None].expand(-1, features.shape[1], -1))
        hidden, after = self.hand(torch.cat(inputs, -1), state)
        return self.command(hidden), after


def encode(instruction: str) -> np.ndarray:
    """float32 [5]: which task and which drawer an instruction such as "open top drawer" means.

    Raises:
        SimeditError: any other instruction.
    """
    if instruction not in INSTRUCTIONS:
        raise unknown("instruction", instruction, INSTRUCTIONS)
    task, drawer, _ = instruction.split()
    return np.array([task == name for name in TASKS] + [drawer == name for name in DRAWERS], np.float32)


def remember(commands: np.ndarray) -> np.ndarray:
    """float32 [T + 1, 14]: before each step and after the last, the last command and the sum of all.

    Args:
        commands: float [T, 7], the actions so far.
    """
    scaled = np.concatenate([np.zeros((1, 7)), commands]) / ([MOVE] * 3 + [TURN] * 3 + [1.0])
    return np.concatenate([scaled, scaled.cumsum(0) / ([10.0] * 6 + [1.0])], -1).astype(np.float32)


class ClonedPolicy:
    """A `simedit.protocols.Policy` that acts on frames and on what it has commanded itself; it has no noise.

    Args:
        folder: holds config.json and model.safetensors, which `simedit.policies.networks.save` writes.

    Raises:
        SimeditError: a file is missing, broken, or does not fit the other; a weight is not finite.
    """

    uses_images = True

    def __init__(self, folder: str | Path) -> None:
        self._config, self._network = load(Path(folder), NetworkConfig, Network, "cloned policy")
        self._size = self._config.width, self._config.height
        self._instruction: Tensor | None = None

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode.

        Raises:
            SimeditError: an instruction that is not "open" or "close", a drawer, "drawer".
        """
        self._instruction = torch.from_numpy(encode(instruction))[None]
        self._commands: list[np.ndarray] = []
        self._state: Tensor | None = None

    @torch.inference_mode()
    def act(self, frame: np.ndarray) -> Action:
        """The next action; `frame` is uint8 [H, W, 3] of any size.

        Raises:
            SimeditError: no episode has begun, another dtype or shape, or a network that says NaN.
        """
        if self._instruction is None:
            raise SimeditError("reset the policy with an instruction before it acts")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
            raise SimeditError(
                f"the policy needs a uint8 [H, W, 3] frame, not {frame.dtype} {list(frame.shape)}"
            )
        if frame.shape[1::-1] != self._size:
            frame = cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA)
        features = self._network.see(torch.from_numpy(np.ascontiguousarray(frame))[None])
        commands = np.array(self._commands).reshape(-1, 7)
        memory = torch.from_numpy(remember(commands)[-1:])[None]
        command, self._state = self._network.act(features[None], memory, self._instruction, self._state)
        said = command[0, 0].numpy()
        if not np.isfinite(said).all():
            raise SimeditError("the cloned policy says NaN or infinity: copy or train it again")
        action = Action(
            world_vector=MOVE * said[:3].clip(-1, 1),
            rot_axangle=TURN * said[3:6].clip(-1, 1),
            gripper=float(np.clip(said[6] - commands[:, 6].sum(), -1, 1)),
            terminate=bool(said[7] > 0),
        )
        self._commands.append(action.to_array())
        return action
