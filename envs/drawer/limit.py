"""The step limit of environments whose answers are tensors."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from gymnasium.utils import RecordConstructorArgs


class TensorTimeLimit(gym.Wrapper, RecordConstructorArgs):
    """Turns the plain `True` of gymnasium's TimeLimit below it into a tensor like `terminated`, bool [1].

    Args:
        env: answers with tensors; where TimeLimit stands in between, it has the last word on `truncated`.
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        found: Any = self.env.step(action)
        obs, reward, terminated, truncated, info = found
        # ManiSkill's own limit looks for the number in the caller's frames: no spec can make it anew.
        return obs, reward, terminated, torch.full_like(terminated, bool(truncated)), info
