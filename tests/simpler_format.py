"""A small real environment with the interface and the observation format of the original SimplerEnv.

It stands under the original's module names where that is not installed. What it holds was read off the
original (ManiSkill2_real2sim 0.5.3, SAPIEN 2.2.2), as far as `simedit.envs.drawer.simpler` touches it: names,
shapes, dtypes, ids, options, the test of success. Its physics is small: the action's first number moves the
drawer. It renders in NumPy: the robot's x moves the cabinet in the frame, its y tints it.
"""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import gymnasium as gym
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

_ROBOT, _CABINET = 17, {"body": 39, "bottom_drawer": 40, "middle_drawer": 41, "top_drawer": 42}
_JOINTS = ("bottom_drawer_joint", "top_drawer_joint", "middle_drawer_joint")  # in nobody's favourite order

_ROBOT_JOINTS = [
    f"joint_{name}"
    for name in (
        *("torso", "shoulder", "bicep", "elbow", "forearm", "wrist", "gripper"),
        *("finger_right", "finger_left", "head_pan", "head_tilt"),
    )
]


class _Pose:
    def __init__(self, p, q=(1, 0, 0, 0)):
        self.p, self.q = np.array(p, np.float32), np.array(q, np.float32)

    def inv(self):
        turned = Rotation.from_quat(self.q[[1, 2, 3, 0]]).inv()
        return _Pose(-turned.apply(self.p), turned.as_quat()[[3, 0, 1, 2]])

    def __mul__(self, other):
        mine, theirs = (Rotation.from_quat(pose.q[[1, 2, 3, 0]]) for pose in (self, other))
        return _Pose(self.p + mine.apply(other.p), (mine * theirs).as_quat()[[3, 0, 1, 2]])

    def to_transformation_matrix(self):
        matrix = np.eye(4, dtype=np.float32)
        matrix[:3, :3] = Rotation.from_quat(self.q[[1, 2, 3, 0]]).as_matrix()
        matrix[:3, 3] = self.p
        return matrix


