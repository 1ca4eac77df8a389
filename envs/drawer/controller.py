"""The Google Robot's arm and gripper controllers, as SIMPLER runs them, for ManiSkill 3 on the CPU.

Once a control step a jerk-limited joint path is planned (Ruckig); its k-th sample is the drive target of the
k-th simulation step. All state that outlives a control step is in `get_state` and can be set.

SIMPLER's PhysX 4 does not converge where a joint drive pushes against a contact. It behaves as if each of
the solver's 25 iterations applied the drive as an implicit spring over a 25th of the time step, h, and the
contact then undid it (inferred from its behaviour, not from its source; NOTES.md has the evidence). What
arrives is the drive's force divided by 1 + h (d + h k) / I, with stiffness k, damping d, and the inertia I
that the joint feels; free motion is not changed. PhysX 5 converges to the whole force, a dozen times as much
at the fingers. Here the gains themselves are divided by that number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sapien
import torch
from gymnasium import spaces
from mani_skill.agents.controllers.base_controller import BaseController, ControllerConfig
from ruckig import InputParameter, Result, Ruckig, Trajectory
from scipy.spatial.transform import Rotation

_PHYSX4_ITERATIONS = 25


class PathController(BaseController):
    """Follows one jerk-limited joint path per control step."""

    config: PathControllerConfig
    sets_target_qpos = True
    sets_target_qvel = False

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        # SAPIEN's own objects: ManiSkill's batched tensors would cost more than the physics 171 times a step.
        self._body: Any = self.articulation._objs[0]
        self._drives = [joint._objs[0] for joint in self.joints]
        self._index = self.active_joint_indices.cpu().numpy()
        self._limits = self._body.qlimits[self._index].astype(np.float64).T
        self._model = self._body.create_pinocchio_model()
        self._time_step = 1.0 / (self._sim_steps * self._control_freq)

    def set_drive_property(self) -> None:
        for drive in self._drives:
            drive.set_friction(0.0)
        self._set_gains()

    def _set_gains(self) -> None:
        """The drives' gains in the present posture; see the top of this file."""
        c, h = self.config, self._time_step / _PHYSX4_ITERATIONS
        mass = self._model.compute_generalized_mass_matrix(self._body.qpos)
        mobility = np.linalg.inv(mass).diagonal()[self._index]
        stiffness, damping = np.array(c.stiffness), np.array(c.damping)
        softness = 1.0 + c.softness * h * (damping + h * stiffness) * mobility
        gains = np.stack([stiffness / softness, damping / softness, c.force_limit], axis=1).tolist()
        for drive, (k, d, limit) in zip(self._drives, gains, strict=True):
            drive.set_drive_properties(k, d, force_limit=limit, mode="force")

    def reset(self) -> None:
        qpos, _ = self._measure()
        self._step = 0
        self._path = np.tile(qpos, (self._sim_steps + 1, 1))
        self._path_velocity = np.zeros_like(self._path)
        self._targets = self._path
        for drive, target in zip(self._drives, qpos.tolist(), strict=True):
            drive.set_drive_target(target)
            drive.set_drive_velocity_target(0.0)

    def _measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured positions, and velocities clipped to the path's limit, in the order of the joint names."""
        limit = self.config.velocity
        qpos = self._body.qpos[self._index].astype(np.float64)
        return qpos, np.clip(self._body.qvel[self._index].astype(np.float64), -limit, limit)

    def _plan(self, qpos: np.ndarray, qvel: np.ndarray, target: np.ndarray) -> None:
        self._set_gains()
        n, c = len(self._drives), self.config
        problem = InputParameter(n)
        problem.current_position, problem.current_velocity = qpos.tolist(), qvel.tolist()
        problem.target_position = target.tolist()
        problem.max_velocity = [c.velocity] * n
        problem.max_acceleration = [c.acceleration] * n
        problem.max_jerk = [c.jerk] * n
        trajectory = Trajectory(n)
        result = Ruckig(n).calculate(problem, trajectory)
        if result not in (Result.Working, Result.Finished):
            raise RuntimeError(f"ruckig found no joint path from {qpos} at {qvel} to {target}: {result}")
        times = np.minimum(np.arange(self._sim_steps + 1) * self._time_step, trajectory.duration)
        samples = [trajectory.at_time(time)[:2] for time in times.tolist()]
        self._path, self._path_velocity = np.swapaxes(np.array(samples), 0, 1)
        # PhysX 4's drives, SIMPLER's, aim no further than the joint limits; PhysX 5's do.
        self._targets = np.clip(self._path, *self._limits)
        self._step = 0

    def before_simulation_step(self) -> None:
        self._step = min(self._step + 1, self._sim_steps)
        for drive, target in zip(self._drives, self._targets[self._step].tolist(), strict=True):
            drive.set_drive_target(target)


