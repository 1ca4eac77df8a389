"""SIMPLER's own evaluation loop, with the three lines that change marked.

python examples/simpler_script.py --out episode.mp4 --task google_robot_open_top_drawer
"""

from pathlib import Path

import gymnasium as gym
import imageio.v3 as iio
import tyro

from simedit.errors import run_cli
from simedit.library import SpecialistLibrary
from simedit.packaged import policy_folder
from simedit.policies.cloned import ClonedPolicy
from simedit.wrapper import EditObservation  # changed, 1 of 3 (with the library's import)

try:
    from simpler_env import make
    from simpler_env.utils.env.observation_utils import get_image_from_maniskill2_obs_dict as get_image
except ImportError:  # the same for simedit's drawer twin

    def make(task: str) -> gym.Env:
        print("SimplerEnv is not installed (docs/from-nothing.md says how): this is the drawer twin")
        env = gym.make("simedit.envs:simedit/Drawer-v1", task=task.split("_")[2], drawer=task.split("_")[3])
        env.unwrapped.get_language_instruction = lambda: env.unwrapped.instruction
        return env

    def get_image(env, obs):
        return obs["sensor_data"]["overhead_camera"]["rgb"][0].numpy()


def main(out: Path, task: str = "google_robot_close_bottom_drawer", steps: int = 60) -> None:
    """Play one episode. SIMPLER has RT-1 or Octo where this has the lab's small policy.

    Args:
        out: What the policy saw, an MP4.
        task: One of SIMPLER's drawer tasks that name a drawer.
        steps: The most that the episode takes.
    """
    policy, env = ClonedPolicy(policy_folder("lab:last")), make(task)
    library = SpecialistLibrary.load("lab")  # changed, 2 of 3
    env = EditObservation(env, library, style="wood", composition="none")  # 3 of 3; no mask there

    obs, _ = env.reset()
    policy.reset(instruction := env.unwrapped.get_language_instruction())
    images = [get_image(env, obs)]
    for _ in range(steps):
        action = policy.act(images[-1])
        obs, _, _, truncated, info = env.step(action.to_array())
        images.append(get_image(env, obs))
        if action.terminate or truncated:
            break
    iio.imwrite(out, images, fps=3, plugin="FFMPEG")
    print(f"{instruction}: {'done' if info['success'] else 'not done'} after {len(images) - 1} steps; {out}")


if __name__ == "__main__":
    raise SystemExit(run_cli(lambda: tyro.cli(main)))
