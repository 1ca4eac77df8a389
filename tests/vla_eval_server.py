"""A policy behind vla-eval's real model server; run where vla-eval is installed: vla_eval_server.py PORT.

The policy is `wire_servers.Puller`, and knows nothing of simedit.
"""

import sys

import numpy as np
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import serve
from vla_eval.specs import GRIPPER_CLOSE_POS, IMAGE_RGB, LANGUAGE, POSITION_DELTA, ROTATION_AA


class PullerServer(PredictModelServer):
    async def on_episode_start(self, config, ctx):
        task = config["task"]
        self._way = 0.1 if "open" in task["name"] else -0.1
        self._random = np.random.default_rng(task["seed"])
        await super().on_episode_start(config, ctx)

    def predict(self, obs, ctx):
        frame = obs["images"]["primary"]
        assert frame.dtype == np.uint8
        assert obs["task_description"]
        way = self._way if self._random.random() < 0.6 else -self._way
        return {"actions": np.array([way, *(frame.mean(axis=(0, 1)) / 1e3), 0, 0, 0], np.float32)}

    def get_action_spec(self):
        return {"position": POSITION_DELTA, "rotation": ROTATION_AA, "gripper": GRIPPER_CLOSE_POS}

    def get_observation_spec(self):
        return {"image": IMAGE_RGB, "language": LANGUAGE}


if __name__ == "__main__":
    serve(PullerServer(), host="127.0.0.1", port=int(sys.argv[1]))
