"""How closely the drawer twin follows recordings of the original SIMPLER.

    python benchmarks/parity.py recordings/ --asset-root ManiSkill2_real2sim [--json]

A recording is `expert_{open|close}_{top|middle|bottom}_{pose}.npz` (actions of the scripted controller below,
60 control steps) or `random_...npz`, with the whole state before and after each control step, and beside it
`..._t000.png` and `..._t000_mask.png` (0 background, 1 robot, 2 cabinet), the first camera frame.

*One-step*: the twin is set to the recorded state before a step, takes the recorded action, and is compared
with the recorded state after it. A step is *free* where no part of the twin's robot presses on another or on
the cabinet at any moment of it, and no recorded drawer moves by a micrometre. Else it is a *contact* step of
one of three kinds: *jammed*, where the recorded hand went less than a quarter of the way it was told to (of
10 mm or more), for something held it: wedged, hooked, or at a shut drawer; *fingers*, where the hand only
presses on itself; *touch*, any other. *Closed-loop* (expert recordings): the scripted controller runs in the
twin, and the outcome at the last step is compared with the recorded one.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial.transform import Rotation

import simedit.envs  # noqa: F401  registers the twin
from simedit.errors import SimeditError, run_cli

NAME = re.compile(r"(expert|random)_(open|close)_(top|middle|bottom)_([a-c][0-2])")
VARIANT = "recolor_cabinet_visual_matching_1"
"""The robot's texture in the recordings."""
KINDS = ("free", "contact", "fingers", "touch", "jammed")
TOLD, WENT = 0.01, 0.25
"""A hand told to go this far (m) that goes less than this share of it is jammed."""
Errors = dict[str, list[float]]


class RecordedController:
    """The closed-loop controller that made the expert recordings; it acts from the true state."""

    def __init__(self, task: str) -> None:
        self._open = task == "open"
        self._stage = self._waited = 0

    def act(self, state: Any) -> np.ndarray:
        """The next action, float32 [7], from a `simedit.protocols.DrawerState`."""
        tcp, handle = state.base @ state.tcp, (state.base @ state.handle)[:3, 3]
        half = np.sqrt(0.5)
        aside, down = np.array([half, 0.0, -half]), np.array([-half, 0.0, -half])
        if self._open:
            goals = [handle - 0.13 * down, handle, handle, handle + np.array([0.4, 0.0, 0.0])]
            axes = np.stack([np.cross(aside, down), aside, down], axis=1)
            turn = Rotation.from_matrix(axes @ tcp[:3, :3].T).as_rotvec()
            gain, limit, gripper = 2.5, 0.1, -1.0 if self._stage < 2 else 1.0
        else:
            goals = [handle + np.array([x, 0.0, 0.03]) for x in (0.14, 0.03, -0.4)]
            turn, gain, limit, gripper = np.zeros(3), 2.0, 0.08, 1.0
        away = goals[self._stage] - tcp[:3, 3]
        self._advance(float(np.linalg.norm(away)), float(np.linalg.norm(turn)))
        to_base = state.base[:3, :3].T
        move = np.clip(gain * to_base @ away, -limit, limit)
        return np.concatenate([move, np.clip(2.0 * to_base @ turn, -0.4, 0.4), [gripper]]).astype(np.float32)

    def _advance(self, distance: float, angle: float) -> None:
        if not self._open:
            self._stage += self._stage < 2 and distance < 0.03
        elif self._stage == 2:
            self._waited += 1
            self._stage += self._waited == 5
        elif self._stage < 2:
            self._stage += distance < 0.02 and (self._stage == 1 or angle < 0.15)


@cache
def make_twin(asset_root: Path, width: int, height: int) -> gym.Env:
    """A twin as the recordings show it; small frames where only the physics matters."""
    return gym.make(
        "simedit/Drawer-v1",
        skin="simpler",
        asset_root=asset_root,
        overlay=True,
        robot_variant=VARIANT,
        width=width,
        height=height,
    )


def measure(path: Path, asset_root: Path) -> tuple[str, dict[str, Any]]:
    """Everything about one recording; the name of its file, and lists of errors by their name."""
    match = NAME.fullmatch(path.stem)
    assert match is not None
    kind, task, drawer, pose = match.groups()
    recording = load(path)
    options = {"task": task, "drawer": drawer, "pose": pose}
    env = make_twin(asset_root, 16, 16)
    found: dict[str, Any] = one_step(env, options, recording)
    if kind == "expert":
        found["agree"] = [closed_loop(env, options, recording)]
    found.update(first_frame(make_twin(asset_root, 640, 512), options, path))
    return path.stem, found


