"""SIMPLER's drawer tasks as a ManiSkill 3 environment: the drawer twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import sapien
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.render import PREBUILT_SHADER_CONFIGS, ShaderConfig
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs.types import DefaultMaterialsConfig, SceneConfig, SimConfig
from simedit.envs.assets import (
    ROBOT_VARIANTS,
    cabinet_urdf,
    photograph,
    require,
    resolve_asset_root,
    robot_urdf,
)
from simedit.envs.poses import CLOSE_START, POSES, Pose, check_task, find_pose, succeeded
from simedit.envs.robot import BASE_HEIGHT, GoogleRobot, overhead_camera

from simedit.errors import SimeditError, unknown
from simedit.protocols import DrawerState

CAMERA = "overhead_camera"
SKINS = ("primitive", "simpler")
SHADERS = ("default", "rt")

_CABINET_POSE = sapien.Pose([-0.295, 0.0, 0.017])
_HANDLE = sapien.Pose([0.3425, 0.0, 0.02])
_NO_VULKAN = (
    "no Vulkan device can render: install a GPU driver with Vulkan, or Mesa's software driver lavapipe >= 25.0 "
    "(on Debian and Ubuntu the package mesa-vulkan-drivers; on Debian 12 from bookworm-backports)"
)


class DrawerEnv(BaseEnv):
    """The Google Robot before a cabinet of three drawers; `gym.make("simedit/Drawer-v1", ...)`.

    An action is float32 [7]: the tool centre point's delta position (m) and delta rotation (axis-angle, rad), both
    in robot base axes, and the gripper in [-1, 1], +1 closing. One step is a third of a second.

    An observation is ManiSkill's dict of tensors with a leading batch of 1: `sensor_data/overhead_camera` holds
    `rgb` uint8 [1, H, W, 3], `depth` int16 [1, H, W, 1] (mm) and `segmentation` int16 [1, H, W, 1]; `agent` the
    joints and the controllers' state; `extra/tcp_pose` the tool centre point in the base frame.

    `info` holds `success` bool [1], the task's test at this very step, which ends no episode; `drawer_extension`
    float64 [1], metres; `pose` float64 [1, 3], x, y (m) and extra yaw (rad) as the simulator has them.

    `reset(options={"pose": ..., "task": ..., "drawer": ...})` applies any of the three; the others stay as they
    were. A pose is a name or (x, y, yaw). The seed changes nothing: the scene has no randomness.

    Args:
        task: "open" or "close".
        drawer: "top", "middle" or "bottom".
        pose: a name from "a0" to "c2", or (x, y, yaw).
        skin: "primitive" (shipped with the package) or "simpler" (original meshes, from an asset root).
        asset_root: a checkout of ManiSkill2_real2sim; None looks where `assets.resolve_asset_root` says.
        shader: "default" (raster) or "rt" (ray traced; slow without a GPU).
        overlay: lay SIMPLER's photograph of the pose over what is neither robot nor cabinet (Visual Matching).
        width, height: size of the camera frame; the view stays the same.
        robot_variant: "" or a texture variant of the robot, skin "simpler" only.
        render_mode: None, or ManiSkill's "rgb_array" (a third-person view) or "human".

    Raises:
        SimeditError: an unknown name, missing assets, or no Vulkan device that can render.

    Source: SIMPLER (arXiv 2405.05941), its drawer tasks.
    """

    def __init__(
        self,
        *,
        task: str = "open",
        drawer: str = "top",
        pose: str | Sequence[float] = "a0",
        skin: str = "primitive",
        asset_root: str | Path | None = None,
        shader: str = "default",
        overlay: bool = False,
        width: int = 640,
        height: int = 512,
        robot_variant: str = "",
        render_mode: str | None = None,
    ) -> None:
        if skin not in SKINS:
            raise unknown("skin", skin, SKINS)
        if shader not in SHADERS:
            raise unknown("shader", shader, SHADERS)
        if width < 1 or height < 1:
            raise SimeditError(f"the frame must have at least one pixel, not {width}x{height}")
        self._overlay = overlay
        self._flat = skin == "simpler" and shader == "default"
        self._task, self._drawer, self._pose = task, drawer, pose
        self._aim({})
        self._robot_urdf, self._cabinet_urdf = _skin_files(skin, asset_root, robot_variant)
        self._photographs = _load_photographs(asset_root, width, height) if overlay else {}
        device = _render_device()
        self._camera = overhead_camera(width, height, _shader(shader, device))
        super().__init__(
            num_envs=1,
            obs_mode="rgb+depth+segmentation",
            reward_mode="sparse",
            render_mode=render_mode,
            sim_backend="physx_cpu",
            render_backend=device,
        )

    def _aim(self, options: dict[str, Any]) -> None:
        """Take task, drawer and pose from `options`; what is wrong is refused before anything changes."""
        task, drawer = options.get("task", self._task), options.get("drawer", self._drawer)
        pose = options.get("pose", self._pose)
        check_task(task, drawer)
        base = find_pose(pose)
        if self._overlay and not isinstance(pose, str):
            raise SimeditError(f"overlay needs a pose that has a photograph ({', '.join(POSES)}), not {base}")
        self._task, self._drawer, self._pose, self._base = task, drawer, pose, base

    # What the scene holds

    @property
    def _default_sim_config(self) -> SimConfig:
        return SimConfig(
            sim_freq=513,
            control_freq=3,
            scene_config=SceneConfig(
                contact_offset=0.02,
                solver_position_iterations=25,
                solver_velocity_iterations=1,
                enable_pcm=False,
            ),
            default_materials_config=DefaultMaterialsConfig(1.0, 1.0, 0.0),
        )

    @property
    def _default_human_render_camera_configs(self) -> CameraConfig:
        view = sapien_utils.look_at([1.6, 1.2, 1.6], [0.1, 0.0, 0.6])
        return CameraConfig("render_camera", pose=view, width=512, height=512, fov=1.0)

    def _load_agent(self, options: dict[str, Any]) -> None:
        self.agent = GoogleRobot(
            self.scene,
            self._control_freq,
            urdf=self._robot_urdf,
            camera=self._camera,
            initial_pose=_base_pose(self._base),
        )

    def _load_scene(self, options: dict[str, Any]) -> None:
        loader = self.scene.create_urdf_loader()
        loader.name = "cabinet"
        loader.fix_root_link = True
        builder = loader.parse(str(self._cabinet_urdf))["articulation_builders"][0]
        builder.initial_pose = _CABINET_POSE
        cabinet = builder.build()
        self._drawers = [joint.name.removesuffix("_drawer_joint") for joint in cabinet.active_joints]
        self._cabinet = cabinet._objs[0]
        if self._flat:
            for shape in _render_shapes(self._cabinet):
                # SAPIEN 2's raster shader gave boxes the ambient light (1, 1, 1) alone.
                shape.material.emission = shape.material.base_color
                shape.material.base_color = [0.0, 0.0, 0.0, 1.0]
        for joint in self._cabinet.active_joints:
            joint.set_friction(0.05)
            joint.set_drive_properties(stiffness=0.0, damping=1.0)
        ground = self.scene.create_actor_builder()
        ground.add_box_visual(
            half_size=[10.0, 10.0, 0.017],
            material=sapien.render.RenderMaterial(base_color=[1.0, 1.0, 1.0, 1.0]),
        )
        ground.initial_pose = sapien.Pose()
        ground.build_static(name="ground")

    def _load_lighting(self, options: dict[str, Any]) -> None:
        self.scene.set_ambient_light([1.0, 1.0, 1.0])
        angle = math.radians(75)
        self.scene.add_directional_light([-math.cos(angle), 0.0, -math.sin(angle)], [1.0, 1.0, 1.0])

    # Episodes

    def reset(
        self, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; see the class for `options`."""
        self._aim(options or {})
        return super().reset(seed=seed, options=options)

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        self.agent.place(_base_pose(self._base))
        start = CLOSE_START if self._task == "close" else 0.0
        qpos = np.zeros(3, dtype=np.float32)
        qpos[self._drawer_index] = start
        self._cabinet.set_qpos(qpos)
        self._cabinet.set_qvel(np.zeros(3, dtype=np.float32))

    def step(
        self, action: np.ndarray | torch.Tensor
    ) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, dict]:
        """Run one control step; never terminates an episode.

        Raises:
            SimeditError: an action that is not seven finite numbers.
        """
        action = torch.as_tensor(action, dtype=torch.float32)
        if action.numel() != 7 or not torch.isfinite(action).all():
            raise SimeditError(f"an action is seven finite numbers, not {action.tolist()}")
        obs, reward, success, truncated, info = super().step(action.reshape(1, 7))
        return obs, reward, torch.zeros_like(success), truncated, info

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Success, drawer extension and pose, read back from the simulator."""
        p, q = self.agent.base_pose.p, self.agent.base_pose.q
        yaw = math.remainder(2 * math.atan2(q[3], q[0]) - math.pi, 2 * math.pi)
        return {
            "success": torch.tensor([succeeded(self._task, self._extension)]),
            "drawer_extension": torch.tensor([self._extension], dtype=torch.float64),
            "pose": torch.tensor([[p[0], p[1], yaw]], dtype=torch.float64),
        }

    @property
    def _drawer_index(self) -> int:
        return self._drawers.index(self._drawer)

    @property
    def _extension(self) -> float:
        return float(self._cabinet.qpos[self._drawer_index])

    # What is seen and known

    def _get_obs_extra(self, info: dict[str, Any]) -> dict[str, torch.Tensor]:
        pose = self.agent.tcp_pose
        return {"tcp_pose": torch.from_numpy(np.concatenate([pose.p, pose.q]))[None]}

    def _get_obs_sensor_data(
        self, apply_texture_transforms: bool = True
    ) -> dict[str, dict[str, torch.Tensor]]:
        data = super()._get_obs_sensor_data(apply_texture_transforms)
        if self._overlay:
            seen = data[CAMERA]
            ids = torch.tensor(
                self.edit_segmentation_ids + _segmentation_ids(self.agent.robot._objs[0]),
                device=seen["segmentation"].device,
            )
            photograph = self._photographs[self._pose].to(seen["rgb"].device)
            seen["rgb"] = torch.where(torch.isin(seen["segmentation"], ids), seen["rgb"], photograph)
        return data

    @property
    def instruction(self) -> str:
        """What a language-conditioned policy is told, e.g. "open top drawer"."""
        return f"{self._task} {self._drawer} drawer"

    @property
    def edit_segmentation_ids(self) -> tuple[int, ...]:
        """The segmentation ids of the cabinet: what an edit may repaint."""
        return _segmentation_ids(self._cabinet)

    def privileged_state(self) -> DrawerState:
        """The true state, for scripted policies."""
        base = self.agent.base_pose
        drawer = self._cabinet.active_joints[self._drawer_index].child_link
        return DrawerState(
            tcp=self.agent.tcp_pose.to_transformation_matrix(),
            handle=(base.inv() * drawer.pose * _HANDLE).to_transformation_matrix(),
            base=base.to_transformation_matrix(),
            extension=self._extension,
            task=self._task,
            drawer=self._drawer,
        )


def _base_pose(pose: Pose) -> sapien.Pose:
    half = (math.pi + pose.yaw) / 2
    return sapien.Pose([pose.x, pose.y, BASE_HEIGHT], [math.cos(half), 0.0, 0.0, math.sin(half)])


def _render_shapes(articulation: sapien.physx.PhysxArticulation) -> list[sapien.render.RenderShape]:
    bodies = [link.entity.find_component_by_type(sapien.render.RenderBodyComponent) for link in articulation.links]
    return [shape for body in bodies for shape in body.render_shapes]


def _segmentation_ids(articulation: sapien.physx.PhysxArticulation) -> tuple[int, ...]:
    return tuple(link.entity.per_scene_id for link in articulation.links)


def _skin_files(skin: str, asset_root: str | Path | None, robot_variant: str) -> tuple[Path, Path]:
    """The URDF files of the robot and of the cabinet."""
    variants = tuple(name or "" for name in ROBOT_VARIANTS)
    if robot_variant not in variants:
        raise unknown("robot_variant", robot_variant, variants)
    if skin == "primitive":
        if robot_variant:
            raise SimeditError(
                f"robot_variant {robot_variant!r} needs skin='simpler': the primitive robot has one look"
            )
        folder = Path(str(resources.files("simedit.envs"))) / "primitive"
        return folder / "google_robot.urdf", folder / "mk_station.urdf"
    root = resolve_asset_root(asset_root)
    files = robot_urdf(robot_variant or None), cabinet_urdf()
    require(root, files)
    return root / files[0], root / files[1]


def _load_photographs(asset_root: str | Path | None, width: int, height: int) -> dict[str, torch.Tensor]:
    """Every pose's photograph, uint8 [height, width, 3]."""
    root = resolve_asset_root(asset_root)
    require(root, [photograph(name) for name in POSES])
    pictures = {}
    for name in POSES:
        picture = cv2.cvtColor(cv2.imread(str(root / photograph(name))), cv2.COLOR_BGR2RGB)
        # SIMPLER's own way from file to frame, whose rounding makes some values one less.
        picture = cv2.resize(picture / 255, (width, height)).astype(np.float32)
        pictures[name] = torch.from_numpy((picture * 255).astype(np.uint8))
    return pictures


def _render_device() -> str:
    """ManiSkill's name of a device that renders: the GPU if its driver can, else the CPU."""
    try:
        if sapien.Device("cuda").can_render():
            return "sapien_cuda"
    except RuntimeError:
        pass  # no CUDA device at all
    try:
        sapien.render.RenderSystem(sapien.Device("cpu"))
    except RuntimeError as error:
        raise SimeditError(_NO_VULKAN) from error
    return "sapien_cpu"


def _shader(name: str, device: str) -> ShaderConfig:
    shader = PREBUILT_SHADER_CONFIGS[name]
    if name == "rt":
        # SIMPLER's settings; the denoiser needs CUDA.
        denoiser = "optix" if device == "sapien_cuda" else "none"
        settings = {"ray_tracing_path_depth": 8, "ray_tracing_denoiser": denoiser}
        shader = replace(shader, shader_pack_config={**shader.shader_pack_config, **settings})
    return shader
