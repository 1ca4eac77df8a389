"""The drawer tasks, edited, as a benchmark of vla-eval, which its `run` finds by MODULE:CLASS.

PYTHONPATH=examples/vla-eval vla-eval run --config examples/vla-eval/eval.yaml
"""

from itertools import product
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, DimSpec

from simedit.envs.drawer.suite import DrawerSuite
from simedit.eval.trials import Trial
from simedit.library import SpecialistLibrary
from simedit.wrapper import EditObservation


class EditedDrawers(StepBenchmark):
    """An episode is simedit-eval's trial of that seed. As in SIMPLER, success is tested at its last step.

    Args:
        styles: of the library.
        poses: from where the robot begins, a0 to c2.
        library: a folder of specialists; "lab" is the one that ships.
        suite: as in a study's `suite`: width, height, skin, photographs.
    """

    def __init__(self, styles: list[str], poses: list[str], library: str = "lab", **suite: Any) -> None:
        super().__init__()
        self._suite, self._styles, self._poses = DrawerSuite(**suite), styles, poses
        editor, env = SpecialistLibrary.load(library), self._suite.make("vismatch", "plain")
        self._env = EditObservation(env, editor, styles[0])

    def get_tasks(self) -> list[dict[str, Any]]:
        groups = product(self._styles, self._suite.tasks, self._suite.scenes["drawer"], self._poses)
        return [
            {"name": f"{task} {drawer} {pose} {style}", "suite": style, "task": task, "scene": [drawer, pose]}
            for style, task, drawer, pose in groups
        ]

    def reset(self, task: dict[str, Any]) -> np.ndarray:
        kind, scene, self._env.style = task["task"], task["scene"], task["suite"]
        trial = Trial("", kind, "/".join(scene), "edited", "", task["suite"], task["episode_idx"])
        options = {"task": kind, "scene": tuple(scene)}
        obs, info = self._env.reset(seed=trial.episode_seed, options=options)
        if "misplaced" in info:
            raise RuntimeError(info["misplaced"])  # an error of the episode, not its failure
        self._instruction = info["instruction"]
        return self._frame(obs)

    def step(self, action: dict[str, Any]) -> StepResult:
        obs, _, _, _, info = self._env.step(np.asarray(action["actions"], np.float32).reshape(7))
        return StepResult(self._frame(obs), 0.0, bool(action.get("terminate", False)), info)

    def make_obs(self, raw_obs: np.ndarray, task: dict[str, Any]) -> dict[str, Any]:
        return {"images": {"primary": raw_obs}, "task_description": self._instruction}

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        return {"success": bool(step_result.info["success"]), "progress": step_result.info["progress"]}

    def get_metric_keys(self) -> dict[str, str]:
        return {"success": "mean", "progress": "mean"}

    def get_metadata(self) -> dict[str, Any]:
        return {"max_steps": self._suite.max_steps}

    def get_action_spec(self) -> dict[str, DimSpec]:
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        return {"image": IMAGE_RGB, "language": LANGUAGE}

    def cleanup(self) -> None:
        self._env.close()

    def _frame(self, obs: Any) -> np.ndarray:
        frame = obs["sensor_data"]["overhead_camera"]["rgb"][0].numpy()
        self._recorder.record_video(frame)
        return frame