class _Original(gym.Env):
    def __init__(
        self,
        task,
        drawer,
        *,
        obs_mode,
        robot,
        sim_freq,
        control_freq,
        control_mode,
        renderer_kwargs,
        camera_cfgs,
        asset_root,
        scene_root,
        shader_dir,
        render_config,
        urdf_version,
        station_name,
        scene_name,
        light_mode,
        disable_bad_material,
        rgb_overlay_path=None,
        rgb_overlay_cameras=(),
    ):
        assert (obs_mode, robot, sim_freq, control_freq) == ("rgbd", "google_robot_static", 513, 3)
        assert camera_cfgs["add_segmentation"]
        self._task, self._drawer = task, drawer
        self._camera = camera_cfgs["overhead_camera"]
        self._photograph = None
        if rgb_overlay_path is not None:
            assert rgb_overlay_cameras == ["overhead_camera"]
            size = self._camera["width"], self._camera["height"]
            self._photograph = np.array(Image.open(rgb_overlay_path).convert("RGB").resize(size))
        self._light = {"simple": 200, None: 180, "brighter": 240, "darker": 100}[light_mode]
        self.reset(options={})
        self.action_space = gym.spaces.Box(-1, 1, (7,), np.float32)
        self.observation_space = _space(self._observation())

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        place = options.get("robot_init_options", {})
        # As in the original, the place is drawn where it is not given, and drawn from the same seed.
        xy = place.get("init_xy", np.random.default_rng(2022).uniform(0.3, 0.4, 2))
        pose = _Pose([*xy, 0.06205 + 0.017], place.get("init_rot_quat", (0, 0, 0, 1)))
        robot = SimpleNamespace(
            pose=pose,
            get_active_joints=lambda: [SimpleNamespace(name=name) for name in _ROBOT_JOINTS],
            get_qpos=lambda: np.arange(len(_ROBOT_JOINTS), dtype=np.float32) / 10,
            get_qlimits=lambda: np.float32([[0, 2]] * len(_ROBOT_JOINTS)),
        )
        self.agent = SimpleNamespace(robot=robot)
        self.tcp = SimpleNamespace(pose=_Pose([0.3, 0.0, 0.9]))
        started = options.get("obj_init_options", {}).get(
            "cabinet_init_qpos", 0.2 if self._task == "close" else 0
        )
        self._extension = started
        self._steps = 0
        self.art_obj = SimpleNamespace(
            get_active_joints=lambda: [SimpleNamespace(name=name) for name in _JOINTS],
            get_qpos=lambda: np.float32(
                [self._extension * name.startswith(self._drawer) for name in _JOINTS]
            ),
            get_links=lambda: [
                SimpleNamespace(
                    name=name, id=index, pose=_Pose([self._extension if self._drawer in name else 0, 0, 0.5])
                )
                for name, index in _CABINET.items()
            ],
        )
        return self._observation(), {"station_name": "mk_station_recolor"}

    def step(self, action):
        assert type(action) is np.ndarray
        self._extension = float(np.clip(self._extension + action[0], 0, 0.3))
        self._steps += 1
        done = self.evaluate()
        return (
            self._observation(),
            float(done["success"]),
            bool(done["success"]),
            False,
            {"elapsed_steps": self._steps, **done},
        )

    def evaluate(self):
        qpos = np.float32(self._extension)
        return {"success": qpos >= 0.15 if self._task == "open" else qpos <= 0.05, "qpos": qpos}

    def close(self):
        self.agent = None

    def _observation(self):
        width, height = self._camera["width"], self._camera["height"]
        rgb = np.full((height, width, 3), 230, np.uint8)
        labels = np.zeros((height, width, 4), np.uint32)
        labels[: height // 8, -width // 8 :, 1] = _ROBOT
        pose = self.agent.robot.pose
        left, tint = round(width * (float(pose.p[0]) - 0.5)), round(128 + 200 * float(pose.p[1]))
        for row, drawer in enumerate(("top", "middle", "bottom")):
            out = round(width * self._extension / 2) if drawer == self._drawer else 0
            where = np.s_[
                (1 + 2 * row) * height // 8 : (3 + 2 * row) * height // 8, left : left + width // 3 + out
            ]
            labels[where] = 99, _CABINET[f"{drawer}_drawer"], 0, 0
            rgb[where] = self._light, tint, 40 + 10 * row
        if self._photograph is not None:
            behind = labels[..., 1] == 0
            rgb[behind] = self._photograph[behind]
        eye = np.eye(4, dtype=np.float32)
        cameras = {"base_camera": (128, 128), "overhead_camera": (height, width)}
        images = {name: _textures(*size) for name, size in cameras.items()}
        images["overhead_camera"].update(rgb=rgb, Segmentation=labels)
        agent = OrderedDict(qpos=np.zeros(11, np.float32), qvel=np.zeros(11, np.float32))
        agent["controller"] = {"gripper": {"target_qpos": np.zeros(2, np.float32)}}
        agent["base_pose"] = np.concatenate([pose.p, pose.q])
        parameters = {"extrinsic_cv": eye, "cam2world_gl": eye, "intrinsic_cv": eye[:3, :3]}
        return OrderedDict(
            agent=agent,
            extra=OrderedDict(),
            camera_param=OrderedDict((name, dict(parameters)) for name in cameras),
            image=OrderedDict(images),
        )


def _textures(height, width):
    return OrderedDict(
        rgb=np.zeros((height, width, 3), np.uint8),
        depth=np.ones((height, width, 1), np.float32),
        Segmentation=np.zeros((height, width, 4), np.uint32),
    )


def _space(node):
    if isinstance(node, dict):
        return gym.spaces.Dict({key: _space(value) for key, value in node.items()})
    limits = (0, np.iinfo(node.dtype).max) if node.dtype.kind == "u" else (-np.inf, np.inf)
    return gym.spaces.Box(*limits, node.shape, node.dtype)


def _make(env_id, as_gym=True, **kwargs):
    task, drawer = re.fullmatch(r"(Open|Close)(Top|Middle|Bottom)DrawerCustomInScene-v0", env_id).groups()
    return _Original(task.lower(), drawer.lower(), **kwargs)


def install(patch, data: Path):
    """Put the environment under the original's module names until `patch` is undone; files go to `data`."""
    names = [
        "mani_skill2_real2sim",
        *(f"mani_skill2_real2sim.{part}" for part in ("envs", "utils", "utils.registration")),
    ]
    modules = {name: ModuleType(name) for name in names}
    modules[names[0]].ASSET_DIR = data
    modules[names[0]].envs = modules[names[1]]
    modules[names[-1]].make = _make
    for name, module in modules.items():
        patch.setitem(sys.modules, name, module)
    for folder in ("custom", "real_inpainting"):
        (data / folder).mkdir(parents=True)
    (data / "custom" / "mk_station_recolor.urdf").write_text("<robot/>")
    for index, pose in enumerate(f"{row}{column}" for row in "abc" for column in range(3)):
        Image.new("RGB", (64, 48), (index, 20 * index, 90)).save(
            data / "real_inpainting" / f"open_drawer_{pose}.png"
        )
