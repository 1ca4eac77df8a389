"""SIMPLER's drawer tasks as a ManiSkill 3 environment: the drawer twin."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import torch
from PIL import Image

from simedit import extras
from simedit.errors import SimeditError

try:
    import sapien
    from mani_skill.envs.sapien_env import BaseEnv
    from mani_skill.render import PREBUILT_SHADER_CONFIGS, ShaderConfig
    from mani_skill.utils.structs import Articulation
    from mani_skill.utils.structs.types import DefaultMaterialsConfig, SceneConfig, SimConfig
except ModuleNotFoundError as error:
    raise SimeditError(
        f"the drawer twin needs ManiSkill 3 ({error}): {extras.install('mani_skill')}"
    ) from error
from simedit.arrays import whole_number
from simedit.envs.drawer.assets import (
    CABINETS,
    ROBOT_VARIANTS,
    ROOMS,
    cabinet_urdf,
    photograph,
    require,
    resolve_asset_root,
    robot_urdf,
    room_mesh,
)
from simedit.envs.drawer.checks import check_action, check_options, check_sizes
from simedit.envs.drawer.poses import (
    CLOSE_START,
    DRAWERS,
    HANDLE,
    POSES,
    Pose,
    check_task,
    find_pose,
    instruction,
    succeeded,
)
from simedit.envs.drawer.proprioception import proprioception
from simedit.envs.drawer.robot import BASE_HEIGHT, GoogleRobot, overhead_camera
from simedit.envs.drawer.scenery import (
    LIGHTS,
    add_cabinet,
    add_ground,
    add_lights,
    add_plain_room,
    add_room,
    polish,
    recolour,
    show_ambient_only,
)
from simedit.envs.drawer.surface import CABINET, GROUND, NOTHING, ROBOT, Surface, normals
from simedit.errors import SimeditError, unknown
from simedit.protocols import DrawerState, Proprioception

SKINS = ("primitive", "simpler")
SHADERS = ("default", "rt")
DENOISERS = ("auto", "none", "oidn", "optix")

# Metres. Shapes nearer to each other than twice this are contacts for the solver, which passes all of them 60
# times a simulation step, pressing or not: with SIMPLER's 0.02 ten times as many as press. What touches at
# 3 m/s is seen before it does (at 0.5 m/s with boxes, whose many corners cost more; else half a millimetre
# or so later).
_CONTACT_OFFSETS = {"primitive": 0.0005, "simpler": 0.003}

# What `reset` takes as options: ours, then ManiSkill's.
_OPTIONS = ("pose", "task", "drawer", "reconfigure", "env_idx", "reset_to_env_states")

_NO_VULKAN = (
    "no Vulkan device can render: install a GPU driver with Vulkan, or Mesa's lavapipe >= 25.0"
    " (on Debian and Ubuntu the package mesa-vulkan-drivers; on Debian 12 from bookworm-backports)"
)
_FORKED = (
    "this process was forked from one whose renderer is in use, which would hang: start it with 'spawn' (for"
    " gymnasium's vector environments vector_kwargs={'context': 'spawn'}, or AsyncVectorEnv's 'context')"
)


class DrawerEnv(BaseEnv):
    """The Google Robot before a cabinet of three drawers; `gym.make("simedit/Drawer-v1", ...)`.

    An action is float32 [7]: the tool centre point's delta position (m) and delta rotation (axis-angle,
    rad), both in robot base axes, and the gripper in [-1, 1], +1 closing. A step is a third of a second.

    An observation is ManiSkill's dict of tensors with a leading batch of 1. `sensor_data/overhead_camera`
    holds `rgb` uint8 [1, H, W, 3], `depth` int16 [1, H, W, 1] (mm) and `segmentation` int16 [1, H, W, 1];
    `agent` the joints and the controllers' state; `extra/tcp_pose` the tool centre point in the base frame.

    `info` holds `success` bool [1], the task's test at this very step, which ends no episode;
    `drawer_extension` float64 [1], metres; `pose` float64 [1, 3], x, y (m) and extra yaw (rad) as the
    simulator has them.

    `reset(options={"pose": ..., "task": ..., "drawer": ...})` applies any of the three; the others stay as
    they were. A pose is a name or (x, y, yaw). The seed changes nothing: the scene has no randomness, and
    an episode's result depends on its actions alone.

    Args:
        task: "open" or "close".
        drawer: "top", "middle" or "bottom".
        pose: a name from "a0" to "c2", or (x, y, yaw).
        skin: "primitive" (shipped with the package) or "simpler" (original meshes, from an asset root).
        asset_root: a checkout of ManiSkill2_real2sim; None looks where `assets.resolve_asset_root` says.
        shader: "default" (raster) or "rt" (ray traced; slow without a GPU).
        overlay: lay SIMPLER's photograph of the pose over all but robot and cabinet (Visual Matching).
        width, height: size of the camera frame; the view stays the same.
        robot_variant: "" or a texture variant of the robot, skin "simpler" only.
        cabinet: one of `assets.CABINETS`; in skin "primitive" one cabinet in three colours.
        room: "" (a white floor) or one of `assets.ROOMS`; in skin "primitive" a floor and a wall of other
            colours in each. In a room the robot has the sheen that SIMPLER gives it in Variant Aggregation.
        light: "simple" (Visual Matching), or Variant Aggregation's "base", "brighter" or "darker".
        samples_per_pixel: of the ray tracer; SIMPLER takes 32.
        denoiser: of the ray tracer: "none", "oidn", "optix", or "auto": optix on an NVIDIA GPU, elsewhere
            none, for both need CUDA.
        render_mode: None, or "rgb_array": `render()` gives the camera's last frame, uint8 [H, W, 3]. As
            gymnasium does it, "human" shows those in a window (HumanRendering).

    Raises:
        SimeditError: an unknown name, missing assets, a denoiser without CUDA, or no Vulkan device that can
            render.

    Source: SIMPLER (arXiv 2405.05941), its drawer tasks.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 3}
    cabinet: Articulation
    agent: GoogleRobot
    _open: weakref.WeakSet[DrawerEnv] = weakref.WeakSet()

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
        cabinet: str = CABINETS[0],
        room: str = "",
        light: str = "simple",
        samples_per_pixel: int = 32,
        denoiser: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        for kind, name, known in (
            ("skin", skin, SKINS),
            ("shader", shader, SHADERS),
            ("light", light, LIGHTS),
            ("denoiser", denoiser, DENOISERS),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        check_sizes(width, height, samples_per_pixel)
        self._overlay = overlay
        self._ambient_only = skin == "simpler" and shader == "default" and light == "simple"
        self._skin, self._room, self._light = skin, room, light
        self._recolour = cabinet if skin == "primitive" else ""
        self._task, self._drawer, self._pose = task, drawer, pose
        self._aim({})
        files = _skin_files(skin, asset_root, robot_variant, cabinet, room)
        self._robot_urdf, self._cabinet_urdf, self._room_mesh = files
        self._photographs = _load_photographs(asset_root, width, height) if overlay else {}
        self._device = device = _render_device()
        self._camera = overhead_camera(width, height, _shader(shader, device, samples_per_pixel, denoiser))
        super().__init__(
            obs_mode="rgb+depth+segmentation",
            reward_mode="sparse",
            render_mode=render_mode,
            sim_backend="physx_cpu",
            render_backend=device,
            # PhysX keeps the order of earlier contacts, and with it the last bits of a result, for as long
            # as the scene lives: only a new scene makes an episode independent of those before it.
            reconfiguration_freq=1,
        )

    def _aim(self, options: dict[str, Any]) -> None:
        """Take task, drawer and pose from `options`; what is wrong is refused before anything changes."""
        task, drawer = options.get("task", self._task), options.get("drawer", self._drawer)
        pose = options.get("pose", self._pose)
        check_task(task, drawer)
        base = find_pose(pose)
        if self._overlay and not isinstance(pose, str):
            raise SimeditError(f"overlay needs a pose with a photograph ({', '.join(POSES)}), not {base}")
        self._task, self._drawer, self._pose, self._base = task, drawer, pose, base

    # What the scene holds

    @property
    def _default_sim_config(self) -> SimConfig:
        # SIMPLER asks PhysX 4's TGS solver for 25 iterations. PhysX 5's pushes the arm about where the closed
        # fingers press on each other; its PGS solver comes closest to the original (benchmarks/parity.py).
        scene = SceneConfig(
            contact_offset=_CONTACT_OFFSETS[self._skin],
            solver_position_iterations=60,
            enable_tgs=False,
            enable_pcm=False,
        )
        friction = DefaultMaterialsConfig(static_friction=1.0, dynamic_friction=1.0, restitution=0.0)
        return SimConfig(sim_freq=513, control_freq=3, scene_config=scene, default_materials_config=friction)

    def _load_agent(self, options: dict[str, Any]) -> None:
        self.agent = GoogleRobot(
            self.scene,
            self._control_freq,
            urdf=self._robot_urdf,
            camera=self._camera,
            initial_pose=_base_pose(self._base),
        )

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.cabinet = add_cabinet(self.scene, self._cabinet_urdf)
        if self._ambient_only:
            show_ambient_only(self.cabinet)
        if self._recolour:
            recolour(self.cabinet, self._recolour)
        if not self._room:
            return add_ground(self.scene)
        if self._room_mesh is None:
            add_plain_room(self.scene, self._room)
        else:
            add_room(self.scene, self._room, self._room_mesh)
        polish(self.agent.robot)

    def _load_lighting(self, options: dict[str, Any]) -> None:
        add_lights(self.scene, self._light)

    # Episodes

    def reset(
        self, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode; the class says what `options` can hold.

        Raises:
            SimeditError: an unknown pose, task, drawer or option, or a seed that is no whole number.
        """
        check_options(options, _OPTIONS)
        seeds = [] if seed is None else [whole_number("a seed", s) for s in np.atleast_1d(seed).tolist()]
        if len(seeds) > 1:
            raise SimeditError(f"one environment takes one seed, got {len(seeds)}")
        self._aim(options or {})
        self._open.add(self)
        _hold_renderer(self._device)
        for one in seeds:
            gym.Env.reset(self, seed=one)  # seeds np_random, as gymnasium's checks want
        # ManiSkill's own generators take seeds of 32 bits.
        return super().reset(seed=[one % 2**32 for one in seeds] or None, options=options)

    def _clear(self) -> None:
        # ManiSkill lets the garbage collector find the old scene, which with models loaded takes most of a
        # reset's time. Taken apart, it goes at once, and with it what it holds of the renderer.
        scene = self.scene
        self.scene = self.agent = self.cabinet = None  # pyright: ignore[reportAttributeAccessIssue]
        self._sensors, self._human_render_cameras, self._hidden_objects = {}, {}, []
        if scene is not None:
            for body in (*scene.actors.values(), *scene.articulations.values()):
                for part in (*getattr(body, "links", ()), *getattr(body, "joints", ()), body):
                    vars(part).clear()
            vars(scene).clear()

    def close(self) -> None:
        """Let the scene go; closing again does nothing, and `reset` begins anew."""
        self._clear()
        self._open.discard(self)

    def render(self) -> np.ndarray | None:
        """The camera's last frame, uint8 [H, W, 3]; None without a render mode."""
        return None if self.render_mode is None else self._frame.copy()

    def get_info(self) -> dict[str, Any]:
        info = super().get_info()
        return {**info, "elapsed_steps": info["elapsed_steps"].clone()}  # else it counts on in old answers

    def get_sensor_params(self) -> dict[str, Any]:
        found = super().get_sensor_params()
        return {name: {key: value.clone() for key, value in one.items()} for name, one in found.items()}

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        self.agent.reset(self.agent.start_qpos)
        extensions = torch.zeros(1, len(self.cabinet.active_joints))
        extensions[0, self._drawer_index] = CLOSE_START if self._task == "close" else 0.0
        self.cabinet.set_qpos(extensions)

    def arrange(self, pose: str | Sequence[float], extensions: Mapping[str, float]) -> None:
        """Put the robot at a pose, its joints at their start, and the drawers where they should be, at once.

        For pictures alone, which `get_obs` then takes: they equal those of a reset, a tenth as dear. What a
        new scene gives an episode it does not give; `reset` first.

        Args:
            pose: as in `reset`.
            extensions: metres by drawer, all three.

        Raises:
            SimeditError: an unknown pose.
        """
        self._aim({"pose": pose})
        self.agent.robot.set_pose(_base_pose(self._base))
        self.agent.robot.set_qpos(self.agent.start_qpos)
        names = [joint.name.removesuffix("_drawer_joint") for joint in self.cabinet.active_joints]
        self.cabinet.set_qpos(torch.tensor([[extensions[name] for name in names]], dtype=torch.float32))

    def step(
        self, action: np.ndarray | torch.Tensor
    ) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Run one control step; never terminates an episode.

        Raises:
            SimeditError: an action that is not seven finite numbers, or the environment is closed.
        """
        if self.scene is None:
            raise SimeditError("the environment is closed: reset() it, or make another")
        asked = torch.from_numpy(check_action(action))
        obs, reward, success, truncated, info = super().step(asked[None])
        return obs, reward.float(), torch.zeros_like(success), truncated, info

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Success, drawer extension and pose, read back from the simulator."""
        (x, y, _), (w, _, _, z) = self.agent.base_pose.p, self.agent.base_pose.q
        yaw = math.remainder(2 * math.atan2(z, w) - math.pi, 2 * math.pi)
        return {
            "success": torch.tensor([succeeded(self._task, self._extension)]),
            "drawer_extension": torch.tensor([self._extension], dtype=torch.float64),
            "pose": torch.tensor([[x, y, yaw]], dtype=torch.float64),
        }

    @property
    def _drawer_index(self) -> int:
        return int(self.cabinet.active_joints_map[f"{self._drawer}_drawer_joint"].active_index)

    @property
    def _extension(self) -> float:
        return self.cabinet.qpos[0, self._drawer_index].item()

    # What is seen and known

    def _get_obs_extra(self, info: dict[str, Any]) -> dict[str, torch.Tensor]:
        pose = self.agent.tcp_pose
        return {"tcp_pose": torch.from_numpy(np.concatenate([pose.p, pose.q]))[None]}

    def _get_obs_sensor_data(self, apply_texture_transforms: bool = True) -> dict[str, Any]:
        self.scene.update_render(update_sensors=True, update_human_render_cameras=False)
        self.capture_sensor_data()
        # SAPIEN's own arrays: turning them by way of ManiSkill's tensors can take as long as rendering them.
        sensor: Any = self._sensors["overhead_camera"]
        camera = sensor.camera._render_cameras[0]
        color, position, ids = map(camera.get_picture, ("Color", "Position", "Segmentation"))
        rgb = _bytes(color)
        segmentation = ids[..., 1:2].astype(np.int16)
        if self._overlay:
            bodies = _segmentation_ids(self.cabinet) + _segmentation_ids(self.agent.robot)
            keep = np.isin(segmentation, bodies)
            rgb = cv2.copyTo(rgb, keep.view(np.uint8), self._photographs[str(self._pose)].copy())
        self._frame = rgb
        seen = {
            "rgb": rgb,
            "depth": -(position[..., 2:3] * 1000).astype(np.int16),
            "segmentation": segmentation,
        }
        return {"overhead_camera": {name: torch.from_numpy(array)[None] for name, array in seen.items()}}

    def surface(self) -> Surface:
        """The frame of the last observation and the geometry behind it, for whoever paints it anew."""
        sensor: Any = self._sensors["overhead_camera"]
        camera = sensor.camera._render_cameras[0]
        color, position, ids = map(camera.get_picture, ("Color", "Position", "Segmentation"))
        ids = ids[..., 1].astype(np.int16)
        world_from_gl = camera.get_model_matrix()
        world = position[..., :3] @ world_from_gl[:3, :3].T + world_from_gl[:3, 3]
        world[ids == 0] = np.nan
        kind = np.where(ids == 0, NOTHING, GROUND).astype(np.uint8)
        kind[np.isin(ids, _segmentation_ids(self.agent.robot))] = ROBOT
        part, local = np.full(ids.shape, -1, np.int16), world.copy()
        links = self.cabinet.links_map
        drawers = [f"{drawer}_drawer" for drawer in DRAWERS]
        body = [name for name in links if name not in drawers]
        for number, names in enumerate([body, *([drawer] for drawer in drawers)]):
            for link in (links[name] for name in names):
                here = ids == int(link.per_scene_id[0])
                kind[here], part[here] = CABINET, number
                inverse = link.pose.sp.inv().to_transformation_matrix()
                local[here] = world[here] @ inverse[:3, :3].T + inverse[:3, 3]
        return Surface(
            rgb=_bytes(color),
            kind=kind,
            part=part,
            local=local.astype(np.float32),
            world=world.astype(np.float32),
            normal=normals(world, world_from_gl[:3, 3]).astype(np.float32),
            camera=world_from_gl @ np.diag([1.0, -1.0, -1.0, 1.0]),
            focal=float(camera.get_intrinsic_matrix()[0, 0]),
        )

    @property
    def instruction(self) -> str:
        """What a language-conditioned policy is told, e.g. "open top drawer"."""
        return instruction(self._task, self._drawer)

    @property
    def edit_segmentation_ids(self) -> tuple[int, ...]:
        """The segmentation ids of the cabinet: what an edit may repaint."""
        return _segmentation_ids(self.cabinet)

    def privileged_state(self) -> DrawerState:
        """The true state, for scripted policies."""
        base = self.agent.base_pose
        drawer = self.cabinet.links_map[f"{self._drawer}_drawer"].pose.sp
        return DrawerState(
            tcp=self.agent.tcp_pose.to_transformation_matrix(),
            handle=(base.inv() * drawer * sapien.Pose(HANDLE)).to_transformation_matrix(),
            base=base.to_transformation_matrix(),
            extension=self._extension,
            task=self._task,
            drawer=self._drawer,
        )

    def proprioception(self) -> Proprioception:
        """What the robot knows of itself; the joints are in the order of `envs.proprioception.JOINTS`."""
        robot, tool = self.agent.robot, self.agent.tcp_pose
        names = [joint.name for joint in robot.active_joints]
        return proprioception(names, robot.qpos[0].numpy(), robot.qlimits[0].numpy(), tool.p, tool.q)


def _base_pose(pose: Pose) -> sapien.Pose:
    half = (math.pi + pose.yaw) / 2
    return sapien.Pose([pose.x, pose.y, BASE_HEIGHT], [math.cos(half), 0.0, 0.0, math.sin(half)])


def _segmentation_ids(articulation: Articulation) -> tuple[int, ...]:
    return tuple(int(link.per_scene_id[0]) for link in articulation.links)


def _bytes(color: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of SAPIEN's float RGBA, to the bit as ManiSkill converts it; alpha is not copied."""
    rgb = cv2.cvtColor(color, cv2.COLOR_RGBA2RGB)
    rgb *= 255
    return rgb.astype(np.uint8)


def _skin_files(
    skin: str, asset_root: str | Path | None, robot_variant: str, cabinet: str, room: str
) -> tuple[Path, Path, Path | None]:
    """The files of the robot, of the cabinet, and of the room if it has one."""
    for kind, name, known in (
        ("robot_variant", robot_variant, [variant or "" for variant in ROBOT_VARIANTS]),
        ("cabinet", cabinet, CABINETS),
        ("room", room, ["", *ROOMS]),
    ):
        if name not in known:
            raise unknown(kind, name, known)
    if skin == "primitive":
        if robot_variant:
            raise SimeditError(
                f"robot_variant {robot_variant!r} is made of asset files: it needs skin='simpler'"
            )
        folder = Path(str(resources.files("simedit.envs.drawer"))) / "primitive"
        return folder / "google_robot.urdf", folder / "mk_station.urdf", None
    root = resolve_asset_root(asset_root)
    names = [robot_urdf(robot_variant or None), cabinet_urdf(cabinet)]
    require(root, [*names, room_mesh(room)] if room else names)
    return root / names[0], root / names[1], root / room_mesh(room) if room else None


def _load_photographs(asset_root: str | Path | None, width: int, height: int) -> dict[str, np.ndarray]:
    """Every pose's photograph, uint8 [height, width, 3]."""
    root = resolve_asset_root(asset_root)
    require(root, [photograph(name) for name in POSES])
    pictures = {}
    for name in POSES:
        # SIMPLER's own way from file to frame, whose rounding makes some values one less.
        picture = np.asarray(Image.open(root / photograph(name)).convert("RGB")) / 255
        picture = cv2.resize(picture, (width, height)).astype(np.float32)
        pictures[name] = (picture * 255).astype(np.uint8)
    return pictures


# Kept between scenes and environments, for starting a renderer takes seconds.
_renderer: Any = None
_on_gpu = _forked = False


def _hold_renderer(device: str) -> None:
    global _renderer
    if _renderer is None:
        _renderer = sapien.render.RenderSystem(sapien.Device(device.removeprefix("sapien_")))


def _before_fork() -> None:
    """A renderer's threads are not in the new process, which would wait for them: it starts its own."""
    global _renderer
    if not DrawerEnv._open:
        _renderer = None


def _after_fork() -> None:
    """In the new process: whether a renderer came along. CUDA's is never let go."""
    global _forked
    _forked = _on_gpu or bool(DrawerEnv._open)


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def _render_device() -> str:
    """ManiSkill's name of a device that renders: the GPU if its driver can, else the CPU."""
    global _on_gpu
    if _forked:
        raise SimeditError(_FORKED)
    try:
        if sapien.Device("cuda").can_render():
            _on_gpu = True
            return "sapien_cuda"
    except RuntimeError:
        pass  # no CUDA device at all
    try:
        _hold_renderer("sapien_cpu")
    except RuntimeError as error:
        raise SimeditError(_NO_VULKAN) from error
    return "sapien_cpu"


def _shader(name: str, device: str, samples_per_pixel: int, denoiser: str) -> ShaderConfig:
    shader = PREBUILT_SHADER_CONFIGS[name]
    if name != "rt":
        return shader
    cuda = device == "sapien_cuda"
    if denoiser in ("oidn", "optix") and not cuda:
        raise SimeditError(f"denoiser {denoiser!r} needs an NVIDIA GPU: use 'auto' or 'none'")
    settings = {
        "ray_tracing_path_depth": 8,  # SIMPLER's
        "ray_tracing_samples_per_pixel": samples_per_pixel,
        "ray_tracing_denoiser": denoiser if denoiser != "auto" else "optix" if cuda else "none",
    }
    return replace(shader, shader_pack_config={**shader.shader_pack_config, **settings})