class ArmController(PathController):
    """Moves the tool centre point by a delta position (m) and rotation (axis-angle, rad), in base axes.

    The target is the measured pose plus the delta. Inverse kinematics starts from the measured joints;
    where it fails the arm stays at them. The path starts where the last path had got to.
    """

    config: ArmControllerConfig

    def _initialize_joints(self) -> None:
        super()._initialize_joints()
        self._mask = np.zeros(self._body.dof, dtype=bool)
        self._mask[self._index] = True
        self._tcp = self.articulation.links_map[self.config.tcp]._objs[0]
        self._tcp_index = self._body.links.index(self._tcp)

    def _initialize_action_space(self) -> None:
        high = np.array([1.0] * 3 + [np.pi / 2] * 3, dtype=np.float32)
        self.single_action_space = spaces.Box(-high, high, dtype=np.float32)

    def reset(self) -> None:
        super().reset()
        self._start = self._measure()

    def set_action(self, action: torch.Tensor) -> None:
        delta = action[0].double().cpu().numpy()
        target = self._inverse_kinematics(self._target_pose(delta))
        self._plan(*self._start, self._measure()[0] if target is None else target)
        self._start = self._path[-1], self._path_velocity[-1]

    def _target_pose(self, delta: np.ndarray) -> sapien.Pose:
        here = self._body.pose.inv() * self._tcp.entity_pose
        turn = sapien.Pose(q=Rotation.from_rotvec(delta[3:]).as_quat()[[3, 0, 1, 2]])
        return sapien.Pose((here.p + delta[:3]).tolist(), (turn * here).q)

    def _inverse_kinematics(self, target: sapien.Pose) -> np.ndarray | None:
        qpos, success, _ = self._model.compute_inverse_kinematics(
            self._tcp_index, target, initial_qpos=self._body.qpos, active_qmask=self._mask, max_iterations=100
        )
        return np.asarray(qpos, dtype=np.float64)[self._index] if success else None

    def get_state(self) -> dict[str, torch.Tensor]:
        """`path_qpos`, `path_qvel`: float64 [1, joints], where the next path starts."""
        return {"path_qpos": _batched(self._start[0]), "path_qvel": _batched(self._start[1])}

    def set_state(self, state: dict[str, Any]) -> None:
        self._start = _unbatched(state["path_qpos"]), _unbatched(state["path_qvel"])


class GripperController(PathController):
    """Adds a number in [-1, 1], scaled to the fingers' range, to both last drive targets; +1 closes.

    Below 1e-3 rad the last goal is kept. The path starts at the measured fingers, and its velocities are
    drive targets too.
    """

    sets_target_qvel = True
    _RANGE = 1.31
    _SLACK = 0.01

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    def reset(self) -> None:
        super().reset()
        self._goal = self._last_target = self._measure()[0]

    def set_action(self, action: torch.Tensor) -> None:
        delta = self._RANGE * min(max(float(action[0, 0]), -1.0), 1.0)
        if abs(delta) >= 1e-3:
            low, high = self._limits
            self._goal = np.clip(self._last_target + delta, low - self._SLACK, high + self._SLACK)
        self._plan(*self._measure(), self._goal)
        self._last_target = self._path[-1]

    def before_simulation_step(self) -> None:
        super().before_simulation_step()
        for drive, speed in zip(self._drives, self._path_velocity[self._step].tolist(), strict=True):
            drive.set_drive_velocity_target(speed)

    def get_state(self) -> dict[str, torch.Tensor]:
        """`last_drive_target`, `target`: float64 [1, joints], rad."""
        return {"last_drive_target": _batched(self._last_target), "target": _batched(self._goal)}

    def set_state(self, state: dict[str, Any]) -> None:
        self._last_target, self._goal = _unbatched(state["last_drive_target"]), _unbatched(state["target"])


@dataclass
class PathControllerConfig(ControllerConfig):
    """Drives and path limits of one controller.

    Attributes:
        stiffness, damping, force_limit: one number per joint, SI units, drive mode "force".
        softness: how much of the loss of force against contacts is applied; 1 is all of it.
        velocity, acceleration, jerk: path limits, the same for all joints, rad/s and its derivatives.
    """

    stiffness: list[float]
    damping: list[float]
    force_limit: list[float]
    softness: float
    velocity: float
    acceleration: float
    jerk: float


@dataclass
class ArmControllerConfig(PathControllerConfig):
    """`tcp` names the link whose pose the action moves."""

    tcp: str
    controller_cls = ArmController


@dataclass
class GripperControllerConfig(PathControllerConfig):
    """The fingers' drives and limits."""

    controller_cls = GripperController


def _batched(value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value.copy())[None]


def _unbatched(value: Any) -> np.ndarray:
    return np.asarray(value, dtype=np.float64).reshape(-1)