def load(path: Path) -> dict[str, np.ndarray]:
    """A recording's arrays.

    Raises:
        SimeditError: no file of this format.
    """
    states = "qpos qvel tcp_pose_base drawer_qpos drawer_qvel arm_path_qpos arm_path_qvel"
    names = "joint_names drawer_joint_names arm_joint_names gripper_joint_names"
    wanted = f"actions success {states} gripper_last_drive_target gripper_target {names}".split()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in wanted}
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise SimeditError(f"{path} is no recording: {error}") from error


def columns(names: np.ndarray, wanted: list[str]) -> list[int]:
    """Where the `wanted` names stand among `names`: simulators order joints differently."""
    return [names.tolist().index(name) for name in wanted]


def one_step(env: gym.Env, options: dict[str, str], recording: dict[str, np.ndarray]) -> Errors:
    """Errors of single control steps: lists of mm, degrees and mm, by kind of step."""
    twin: Any = env.unwrapped
    env.reset(options=options)
    robot, cabinet, controller = twin.agent.robot, twin.cabinet, twin.agent.controller
    joints = columns(recording["joint_names"], [joint.name for joint in robot.active_joints])
    drawers = columns(recording["drawer_joint_names"], [joint.name for joint in cabinet.active_joints])
    arm = columns(recording["arm_joint_names"], controller.controllers["arm"].config.joint_names)
    gripper = columns(recording["gripper_joint_names"], controller.controllers["gripper"].config.joint_names)
    errors: Errors = defaultdict(list)
    for t, action in enumerate(recording["actions"]):
        robot.set_qpos(recording["qpos"][t][joints].astype(np.float32))
        robot.set_qvel(recording["qvel"][t][joints].astype(np.float32))
        cabinet.set_qpos(recording["drawer_qpos"][t][drawers].astype(np.float32))
        cabinet.set_qvel(recording["drawer_qvel"][t][drawers].astype(np.float32))
        controller.reset()
        state = controller.get_state()
        if t > 0:
            state["arm"] = {key: recording[f"arm_{key}"][t][arm] for key in ("path_qpos", "path_qvel")}
            state["gripper"] = {
                "last_drive_target": recording["gripper_last_drive_target"][t][gripper],
                "target": recording["gripper_target"][t][gripper],
            }
        controller.set_state(state)
        with touching(twin) as touched:
            env.step(action)
        here, there = twin.agent.tcp_pose, recording["tcp_pose_base"][t + 1]
        moved = np.abs(np.diff(recording["drawer_qpos"][t : t + 2], axis=0)).max()
        went = np.linalg.norm(there[:3] - recording["tcp_pose_base"][t][:3])
        kind = kind_of_step(touched, moved > 1e-6, float(np.linalg.norm(action[:3])), float(went))
        turn = Rotation.from_quat(np.roll(there[3:], -1)).inv() * Rotation.from_quat(np.roll(here.q, -1))
        extension = cabinet.qpos[0].numpy() - recording["drawer_qpos"][t + 1][drawers]
        for step in (kind,) if kind == "free" else ("contact", kind):
            errors[f"tcp_mm_{step}"].append(1e3 * float(np.linalg.norm(here.p - there[:3])))
            errors[f"rotation_deg_{step}"].append(float(np.degrees(turn.magnitude())))
            errors[f"drawer_mm_{step}"].append(1e3 * float(np.abs(extension).max()))
    return errors


def kind_of_step(touched: set[str], drawer_moved: bool, told: float, went: float) -> str:
    """The kind of a control step.

    Args:
        touched: of the twin; see `touching`.
        drawer_moved: in the recording.
        told, went: how far the hand was told to go, and went in the recording, metres.
    """
    if not touched and not drawer_moved:
        return "free"
    if told >= TOLD and went < WENT * told:
        return "jammed"
    return "fingers" if touched == {"fingers"} and not drawer_moved else "touch"


@contextmanager
def touching(twin: Any) -> Iterator[set[str]]:
    """What the robot presses on meanwhile: "fingers", the hand on itself; "other", its body or cabinet."""
    robot = {link.name for link in twin.agent.robot.links}
    solid = robot | {link.name for link in twin.cabinet.links}
    found: set[str] = set()

    def look() -> None:
        for contact in twin.scene.px.get_contacts():
            names = {body.entity.name for body in contact.bodies}
            if names & robot and names <= solid and any(np.any(point.impulse) for point in contact.points):
                found.add("fingers" if all("finger" in name for name in names) else "other")

    twin._after_simulation_step = look
    try:
        yield found
    finally:
        del twin._after_simulation_step


def closed_loop(env: gym.Env, options: dict[str, str], recording: dict[str, np.ndarray]) -> bool:
    """Whether the twin's outcome at the last step is the recorded one."""
    env.reset(options=options)
    controller = RecordedController(options["task"])
    twin: Any = env.unwrapped
    info: dict[str, Any] = {}
    for _ in recording["actions"]:
        *_, info = env.step(controller.act(twin.privileged_state()))
    return bool(info["success"].item()) == bool(recording["success"][-1])


