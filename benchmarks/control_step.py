"""How long a control step takes, in the twin or in the original SimplerEnv, and which part of it how long.

Both are given the same actions at 640x512 with the raster shader: small circles of the hand, first with open
fingers ("free"), then with closed ones, which press on each other ("contact"), then the same pressed down on
the open drawer ("cabinet"). Run one right after the other on a quiet machine and divide; the original needs
its own Python environment (simedit.envs.drawer.simpler).

    python benchmarks/control_step.py twin --asset-root DIR
    simpler-venv/bin/python benchmarks/control_step.py original
    python benchmarks/control_step.py twin --envs 1 4 16

Prints one JSON line, times in milliseconds: per phase `median` and `p90` of whole steps, and the medians of
their parts in as many further steps. `controller` is paths, inverse kinematics, drive targets and passive
forces; `physics` the simulation steps; `rendering` all pictures until they can be read (the original takes
one more than the overhead camera's); `observation` reading, converting and all else observed; `rest` what is
left, such as the test of success. With --envs also control steps a second of so many environments at once,
each in a process of its own, over as many steps in free motion.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import gymnasium
import numpy as np
from rows import note

import simedit.envs  # noqa: F401 (registers the environments)

_WARM_UP = 18
"""Steps before the first that counts: fingers close in five, the hand is on the drawer in seventeen."""


def measure(env: Any, simulator: str, steps: int) -> dict[str, dict[str, float]]:
    """`steps` whole steps, then as many in parts, per phase; milliseconds."""
    return {phase: _measure_phase(env, simulator, steps, phase) for phase in ("free", "contact", "cabinet")}


def _circles(steps: int, phase: str) -> list[np.ndarray]:
    count, closed = _WARM_UP + steps, float(phase != "free")
    up = [-0.1] * 7 + [-0.03] * (count - 7) if phase == "cabinet" else 0.03 * np.sin(np.arange(count) / 2)
    return [
        np.array([0.03 * np.cos(i), 0.03 * np.sin(i), z, 0, 0, 0, closed], np.float32)
        for i, z in enumerate(up)
    ]


def _measure_phase(env: Any, simulator: str, steps: int, phase: str) -> dict[str, float]:
    env.reset()
    actions = _circles(2 * steps, phase)
    for action in actions[:_WARM_UP]:
        env.step(action)
    whole = [_time(env.step, action) for action in actions[_WARM_UP:-steps]]
    spent: dict[str, float] = defaultdict(float)
    unwatch = _watch(env, simulator, spent)
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
    unwatch()
    result = {"median": np.median(whole), "p90": np.percentile(whole, 90)}
    result |= {name: np.median([part[name] for part in parts]) for name in parts[0]}
    return {name: round(float(value), 2) for name, value in result.items()}


def _watch(env: Any, simulator: str, spent: dict[str, float]) -> Callable[[], None]:
    """Let the simulator's own methods add their time to `spent`, until what it returns is called."""
    watched: list[tuple[Any, str]] = []
    if simulator == "twin":
        camera = env._sensors["overhead_camera"].camera._render_cameras[0]
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
        watched.append((owner, name))

    for name, part in names.items():
        watch(env, name, part)
    for name in ("set_action", "before_simulation_step"):
        watch(env.agent, name, "controller")

    def unwatch() -> None:
        for owner, name in watched:
            delattr(owner, name)

    return unwatch


def _time(call: Callable[[Any], Any], argument: Any) -> float:
    start = time.perf_counter()
    call(argument)
    return 1e3 * (time.perf_counter() - start)


def rate(count: int, steps: int, name: str, place: dict[str, Any]) -> float:
    """Control steps a second of `count` environments at once."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _wait_for_others, [context.Barrier(count)]) as pool:
        times = [pool.submit(_play, steps, name, place) for _ in range(count)]
        begun, ended = zip(*[each.result() for each in times], strict=True)
    return count * steps / (max(ended) - min(begun))


_others: Any = None
"""Where the processes wait until all are ready."""


def _wait_for_others(barrier: Any) -> None:
    global _others
    _others = barrier


def _play(steps: int, name: str, place: dict[str, Any]) -> tuple[float, float]:
    env = gymnasium.make(name, **place).unwrapped
    env.reset()
    actions = _circles(steps, "free")
    for action in actions[:_WARM_UP]:
        env.step(action)
    _others.wait()
    begun = time.monotonic()
    for action in actions[_WARM_UP:]:
        env.step(action)
    return begun, time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of a control step; the file's own words say more.")
    parser.add_argument("simulator", choices=["twin", "original"])
    parser.add_argument("--asset-root", help="a checkout of ManiSkill2_real2sim; else primitives")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--envs", type=int, nargs="*", default=[], metavar="N")
    args = parser.parse_args()
    place: dict[str, Any] = {"task": "close", "drawer": "top", "pose": "a0", "asset_root": args.asset_root}
    if args.simulator == "twin":
        place["skin"] = "simpler" if args.asset_root else "primitive"
    name = {"twin": "simedit/Drawer-v1", "original": "simedit/SimplerDrawer-v1"}[args.simulator]
    env = gymnasium.make(name, **place).unwrapped
    found = measure(env, args.simulator, args.steps)
    print(json.dumps({"simulator": args.simulator, **found}), flush=True)
    for phase, times in found.items():
        note(phase=phase, **{f"{part}_ms": value for part, value in times.items()})
    env.close()
    for count in args.envs:
        found = rate(count, args.steps, name, place)
        print(f"{count} environments: {found:.1f} control steps/s", flush=True)
        note(phase=f"{count} environments", control_steps_a_second=found)


if __name__ == "__main__":
    main()
