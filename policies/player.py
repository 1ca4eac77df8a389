"""Any object that acts, as a rollout plays it: asked when it is its turn, one checked action at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence, Set
from typing import Any

import numpy as np

from simedit.errors import SimeditError, shortened, unknown
from simedit.protocols import NEEDS, Action

_ROBOT = 7
"""Numbers of an `Action`."""


class Player:
    """Plays a policy that someone else wrote; a `simedit.protocols.Policy` itself, giving single actions.

    Args:
        policy: has `reset(instruction, *, seed)` and `act(seen)`; see `simedit.protocols.Policy` for what
            `act` may return and for the attributes `needs` and `uses_images`, which it may lack.
        execute: how many steps of a chunk are played before it is asked again; None plays each to its end,
            or as the policy itself does, where that is a Player.
        size: how many numbers the environment takes at each step; None takes as many as the policy gives.

    Raises:
        SimeditError: it has no such methods, or needs what is not known.
    """

    def __init__(self, policy: Any, *, execute: int | None = None, size: int | None = _ROBOT) -> None:
        if isinstance(policy, Player):  # it may have been made before the environment was known
            policy, execute = policy._policy, policy._execute if execute is None else execute
        for method in ("reset", "act"):
            if not callable(getattr(policy, method, None)):
                raise SimeditError(
                    f"a {type(policy).__name__} is no policy, for it has no {method}(): a policy has "
                    "reset(instruction, *, seed) and act(frame)"
                )
        self.uses_images: bool = bool(getattr(policy, "uses_images", True))
        self.needs: tuple[str, ...] = _needs(policy)
        self._policy, self._execute, self._size = policy, execute, size
        self._ahead: deque[Action | np.ndarray] = deque()

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode: what is left of a chunk is forgotten."""
        self._ahead.clear()
        self._policy.reset(instruction, seed=seed)

    def act(self, seen: Any) -> Action | np.ndarray:
        """The next action: of the last chunk, while there is one.

        Returns:
            an `Action` of 7 numbers, else float32 [size].

        Raises:
            SimeditError: what the policy returned is no action, not finite, or fewer steps than `execute`.
        """
        if not self._ahead:
            self._ahead.extend(_actions(self._policy.act(seen), self._execute, self._size))
        return self._ahead.popleft()


def _needs(policy: Any) -> tuple[str, ...]:
    found = getattr(policy, "needs", ("frame",))
    if not isinstance(found, str | Sequence | Set):
        raise SimeditError(f"a policy's needs are names such as 'frame', not {shortened(repr(found))}")
    needs = (found,) if isinstance(found, str) else tuple(found)
    for need in needs:
        if need not in NEEDS:
            raise unknown("need", need, NEEDS)
    return needs


def _actions(answer: Any, execute: int | None, size: int | None) -> list[Any]:
    """What is to be played of a policy's answer, all of it finite numbers."""
    whole = isinstance(answer, Action)
    numbers = _numbers(answer.to_array() if whole else answer, size)
    one = numbers.ndim == 1 or (numbers.ndim == 0 and size == 1)
    steps = numbers.reshape(1, -1) if one else numbers
    if steps.ndim != 2 or not steps.size or steps.shape[1] != (size or steps.shape[1]):
        raise SimeditError(f"its action should be {_expected(size)}, not of shape {list(numbers.shape)}")
    if execute is not None and len(steps) < execute:
        raise SimeditError(
            f"it gave {len(steps)} step{'s' * (len(steps) > 1)} at once, but execute is {execute}: "
            f"set execute to at most {len(steps)}, or leave it out to play all that it gives"
        )
    played = steps[:execute]
    for number, step in enumerate(played):
        if not np.isfinite(step).all():
            where = f"step {number} of its chunk" if len(steps) > 1 else "its action"
            raise SimeditError(f"{where} is not {len(step)} finite numbers: {step.tolist()}")
    if whole:
        bool(answer.terminate)  # here, for it may be anything
        return [answer]
    robot = steps.shape[1] == _ROBOT
    return [Action(step[:3], step[3:6], float(step[6])) if robot else step for step in played]


def _expected(size: int | None) -> str:
    if size is None:
        return "an Action, numbers [D] or a chunk [T, D] of them"
    if size == _ROBOT:
        return "an Action, 7 numbers (world_vector, rot_axangle, gripper) or a chunk [T, 7] of them"
    return f"{size} number{'s' * (size > 1)} or a chunk [T, {size}] of them"


def _numbers(answer: Any, size: int | None) -> np.ndarray:
    if hasattr(answer, "detach"):  # a torch tensor; there are dtypes of which NumPy knows nothing
        answer = answer.detach().float().cpu()
    try:
        if answer is None:  # to NumPy a number
            raise TypeError
        if np.asarray(answer).dtype.kind not in "biuf":
            raise TypeError
        with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, and is refused
            return np.asarray(answer, np.float32)
    except (TypeError, ValueError):
        found = "None" if answer is None else f"a {type(answer).__name__}: {_shown(answer)}"
        raise SimeditError(f"its action should be {_expected(size)}, not {found}") from None


def _shown(answer: Any) -> str:
    return " ".join(shortened(repr(answer), 80).split())
