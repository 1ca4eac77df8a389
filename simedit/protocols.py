"""The protocols through which the editor, the policies, the environments and the evaluation meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np

from simedit.errors import SimeditError


class Editor(Protocol):
    """Repaints frames. `simedit.library.SpecialistLibrary` is the real one."""

    @property
    def styles(self) -> tuple[str, ...]:
        """The names that `edit` accepts."""
        ...

    def edit(
        self,
        frames: Any,
        *,
        styles: Sequence[str],
        masks: Any = None,
        seeds: Sequence[int],
    ) -> Any:
        """Repaint each frame in its own style.

        Frames are NumPy arrays, their masks and edits too. The wrappers give frames that lie on a GPU as
        torch tensors: masks and edits are then tensors on the same device.

        Args:
            frames: uint8 [N, H, W, 3], RGB.
            styles: N style names.
            masks: bool [N, H, W], True where an edit may show (composition `mask`); None shows the
                whole edit (composition `none`, the paper's). Or a mapping from a region's name to such masks,
                where a style may be a recipe; "" is then the mask of those that have no region.
            seeds: N integers; frame i's noise depends on seeds[i] alone.

        Returns:
            uint8 [N, H, W, 3].

        Raises:
            SimeditError: unknown style, a region without a mask, or a wrong shape or dtype.
        """
        ...


@dataclass(frozen=True)
class Action:
    """What a policy asks of the Google Robot for one control step (SIMPLER's action format).

    Attributes:
        world_vector: float32 [3], change of the tool centre point's position, metres, robot base axes.
        rot_axangle: float32 [3], change of its rotation, axis-angle, radians, robot base axes.
        gripper: in [-1, 1]; +1 closes.
        terminate: the policy ends the episode.
    """

    world_vector: np.ndarray
    rot_axangle: np.ndarray
    gripper: float
    terminate: bool = False

    def to_array(self) -> np.ndarray:
        """float32 [7]: the environment's action (terminate is the rollout's business)."""
        return np.concatenate([self.world_vector, self.rot_axangle, [self.gripper]]).astype(np.float32)


NEEDS = ("frame", "proprioception", "cameras", "observation")
"""What a policy may ask to see."""


class Proprioception(TypedDict):
    """What a robot knows of itself.

    joint_positions: float32 [J], radians, of the active joints.
    gripper: 0 open to 1 closed.
    tool_pose: float32 [7], the tool centre point in robot base axes: x, y, z (metres), quaternion w, x, y, z.
    """

    joint_positions: np.ndarray
    gripper: float
    tool_pose: np.ndarray


class PolicyLost(SimeditError):
    """What plays the policy went away in the middle of an episode, which may be tried again."""


class PolicyAway(SimeditError):
    """What plays the policy cannot be had: no episode of it can begin."""


class Policy(Protocol):
    """Acts in one environment at a time.

    It may have an attribute `needs`, some of `NEEDS`. Unless that is ("frame",), or there is none, what it
    sees is a dict with these keys: "frame", the frame; "proprioception", a `Proprioception`; "cameras", the
    frame of each camera by its name; "observation", all that the environment gives, as NumPy arrays.
    """

    uses_images: bool
    """False for a policy that does not look at frames: its success says nothing about them."""

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        """Start an episode. `instruction` is e.g. "open top drawer"; `seed` fixes the policy's own noise.

        Raises:
            PolicyAway: it cannot be had now. Like PolicyLost, this says nothing of the policy.
        """
        ...

    def act(self, seen: Any, /) -> Any:
        """Choose the next action.

        Args:
            seen: the frame, uint8 [H, W, 3] RGB, or a dict of what it `needs`.

        Returns:
            an `Action`, or an array or tensor [7] (world_vector, rot_axangle, gripper), which never
            terminates, or a chunk of such, [T, 7], to be played in order. In an environment of another
            action space as many numbers as that takes, [D] or [T, D].

        Raises:
            PolicyLost: the episode cannot go on, through no fault of the policy's.
        """
        ...


@dataclass(frozen=True)
class DrawerState:
    """The twin's privileged state, for scripted policies. Poses are 4x4 homogeneous matrices, metres.

    Attributes:
        tcp: [4, 4] pose of the tool centre point in the robot base frame.
        handle: [4, 4] pose of the target drawer's link in the robot base frame, moved to its handle.
        base: [4, 4] pose of the robot base in the world.
        extension: how far the target drawer is out, metres.
        task: "open" or "close".
        drawer: "top", "middle" or "bottom".
    """

    tcp: np.ndarray
    handle: np.ndarray
    base: np.ndarray
    extension: float
    task: str
    drawer: str
