"""A small policy that draws chunks of actions by flow matching, from one frame and a state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from simedit.config import Config
from simedit.errors import SimeditError, unknown
from simedit.policies.networks import load

_Size = Annotated[int, Field(gt=0, le=4096)]
_GROUP = 8


class FlowConfig(Config):
    """What a network sees and does, and its size.

    Attributes:
        size: of the frames that it sees, pixels, both ways.
        state: key of the observation that holds the state, float [S].
        mean, spread: of the state's numbers and of an action's, which are the same kind of numbers, in the
            observation's units; the network's are these less the mean, by the spread.
        channels: of its convolutions, multiples of 8; the first two halve the frame.
        points: how many places it finds in a frame.
        hidden, blocks: how wide its residual layers are, and how many.
        chunk: how many actions it draws at once.
        execute: how many of them are played before it looks again.
        steps: of Euler's method, from noise to actions.
    """

    size: int = Field(default=96, ge=32, le=1024, multiple_of=4)
    state: str = "agent_pos"
    mean: list[float] = Field(default=[256.0, 256.0], min_length=1, max_length=64)
    spread: list[Annotated[float, Field(gt=0)]] = Field(default=[100.0, 100.0], min_length=1, max_length=64)
    channels: list[Annotated[_Size, Field(multiple_of=_GROUP)]] = Field(
        default=[16, 32, 32, 48], min_length=2, max_length=20
    )
    points: _Size = 32
    hidden: _Size = 128
    blocks: int = Field(default=3, gt=0, le=32)
    chunk: int = Field(default=16, gt=0, le=256)
    execute: int = Field(default=8, gt=0, le=256)
    steps: int = Field(default=8, gt=0, le=1000)

    @model_validator(mode="after")
    def _fitting(self) -> FlowConfig:
        if len(self.spread) != len(self.mean):
            raise ValueError(f"spread has {len(self.spread)} numbers and mean {len(self.mean)}")
        if self.execute > self.chunk:
            raise ValueError(f"execute is {self.execute}, but a chunk has {self.chunk} actions")
        return self


class FlowNetwork(nn.Module):
    """Places in a frame and a state to the velocity that carries noise to actions.

    Source: flow matching, arXiv 2210.02747, with straight paths; a spatial softmax, arXiv 1504.00702.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for number, after in enumerate(config.channels):
            stride, kernel = (2, 5) if number < 2 else (1, 3)
            layers += [
                nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
                nn.GroupNorm(after // _GROUP, after),
                nn.SiLU(inplace=True),
            ]
            before = after
        eyes: Any = nn.Sequential(*layers, nn.Conv2d(before, config.points, 1))
        self.eyes = eyes.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self.chunk, self.numbers, self._steps = config.chunk, len(config.mean), config.steps
        actions = config.chunk * self.numbers
        seen = 3 * config.points + self.numbers
        self.enter = nn.Linear(actions, config.hidden)
        self.condition = nn.Sequential(nn.Linear(seen + 16, config.hidden), nn.SiLU())
        self.blocks = nn.ModuleList(_Block(config.hidden) for _ in range(config.blocks))
        self.leave = nn.Linear(config.hidden, actions)

    def see(self, frames: Tensor) -> Tensor:
        """Features [N, 3 P] of frames, uint8 [N, H, W, 3] or float32 of the same range: where each point is,
        x and y in -1 to 1, and how surely."""
        found = self.eyes(frames.permute(0, 3, 1, 2).float() / 127.5 - 1)
        weights = found.flatten(2).softmax(-1).view_as(found)
        rows, columns = (torch.linspace(-1, 1, side) for side in found.shape[2:])
        x, y = (weights.sum(2) * columns).sum(-1), (weights.sum(3) * rows).sum(-1)
        return torch.cat([x, y, weights.flatten(2).amax(-1)], -1)

    def velocity(self, actions: Tensor, time: Tensor, features: Tensor, state: Tensor) -> Tensor:
        """[N, T, A]: where actions [N, T, A] on their way from noise (time 0) to data (1) go.

        Args:
            time: [N].
            features: [N, 3 P], from `see`.
            state: [N, A].
        """
        waves = time[:, None] * torch.pi * 2.0 ** torch.arange(-1, 7)
        told = self.condition(torch.cat([features, state, waves.sin(), waves.cos()], -1))
        x = self.enter(actions.flatten(1))
        for block in self.blocks:
            x = block(x, told)
        return self.leave(F.silu(x)).view_as(actions)

    def loss(self, frames: Tensor, state: Tensor, actions: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The mean squared error of the velocity, with actions [N, T, A], noise of that shape, time [N]."""
        at = time[:, None, None]
        guess = self.velocity((1 - at) * noise + at * actions, time, self.see(frames), state)
        return F.mse_loss(guess, actions - noise)

    def draw(self, features: Tensor, state: Tensor, noise: Tensor) -> Tensor:
        """Actions [N, T, A] from noise of that shape."""
        actions = noise
        for step in range(self._steps):
            time = torch.full((len(noise),), step / self._steps)
            actions = actions + self.velocity(actions, time, features, state) / self._steps
        return actions


class _Block(nn.Module):
    """A residual layer that a condition scales and shifts."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False)
        self.tell = nn.Linear(hidden, 2 * hidden)
        self.layers = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.tell(told).chunk(2, -1)
        return x + self.layers(self.norm(x) * (1 + scale) + shift)


class FlowPolicy:
    """A `simedit.protocols.Policy` that draws a chunk of actions whenever the last one is played.

    Args:
        folder: holds config.json and model.safetensors, which `simedit.policies.networks.save` writes.

    Raises:
        SimeditError: a file is missing, broken, or does not fit the other; a weight is not finite.
    """

    uses_images = True
    needs = ("frame", "observation")

    def __init__(self, folder: str | Path) -> None:
        self._config, self._network = load(Path(folder), FlowConfig, FlowNetwork, "flow policy")
        self._mean, self._spread = (np.array(v, np.float32) for v in (self._config.mean, self._config.spread))
        self.reset("")

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode. `instruction` is not read: it knows one task."""
        self._noise = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def act(self, seen: dict[str, Any]) -> np.ndarray:
        """The next actions, float32 [T, A].

        Args:
            seen: "frame", uint8 [H, W, 3] of any size, and "observation", which holds the state.

        Raises:
            SimeditError: another frame, no such state, or a network that says NaN.
        """
        config, frame, observation = self._config, seen["frame"], seen["observation"]
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or not frame.size:
            raise SimeditError(
                f"the policy needs a uint8 [H, W, 3] frame, not {frame.dtype} {list(frame.shape)}"
            )
        if config.state not in observation:
            raise unknown("key of the observation", config.state, observation)
        given = np.asarray(observation[config.state], np.float32).ravel()
        if given.shape != self._mean.shape or not np.isfinite(given).all():
            raise SimeditError(
                f"{config.state} should be {len(self._mean)} numbers, all finite, not {given.tolist()}"
            )
        state = (given - self._mean) / self._spread
        shown = torch.from_numpy(shrunk(frame[None], config.size))
        noise = torch.randn(1, config.chunk, len(config.mean), generator=self._noise)
        drawn = self._network.draw(self._network.see(shown), torch.from_numpy(state)[None], noise)[0].numpy()
        if not np.isfinite(drawn).all():
            raise SimeditError("the flow policy says NaN or infinity: copy or train it again")
        return (drawn * self._spread + self._mean)[: config.execute]


def shrunk(frames: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N, size, size, 3] of frames, uint8 [N, H, W, 3], as a flow policy sees them."""
    if frames.shape[1:3] == (size, size):
        return np.ascontiguousarray(frames)
    return np.stack([cv2.resize(f, (size, size), interpolation=cv2.INTER_AREA) for f in frames])
