"""A cloned policy of simedit's behind vla-eval's own model server, for any of its benchmarks that it fits.

python examples/vla-eval/lab_policy.py --address 127.0.0.1:8010 --args.checkpoint lab:last
"""

from __future__ import annotations

from typing import Any

from vla_eval.model_servers.base import SessionContext
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import run_server
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA, DimSpec

from simedit.packaged import policy_folder
from simedit.policies.cloned import ClonedPolicy


class LabPolicy(PredictModelServer):
    """Each session has a policy of its own, for they remember."""

    def __init__(self, checkpoint: str = "lab:last") -> None:
        super().__init__()
        self._folder = policy_folder(checkpoint)
        self._sessions: dict[str, ClonedPolicy] = {}

    def predict(self, obs: dict[str, Any], ctx: SessionContext) -> dict[str, Any]:
        if ctx.session_id not in self._sessions:
            self._sessions[ctx.session_id] = ClonedPolicy(self._folder)
        policy = self._sessions[ctx.session_id]
        if ctx.is_first:
            policy.reset(obs["task_description"])
        action = policy.act(obs["images"]["primary"])
        return {"actions": action.to_array(), "terminate": bool(action.terminate)}

    def get_action_spec(self) -> dict[str, DimSpec]:
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        return {"image": IMAGE_RGB, "language": LANGUAGE}


if __name__ == "__main__":
    run_server(LabPolicy)
