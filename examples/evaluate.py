"""Roll policies out in scenes as rendered and as edited: which rank the policies as reality does?

python examples/evaluate.py --policies last half begin --styles wood gold
"""

import gymnasium as gym
import tyro
import yaml

from simedit.envs.drawer.poses import DRAWERS  # simedit.envs registers simedit/Drawer-v1
from simedit.errors import run_cli
from simedit.eval.metrics import mmrv, pearson_r
from simedit.library import SpecialistLibrary
from simedit.packaged import lab_data, policy_folder
from simedit.policies.cloned import ClonedPolicy
from simedit.wrapper import EditObservation


def succeeds(env, policy, task: str, drawer: str, pose: str, steps: int) -> bool:
    """One episode, judged at its last step, as SIMPLER does. A policy: `reset(instruction)`, `act(frame)`."""
    obs, info = env.reset(seed=0, options={"task": task, "drawer": drawer, "pose": pose})
    policy.reset(env.unwrapped.instruction)
    for _ in range(steps):
        action = policy.act(obs["sensor_data"]["overhead_camera"]["rgb"][0].numpy())
        obs, _, _, _, info = env.step(action.to_array())
        if action.terminate:
            break
    return bool(info["success"])


def main(
    policies: tuple[str, ...] = ("last", "begin"), styles: tuple[str, ...] = ("wood",), steps: int = 60
) -> None:
    """Print success rates, MMRV and r. So few trials prove nothing: for that there is `simedit-eval run`.

    Args:
        policies: Of the lab's: last, half, early, begin. Put yours beside them.
        styles: Besides the raw scenes.
        steps: The most that an episode takes.
    """
    library, real = SpecialistLibrary.load("lab"), yaml.safe_load(lab_data("real.yaml").open())["policies"]
    players = [ClonedPolicy(policy_folder(f"lab:{name}")) for name in policies]
    truth = [sum(task["successes"] / task["n"] for task in real[name].values()) / 2 for name in policies]
    print(("{:12}" + "{:>8}" * (len(policies) + 2)).format("scenes", *policies, "MMRV", "r"))
    for style in ("raw", *styles):
        env = gym.make("simedit/Drawer-v1", width=160, height=128)
        env = env if style == "raw" else EditObservation(env, library, style)
        tasks = [(task, drawer, "b1", steps) for task in ("open", "close") for drawer in DRAWERS]
        rates = [sum(succeeds(env, one, *task) for task in tasks) / len(tasks) for one in players]
        env.close()
        cells = [f"{value:.2f}" for value in (*rates, mmrv(rates, truth), pearson_r(rates, truth))]
        print(("{:12}" + "{:>8}" * len(cells)).format(style, *cells), flush=True)
    print(("{:12}" + "{:8.2f}" * len(truth)).format("proxy-real", *truth), " the lab's stand-in for reality")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
