"""The original SimplerEnv drawer environments (ManiSkill2_real2sim, SAPIEN 2.2.2) in the words of the twin.

They need a Python environment of their own, for SAPIEN 2 and 3 cannot share one; `SimplerDrawerEnv` says how
to make it. Traps of the original that this adapter avoids:

- Its prepackaged configuration (`prepackaged_config=True`, which `simpler_env.make` sets) draws pose and
  robot variant from a generator that the constructor seeds with 2022: every new environment begins with the
  same pose and goes on in the same order. That configuration is never used here. The pose is applied, and
  `info["pose"]` is what the simulator then holds.
- Its `terminated` is true at every step at which the task's test holds, while its own evaluation goes on to
  the end and counts the last step. A loop that stops at `terminated` counts success at any step. Here no step
  terminates, and `info["success"]` is the test at that very step.
- It holds joint positions in arrays whose order differs between SAPIEN 2 and 3. Joints and links are found by
  name here.
- Its scene outlives an episode, and with it what PhysX remembers of contacts. Here each reset builds a new
  environment, as SIMPLER's own evaluation does.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from simedit.envs.drawer.assets import CABINETS, ROBOT_VARIANTS, ROOMS, cabinet_urdf, photograph, room_mesh
from simedit.envs.drawer.checks import check_action, check_options, check_sizes
from simedit.envs.drawer.poses import CLOSE_START, HANDLE, POSES, check_task, find_pose, instruction
from simedit.envs.drawer.proprioception import proprioception
from simedit.errors import SimeditError, unknown
from simedit.protocols import DrawerState, Proprioception
from simedit.repainter import whole_number

_LIGHT_MODES = {"simple": "simple", "base": None, "brighter": "brighter", "darker": "darker"}
_SHADERS = {"default": "ibl", "rt": "rt"}
_DENOISERS = ("auto", "none", "optix")
_CONTROL_MODE = (
    "arm_pd_ee_delta_pose_align_interpolate_by_planner"
    "_gripper_pd_joint_target_delta_pos_interpolate_by_planner"
)
_INSTALL = """\
the original SimplerEnv cannot be imported here ({}). Give it a Python environment of its own (3.10 or 3.11):
  git clone --recurse-submodules https://github.com/simpler-env/SimplerEnv
  python3.11 -m venv simpler-venv
  simpler-venv/bin/pip install "numpy<2" "gymnasium<1" sapien==2.2.2 "setuptools<81"
  simpler-venv/bin/pip install -e SimplerEnv/ManiSkill2_real2sim "numpy<2"
  simpler-venv/bin/pip install simedit "numpy<2"   (without the extra "sim": that brings SAPIEN 3)"""
_NO_VULKAN = (
    "the original cannot render here ({}): SAPIEN 2.2.2 needs a GPU driver with Vulkan;"
    " Mesa's software driver lacks an extension that it asks for (VK_KHR_external_semaphore_fd)"
)


class SimplerDrawerEnv(gym.Env):
    """The original drawer tasks; `gym.make("simedit/SimplerDrawer-v1", ...)`.

    An action is float32 [7], as in `simedit.envs.drawer.twin.DrawerEnv`; so is what `reset` takes as options.

    An observation is the original's nested dict of NumPy arrays. `image/overhead_camera` holds `rgb` uint8
    [H, W, 3], `depth` float32 [H, W, 1] (m) and `Segmentation` uint32 [H, W, 4], whose channel 1 is the id of
    the actor or link; `agent` holds the joints. There is no batch dimension.

    `info` is the original's, and `success` bool, `drawer_extension` float (m) and `pose` float64 [3], all as
    the simulator has them. The seed changes nothing: the scene has no randomness.

    Args:
        task: "open" or "close".
        drawer: "top", "middle" or "bottom".
        pose: a name from "a0" to "c2", or (x, y, yaw).
        asset_root: a whole checkout of ManiSkill2_real2sim, for cabinets, photographs and rooms; None takes
            the installed package's own. The robot is always the package's.
        shader: "default" (raster) or "rt" (ray traced, 8 bounces).
        overlay: lay SIMPLER's photograph of the pose over all but robot and cabinet (Visual Matching).
        width, height: size of the camera frame; the view stays the same.
        robot_variant: "" or a texture variant of the robot.
        cabinet: one of `assets.CABINETS`.
        room: "" (a white floor) or one of `assets.ROOMS`.
        light: "simple" (Visual Matching), or Variant Aggregation's "base", "brighter" or "darker".
        samples_per_pixel: of the ray tracer; SIMPLER takes 32.
        denoiser: of the ray tracer: "none", "optix", or "auto": optix where there is an NVIDIA GPU.
        render_mode: None, or "rgb_array": `render()` gives the camera's last frame, uint8 [H, W, 3].

    Raises:
        SimeditError: the original is not installed, an unknown name, a missing file, or nothing can render.

    Source: SIMPLER (arXiv 2405.05941), https://github.com/simpler-env/ManiSkill2_real2sim.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 3}

    def __init__(
        self,
        *,
        task: str = "open",
        drawer: str = "top",
        pose: str | Sequence[float] = "a0",
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
            ("shader", shader, _SHADERS),
            ("robot_variant", robot_variant, [variant or "" for variant in ROBOT_VARIANTS]),
            ("cabinet", cabinet, CABINETS),
            ("room", room, ["", *ROOMS]),
            ("light", light, _LIGHT_MODES),
            ("denoiser", denoiser, _DENOISERS),
        ):
            if name not in known:
                raise unknown(kind, name, known)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        check_sizes(width, height, samples_per_pixel)
        self.render_mode = render_mode
        self._frame: np.ndarray | None = None
        self._overlay = overlay
        self._task, self._drawer, self._pose = task, drawer, pose
        self._aim({})
        self._data = _data_folder(asset_root)
        self._file(cabinet_urdf(cabinet))
        if room:
            self._file(room_mesh(room))
        scale = np.diag([width / 640, height / 512, 1.0])
        intrinsic = scale @ np.array([[425.0, 0.0, 320.0], [0.0, 425.0, 256.0], [0.0, 0.0, 1.0]])
        self._camera = {"width": width, "height": height, "intrinsic": intrinsic}
        self._look = {
            "shader_dir": _SHADERS[shader],
            "render_config": {
                "rt_samples_per_pixel": samples_per_pixel,
                "rt_use_denoiser": denoiser == "optix" or (denoiser == "auto" and torch.cuda.is_available()),
            }
            if shader == "rt"
            else {},
            "urdf_version": robot_variant,
            "station_name": cabinet,
            "scene_name": room or "dummy_drawer",
            "light_mode": _LIGHT_MODES[light],
            # SIMPLER dulls the robot in Visual Matching and leaves it its sheen in Variant Aggregation.
            "disable_bad_material": not room,
        }
        self._original = self._build()
        self.observation_space = self._original.observation_space
        self.action_space = self._original.action_space

    def _aim(self, options: dict[str, Any]) -> None:
        """Take task, drawer and pose from `options`; what is wrong is refused before anything changes."""
        task, drawer = options.get("task", self._task), options.get("drawer", self._drawer)
        pose = options.get("pose", self._pose)
        check_task(task, drawer)
        base = find_pose(pose)
        if self._overlay and not isinstance(pose, str):
            raise SimeditError(f"overlay needs a pose with a photograph ({', '.join(POSES)}), not {base}")
        self._task, self._drawer, self._pose, self._base = task, drawer, pose, base

    def _file(self, name: str) -> str:
        """The path of an asset named relative to the asset root ("data/...")."""
        path = self._data / PurePosixPath(name).relative_to("data")
        if not path.is_file():
            raise SimeditError(f"the original's data lacks {path}; see asset_root")
        return str(path)

    def _build(self) -> gym.Env:
        from mani_skill2_real2sim.utils.registration import make  # pyright: ignore[reportMissingImports]

        overlay = {}
        if self._overlay:
            overlay["rgb_overlay_path"] = self._file(photograph(str(self._pose)))
            overlay["rgb_overlay_cameras"] = ["overhead_camera"]
        try:
            return make(
                f"{self._task.capitalize()}{self._drawer.capitalize()}DrawerCustomInScene-v0",
                as_gym=False,
                obs_mode="rgbd",
                robot="google_robot_static",
                sim_freq=513,
                control_freq=3,
                control_mode=_CONTROL_MODE,
                renderer_kwargs={"offscreen_only": True},
                camera_cfgs={"add_segmentation": True, "overhead_camera": self._camera},
                asset_root=str(self._data / "custom"),
                scene_root=str(self._data / "hab2_bench_assets"),
                **self._look,
                **overlay,
            )
        except FileNotFoundError as error:
            raise SimeditError(
                f"asset_root must be a whole checkout of ManiSkill2_real2sim, this one lacks a file: {error}"
            ) from error
        except RuntimeError as error:
            raise SimeditError(_NO_VULKAN.format(error)) from error

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; `options` can hold "pose", "task" and "drawer", the others stay as they were.

        Raises:
            SimeditError: an unknown pose, task, drawer or option, or a seed that is no whole number.
        """
        check_options(options, ("pose", "task", "drawer"))
        whole_number("a seed", 0 if seed is None else seed)
        self._aim(options or {})
        super().reset(seed=seed)
        self._original.close()
        self._original = self._build()
        half = (math.pi + self._base.yaw) / 2
        place: dict[str, Any] = {
            "robot_init_options": {
                "init_xy": [self._base.x, self._base.y],
                "init_rot_quat": [math.cos(half), 0.0, 0.0, math.sin(half)],
            }
        }
        if self._task == "close":
            place["obj_init_options"] = {"cabinet_init_qpos": CLOSE_START}
        obs, info = self._original.reset(options=place)
        self._frame = obs["image"]["overhead_camera"]["rgb"]
        return obs, {**info, **self._readings()}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step; never terminates an episode.

        Raises:
            SimeditError: an action that is not seven finite numbers.
        """
        obs, reward, _, truncated, info = self._original.step(check_action(action))
        self._frame = obs["image"]["overhead_camera"]["rgb"]
        return obs, float(reward), False, truncated, {**info, **self._readings()}

    def render(self) -> np.ndarray | None:
        """The camera's last frame, uint8 [H, W, 3]; None without a render mode."""
        return None if self.render_mode is None or self._frame is None else self._frame.copy()

    def close(self) -> None:
        self._original.close()

    def _readings(self) -> dict[str, Any]:
        base = self._scene.agent.robot.pose
        (x, y, _), (w, _, _, z) = base.p, base.q
        yaw = math.remainder(2 * math.atan2(z, w) - math.pi, 2 * math.pi)
        return {
            "success": bool(self._scene.evaluate()["success"]),
            "drawer_extension": self._extension,
            "pose": np.array([x, y, yaw], np.float64),
        }

    @property
    def _scene(self) -> Any:
        """The original environment under its own wrappers."""
        return self._original.unwrapped

    @property
    def _extension(self) -> float:
        cabinet = self._scene.art_obj
        names = [joint.name for joint in cabinet.get_active_joints()]
        return float(cabinet.get_qpos()[names.index(f"{self._drawer}_drawer_joint")])

    @property
    def instruction(self) -> str:
        """What a language-conditioned policy is told, e.g. "open top drawer"."""
        return instruction(self._task, self._drawer)

    @property
    def edit_segmentation_ids(self) -> tuple[int, ...]:
        """The ids of the cabinet in channel 1 of `Segmentation`: what an edit may repaint."""
        return tuple(int(link.id) for link in self._scene.art_obj.get_links())

    def privileged_state(self) -> DrawerState:
        """The true state, for scripted policies."""
        base = self._scene.agent.robot.pose.to_transformation_matrix()
        links = {link.name: link for link in self._scene.art_obj.get_links()}
        handle = links[f"{self._drawer}_drawer"].pose.to_transformation_matrix()
        handle[:, 3] = handle @ (*HANDLE, 1.0)
        to_base = np.linalg.inv(base)
        return DrawerState(
            tcp=to_base @ self._scene.tcp.pose.to_transformation_matrix(),
            handle=to_base @ handle,
            base=base,
            extension=self._extension,
            task=self._task,
            drawer=self._drawer,
        )

    def proprioception(self) -> Proprioception:
        """What the robot knows of itself; the joints are in the order of `envs.proprioception.JOINTS`."""
        robot = self._scene.agent.robot
        tool = robot.pose.inv() * self._scene.tcp.pose
        names = [joint.name for joint in robot.get_active_joints()]
        return proprioception(names, robot.get_qpos(), robot.get_qlimits(), tool.p, tool.q)


def _data_folder(asset_root: str | Path | None) -> Path:
    """The folder of cabinets, photographs and rooms; importing the original also registers its tasks."""
    # Else SAPIEN warns at every reset that a second renderer shares the first one's context.
    os.environ.setdefault("MS2_RENDERER_LOG_LEVEL", "error")
    try:
        import mani_skill2_real2sim.envs  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SimeditError(_INSTALL.format(error)) from error
    if version("sapien").startswith("2.") and not np.__version__.startswith("1."):
        raise SimeditError(
            f"SAPIEN 2 crashes at the first step with numpy {np.__version__}: pip install 'numpy<2'"
        )
    return Path(mani_skill2_real2sim.ASSET_DIR if asset_root is None else Path(asset_root) / "data")
