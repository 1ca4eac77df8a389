"""What is acted in: the drawer twin. Importing this registers `simedit/Drawer-v1` with gymnasium."""

from __future__ import annotations

import gymnasium
from gymnasium.envs.registration import WrapperSpec

# The entry points are strings, so that mani_skill and sapien load only when an environment is made.
gymnasium.register(
    "simedit/Drawer-v1",
    entry_point="simedit.envs.drawer:DrawerEnv",
    max_episode_steps=113,
    disable_env_checker=True,
    additional_wrappers=(
        WrapperSpec(
            "MSTimeLimit",
            "mani_skill.utils.registration:TimeLimitWrapper",
            {"max_episode_steps": 113},
        ),
    ),
)
