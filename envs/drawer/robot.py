"""The Google Robot as a ManiSkill 3 agent, with SIMPLER's drives, frictions and overhead camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import sapien
import torch
from mani_skill.agents.base_agent import BaseAgent
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.render import ShaderConfig
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils.sapien_utils import apply_urdf_config, parse_urdf_config
from mani_skill.utils.structs.pose import Pose

from simedit.envs.drawer.controller import ArmControllerConfig, GripperControllerConfig

BASE_HEIGHT = 0.06205 + 0.017
"""Height of the robot base over the world's origin, metres: its own and the ground's."""

START_QPOS = {
    "joint_torso": -0.2639457174606611,
    "joint_shoulder": 0.0831913360274175,
    "joint_bicep": 0.5017611504652179,
    "joint_elbow": 1.156859026208673,
    "joint_forearm": 0.028583671314766423,
    "joint_wrist": 1.592598203487462,
    "joint_gripper": -1.080652960128774,
    "joint_finger_right": 0.0,
    "joint_finger_left": 0.0,
    "joint_head_pan": -0.00285961,
    "joint_head_tilt": 0.7851361,
}
"""Joint positions at the start of an episode, rad. SAPIEN 2 and 3 order joints differently: go by name."""

_FINGERS = ["joint_finger_right", "joint_finger_left"]
_TCP, _CAMERA = "link_gripper_tcp", "link_camera"

_ARM = ArmControllerConfig(
    joint_names=[name for name in START_QPOS if name not in _FINGERS],
    stiffness=[
        1700.0,
        1737.0471680861954,
        979.975871856535,
        930.0,
        1212.154500274304,
        432.96500923932535,
        468.0013365498738,
        2000.0,
        2000.0,
    ],
    damping=[
        1059.9791902443303,
        1010.4720585373592,
        767.2803161582076,
        680.0,
        674.9946964336588,
        274.613381336198,
        340.532560578637,
        900.0,
        900.0,
    ],
    force_limit=[300.0] * 2 + [100.0] * 7,
    # Fitted to recordings of the original: an arm held at its hand is not held at every joint.
    softness=0.2,
    velocity=1.5,
    acceleration=2.0,
    jerk=50.0,
    tcp=_TCP,
)
_GRIPPER = GripperControllerConfig(
    joint_names=_FINGERS,
    stiffness=[200.0] * 2,
    damping=[8.0] * 2,
    force_limit=[60.0] * 2,
    softness=1.0,
    velocity=1.0,
    acceleration=7.0,
    jerk=50.0,
)


# Static and dynamic friction.
_MATERIALS = {"fingers": (2.0, 2.0), "nails": (0.1, 0.1), "base": (0.1, 0.0), "wheels": (1.0, 0.0)}


def _surface(material: str, patch_radius: float = 0.1) -> dict[str, float | str]:
    return {"material": material, "patch_radius": patch_radius, "min_patch_radius": patch_radius}


class GoogleRobot(BaseAgent):
    """The robot of SIMPLER's drawer tasks, its base fixed.

    Args:
        scene: the scene to load into.
        control_freq: control steps a second.
        urdf: the robot's URDF file.
        camera: width, height and shader of the overhead camera.
        initial_pose: world pose of the base.
    """

    uid = "google_robot"
    urdf_config = {
        "_materials": {
            name: {"static_friction": static, "dynamic_friction": dynamic, "restitution": 0.0}
            for name, (static, dynamic) in _MATERIALS.items()
        },
        "link": {
            "link_base": _surface("base"),
            **{
                f"link_{part}_{side}": surface
                for side in ("left", "right")
                for part, surface in (
                    ("wheel", _surface("wheels")),
                    ("finger", _surface("fingers")),
                    ("finger_tip", _surface("fingers")),
                    ("finger_nail", _surface("nails", 0.01)),
                )
            },
        },
    }

    def __init__(
        self,
        scene: ManiSkillScene,
        control_freq: int,
        *,
        urdf: Path,
        camera: CameraConfig,
        initial_pose: sapien.Pose,
    ) -> None:
        self.urdf_path = str(urdf)
        self._camera = camera
        super().__init__(scene, control_freq, initial_pose=initial_pose)

    def _load_articulation(self, initial_pose: sapien.Pose | None = None) -> None:
        loader: Any = self.scene.create_urdf_loader()
        config: Any = self.urdf_config
        loader.name = self.uid
        loader.load_multiple_collisions_from_file = True
        apply_urdf_config(loader, parse_urdf_config(config))
        builder = loader.parse(self.urdf_path)["articulation_builders"][0]
        builder.initial_pose = initial_pose
        _drop_empty_links(builder)
        self.robot = builder.build()
        self.robot_link_names = [link.name for link in self.robot.links]

    @property
    def _controller_configs(self) -> dict:
        # Passive forces are balanced at every simulation step below, as the original does; ManiSkill's own
        # way, switching gravity off, would leave the Coriolis forces in.
        return {"tcp_delta": {"arm": _ARM, "gripper": _GRIPPER, "balance_passive_force": False}}

    @property
    def _sensor_configs(self) -> list[CameraConfig]:
        return [self._camera]

    def _after_init(self) -> None:
        self._body = self.robot._objs[0]

    def before_simulation_step(self) -> None:
        self._body.set_qf(self._body.compute_passive_force())
        super().before_simulation_step()

    @property
    def base_pose(self) -> sapien.Pose:
        """World pose of the base."""
        return self.robot.pose.sp

    @property
    def tcp_pose(self) -> sapien.Pose:
        """Pose of the tool centre point in the base frame."""
        return self.base_pose.inv() * self.robot.links_map[_TCP].pose.sp

    @property
    def start_qpos(self) -> torch.Tensor:
        """START_QPOS in the articulation's order, float32 [1, joints]."""
        return torch.tensor([[START_QPOS[joint.name] for joint in self.robot.active_joints]])


def _drop_empty_links(builder: Any) -> None:
    """Leave out links that hold nothing, such as SIMPLER's sensors on the base.

    PhysX passes every link in each solver iteration. These are fixed to the base: motion stays the same.
    """
    needed = set()
    for link in reversed(builder.link_builders):
        seen = link.visual_records or link.collision_records
        if link.name in (_TCP, _CAMERA) or seen or link.index in needed:
            needed |= {link.index, *([link.parent.index] if link.parent else [])}
    builder.link_builders = [link for link in builder.link_builders if link.index in needed]
    for index, link in enumerate(builder.link_builders):
        link.index = index


def overhead_camera(width: int, height: int, shader: ShaderConfig) -> CameraConfig:
    """SIMPLER's camera on the robot's head; a smaller picture shows the same view."""
    scale = np.diag([width / 640, height / 512, 1.0])
    return CameraConfig(
        uid="overhead_camera",
        pose=Pose.create(sapien.Pose(q=[0.5, 0.5, -0.5, 0.5])),
        width=width,
        height=height,
        near=0.01,
        far=10.0,
        intrinsic=scale @ np.array([[425.0, 0.0, 320.0], [0.0, 425.0, 256.0], [0.0, 0.0, 1.0]]),
        entity_uid=_CAMERA,
        shader_config=shader,
    )
