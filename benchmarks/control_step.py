"""How long a control step takes, in the twin or in the original SimplerEnv, and which part of it how long.

Both are given the same actions at 640x512 with the raster shader: small circles of the hand, first with open
fingers ("free"), then with closed ones, which press on each other ("contact"). Run one right after the other
on a quiet machine and divide; the original needs its own Python environment (simedit.envs.drawer.simpler).

    python benchmarks/control_step.py twin --asset-root DIR
    simpler-venv/bin/python benchmarks/control_step.py original

Prints one JSON line, times in milliseconds: per phase `median` and `p90` of whole steps, and the medians of
their parts in as many further steps. `controller` is paths, inverse kinematics, drive targets and passive
forces; `physics` the simulation steps; `rendering` all pictures until they can be read (the original takes
one more than the overhead camera's); `observation` reading, converting and all else observed; `rest` what is
left, such as the test of success.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

import simedit.envs  # noqa: F401 (registers the environments)

_WARM_UP = 8
"""Steps before the first that counts: the fingers close in five."""


def measure(env: Any, simulator: str, steps: int) -> dict[str, dict[str, float]]:
    """`steps` whole steps, then as many in parts, per phase; milliseconds."""
    return {
        phase: _measure_phase(env, simulator, steps, fingers)
        for phase, fingers in (("free", 0.0), ("contact", 1.0))
    }


def _measure_phase(env: Any, simulator: str, steps: int, fingers: float) -> dict[str, float]:
    env.reset()
    actions = [
        np.array([0.03 * np.cos(i), 0.03 * np.sin(i), 0.03 * np.sin(i / 2), 0, 0, 0, fingers], np.float32)
        for i in range(_WARM_UP + 2 * steps)
    ]
    for action in actions[:_WARM_UP]:
        env.step(action)
    whole = [_time(env.step, action) for action in actions[_WARM_UP:-steps]]
    spent: dict[str, float] = defaultdict(float)
    _watch(env, simulator, spent)
    parts = []
    for action in actions[-steps:]:
        spent.clear()
        total = _time(env.step, action)
        parts.append(
            {
                "controller": spent["controller"],
                "physics": spent["simulation"] - spent["controller"],
                "rendering": spent["rendering"],
                "observation": spent["frame"] - spent["rendering"],
                "rest": total - spent["simulation"] - spent["frame"],
            }
        )
    result = {"median": np.median(whole), "p90": np.percentile(whole, 90)}
    result |= {name: np.median([part[name] for part in parts]) for name in parts[0]}
    return {name: round(float(value), 1) for name, value in result.items()}


def _watch(env: Any, simulator: str, spent: dict[str, float]) -> None:
    """Let the simulator's own methods add their time to `spent` until its next reset."""
    if simulator == "twin":
        camera = env._sensors["overhead_camera"].camera
        names = {"_step_action": "simulation", "get_obs": "frame", "capture_sensor_data": "rendering"}
    else:
        env = env._original.unwrapped
        camera = env._cameras["overhead_camera"].camera
        names = {"step_action": "simulation", "get_obs": "frame", "take_picture": "rendering"}

    def watch(owner: Any, name: str, part: str) -> None:
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = method(*args, **kwargs)
            if part == "rendering":  # a picture is only asked for; reading it waits until it is there
                camera.get_picture("Color") if simulator == "twin" else camera.get_float_texture("Color")
            spent[part] += 1e3 * (time.perf_counter() - start)
            return result

        setattr(owner, name, timed)

    for name, part in names.items():
        watch(env, name, part)
    for name in ("set_action", "before_simulation_step"):
        watch(env.agent, name, "controller")


def _time(call: Callable[[Any], Any], argument: Any) -> float:
    start = time.perf_counter()
    call(argument)
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of a control step; the file's own words say more.")
    parser.add_argument("simulator", choices=["twin", "original"])
    parser.add_argument("--asset-root", help="a checkout of ManiSkill2_real2sim; else primitives")
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    place: dict[str, Any] = {"task": "close", "drawer": "top", "pose": "a0", "asset_root": args.asset_root}
    if args.simulator == "twin":
        place["skin"] = "simpler" if args.asset_root else "primitive"
    name = {"twin": "simedit/Drawer-v1", "original": "simedit/SimplerDrawer-v1"}[args.simulator]
    env = gymnasium.make(name, **place).unwrapped
    print(json.dumps({"simulator": args.simulator, **measure(env, args.simulator, args.steps)}))
    env.close()


if __name__ == "__main__":
    main()