def first_frame(env: gym.Env, options: dict[str, str], path: Path) -> dict[str, list[float]]:
    """PSNR (dB) of the first frame and intersection over union of its masks; nothing without the PNGs."""
    frame_file, mask_file = (path.with_name(f"{path.stem}_t000{end}.png") for end in ("", "_mask"))
    if not (frame_file.is_file() and mask_file.is_file()):
        return {}
    twin: Any = env.unwrapped
    obs, _ = env.reset(options=options)
    seen = obs["sensor_data"]["overhead_camera"]
    frame, mask = iio.imread(frame_file)[..., :3], iio.imread(mask_file)
    squared = np.mean((seen["rgb"][0].cpu().numpy().astype(float) - frame) ** 2)
    ids = {
        "robot_iou": ([int(link.per_scene_id[0]) for link in twin.agent.robot.links], 1),
        "cabinet_iou": (twin.edit_segmentation_ids, 2),
    }
    found = {"psnr_db": [float(10 * np.log10(255**2 / max(squared, 1e-12)))]}
    for name, (wanted, label) in ids.items():
        mine, theirs = np.isin(seen["segmentation"][0, ..., 0].cpu().numpy(), wanted), mask == label
        found[name] = [float((mine & theirs).sum() / max((mine | theirs).sum(), 1))]
    return found


def summary(found: dict[str, list[float]]) -> dict[str, float | int | None]:
    """Medians, 95th percentiles and minima of the lists of errors; None where there are none."""
    result: dict[str, float | int | None] = {}
    for step in KINDS:
        result[f"{step}_steps"] = len(found.get(f"tcp_mm_{step}", []))
        for what in ("tcp_mm", "rotation_deg", "drawer_mm"):
            values = found.get(f"{what}_{step}", [])
            result[f"{what}_{step}_median"] = float(np.median(values)) if values else None
            result[f"{what}_{step}_p95"] = float(np.percentile(values, 95)) if values else None
    result["outcome_agree"], result["outcome_total"] = (
        sum(found.get("agree", [])),
        len(found.get("agree", [])),
    )
    for what in ("psnr_db", "cabinet_iou", "robot_iou"):
        result[f"{what}_min"] = min(found[what]) if found.get(what) else None
    return result


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """One line for each recording, and the total."""
    heads = {
        "TCP free mm": "tcp_mm_free",
        "TCP contact mm": "tcp_mm_contact",
        "TCP jammed mm": "tcp_mm_jammed",
        "rotation contact deg": "rotation_deg_contact",
        "drawer contact mm": "drawer_mm_contact",
    }
    table = Table("recording", *heads, "outcome", "PSNR dB", "IoU cabinet", "IoU robot")
    table.caption = "errors: median / 95th percentile; outcomes that agree; the smallest PSNR and IoU"

    def show(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    for name, row in rows.items():
        errors = [f"{show(row[f'{key}_median'], 3)} / {show(row[f'{key}_p95'], 2)}" for key in heads.values()]
        outcome = f"{row['outcome_agree']}/{row['outcome_total']}" if row["outcome_total"] else "-"
        frame = [show(row["psnr_db_min"], 1), show(row["cabinet_iou_min"], 4), show(row["robot_iou_min"], 4)]
        table.add_row(name, *errors, outcome, *frame)
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    asset_root: Path,
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Compare the drawer twin with recordings of the original SIMPLER.

    Args:
        folder: The recordings: npz files, and first frames as PNG beside them.
        asset_root: A checkout of ManiSkill2_real2sim.
        as_json: Print a JSON object with the keys `total` and `files` in place of a table.
    """
    paths = [path for path in sorted(folder.glob("*.npz")) if NAME.fullmatch(path.stem)]
    if not paths:
        raise SimeditError(f"{folder} holds no recording (expert_open_top_a0.npz and the like)")
    for path in paths:
        load(path)
    pooled: dict[str, list[float]] = defaultdict(list)
    rows: dict[str, dict[str, Any]] = {}
    workers = min(os.cpu_count() or 1, len(paths))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        work = pool.map(measure, paths, [asset_root] * len(paths))
        for name, found in track(work, "recordings", len(paths), console=Console(stderr=True)):
            rows[name] = summary(found)
            for key, values in found.items():
                pooled[key] += values
    total = summary(pooled)
    if as_json:
        print(json.dumps({"total": total, "files": rows}, indent=2))
    else:
        print_table({**rows, "total": total})


if __name__ == "__main__":
    sys.exit(run_cli(lambda: tyro.cli(main)))
