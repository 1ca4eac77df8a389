"""Training inputs rendered by the drawer twin, with the exact mask of the cabinet."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from scipy.spatial.transform import Rotation

from simedit import extras
from simedit.envs.drawer.assets import cabinet_urdf, photograph, require, resolve_asset_root, robot_urdf
from simedit.envs.drawer.poses import DRAWERS, POSES
from simedit.envs.drawer.surface import Surface
from simedit.errors import SimeditError
from simedit.training.config import TwinConfig

_VIEW = (640, 512)  # SIMPLER's camera
_OPEN_SHARE = 1 / 3  # of drawers that are open; in an episode it is one of three
_OPEN_MOST = 0.25  # metres


class TwinInputs:
    """Frames of the drawer twin, each with its cabinet's mask; rendered when asked for.

    The poses take turns, each moved by the config's jitter. Each drawer is closed or partly open, and the
    hand is somewhere between its start and the drawers' fronts, as in an episode. A frame depends on the
    seed and its index alone, to the last bit with the raster shader. The camera's view is cut at the centre
    to the asked shape.

    The environment is built for the first frame, which takes seconds, and let go by `close`.

    Args:
        config: how many frames, and how they look.
        width, height: of the frames, pixels.
        seed: 0 or more.

    Raises:
        SimeditError: ManiSkill is not installed or asset files are missing; with the first frame, no Vulkan
            device that can render.
    """

    def __init__(self, config: TwinConfig, width: int, height: int, seed: int) -> None:
        if not extras.has("mani_skill"):
            raise SimeditError(f"inputs from the twin need ManiSkill 3: {extras.install('mani_skill')}")
        files = [robot_urdf(), cabinet_urdf()] if config.skin == "simpler" else []
        files += [photograph(pose) for pose in POSES] if config.overlay else []
        if files:
            require(resolve_asset_root(config.asset_root), files)
        self._config, self._seed = config, seed
        scale = max(width / _VIEW[0], height / _VIEW[1])
        self._rendered = round(_VIEW[0] * scale), round(_VIEW[1] * scale)
        left, top = (self._rendered[0] - width) // 2, (self._rendered[1] - height) // 2
        self._cut = np.s_[top : top + height, left : left + width]
        self._env: gymnasium.Env | None = None

    def __len__(self) -> int:
        return self._config.frames

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The frame, uint8 [height, width, 3], and its mask, bool [height, width], True on the cabinet."""
        if not 0 <= index < len(self):
            raise IndexError(f"there is no input {index}: there are {len(self)}")
        return self.unseen(index - len(self))

    def unseen(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame and its mask that is none of the inputs, for any index from 0."""
        index += len(self)
        if self._env is None:
            self._env = self._build()
        twin: Any = self._env.unwrapped
        random = np.random.default_rng((self._seed, index))
        pose = list(POSES)[index % len(POSES)]
        if self._config.jitter:
            pose = np.add(POSES[pose], random.uniform(-1, 1, 3) * self._config.jitter)
        open_ = random.random(len(DRAWERS)) < _OPEN_SHARE
        extensions = open_ * random.uniform(0, _OPEN_MOST, len(DRAWERS))
        twin.arrange(pose, dict(zip(DRAWERS, extensions, strict=True)))
        _reach(twin, extensions.max(), random)
        seen = twin.get_obs()["sensor_data"]["overhead_camera"]
        ids = seen["segmentation"][0, ..., 0].numpy()[self._cut]
        return seen["rgb"][0].numpy()[self._cut].copy(), np.isin(ids, twin.edit_segmentation_ids)

    def regions(self, number: int) -> dict[str, np.ndarray]:
        return {}

    def surface(self, index: int) -> Surface:
        """The frame and the geometry behind it, as rendered, before the view is cut to the asked shape."""
        self[index]
        twin: Any = self._env and self._env.unwrapped
        return twin.surface()

    def close(self) -> None:
        """Let the environment go; a further frame builds it anew."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _build(self) -> gymnasium.Env:
        config, (width, height) = self._config, self._rendered
        env = gymnasium.make(
            "simedit/Drawer-v1",
            skin=config.skin,
            overlay=config.overlay,
            shader=config.shader,
            asset_root=config.asset_root,
            width=width,
            height=height,
        )
        env.reset()
        return env


def _reach(twin: Any, furthest: float, random: np.random.Generator) -> None:
    """Move the hand from its start part of the way to the front of the drawer that is out furthest.

    The head, and so the camera, stays. Where inverse kinematics fails, so does the arm.
    """
    import sapien

    state, robot = twin.privileged_state(), twin.agent.robot
    hand = state.base @ state.tcp
    front = (state.base @ state.handle)[0, 3] - state.extension + furthest
    goal = np.array([front + 0.02, random.uniform(-0.25, 0.25), random.uniform(0.15, 0.8)])
    hand[:3, 3] += random.random() * (goal - hand[:3, 3])
    hand[:3, :3] = Rotation.from_rotvec(random.uniform(-0.4, 0.4, 3)).as_matrix() @ hand[:3, :3]
    moving = np.array([not joint.name.startswith("joint_head") for joint in robot.active_joints])
    fingers = np.array([joint.name.startswith("joint_finger") for joint in robot.active_joints])
    start = robot.qpos[0].numpy()
    qpos, found, _ = robot.create_pinocchio_model().compute_inverse_kinematics(
        int(robot.links_map["link_gripper_tcp"].index),
        sapien.Pose(np.linalg.inv(state.base) @ hand),
        initial_qpos=start,
        active_qmask=moving & ~fingers,
        max_iterations=100,
    )
    qpos = np.where(found, qpos, start)
    qpos[fingers] = random.uniform(0.0, 1.3)  # open to closed
    robot.set_qpos(qpos.astype(np.float32))
