"""Evaluate a policy of your own: this file is the policy, and a study that plays it.

    python examples/own_policy.py --out runs/own

`make` is what a study names: `{kind: python, factory: "own_policy:make"}`, found in the working directory or
beside the study's config. Anything with `reset` and `act` will do; this one knows but one movement.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from simedit.eval.cli import main as simedit_eval


class Pusher:
    """Closes its fingers, then drives them forward: in chunks, as large policies do."""

    needs = ("frame", "proprioception")  # without this line, `act` gets the frame alone

    def __init__(self, speed: float) -> None:
        self._speed = speed

    def reset(self, instruction: str, *, seed: int = 0) -> None:
        self._way = 1.0 if instruction.startswith("close") else -1.0

    def act(self, seen: dict) -> np.ndarray:
        frame, robot = seen["frame"], seen["proprioception"]
        assert frame.dtype == np.uint8
        move = self._way * self._speed if robot["gripper"] > 0.5 else 0.0
        step = [move, 0, 0, 0, 0, 0, 1.0]  # metres, radians (axis-angle), and the gripper, 1 closing
        return np.tile(np.float32(step), (4, 1))


def make(speed: float = 0.05) -> Pusher:
    return Pusher(speed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the run folder (required)")
    parser.add_argument("--steps", type=int, default=40, help="of each episode")
    args = parser.parse_args()
    # Two of its kind: args are passed to `make`; of each chunk's 4 steps 2 are played.
    slow = '{kind: python, factory: "own_policy:make", execute: 2}'
    fast = '{kind: python, factory: "own_policy:make", args: {speed: 0.1}, execute: 2}'
    study = [f"policies={{slow: {slow}, fast: {fast}}}", "domains=[raw]", "tasks=[close]"]
    study += [
        "scenes.drawer=[top]",
        f"max_steps={args.steps}",
        "real.source=none",
        "report={videos: 1, strips: 1}",
    ]
    raise SystemExit(simedit_eval(["run", "--config", "demo", "--out", str(args.out), "--set", *study]))
