"""What is acted in. Importing this registers two environments with gymnasium: the drawer twin as
`simedit/Drawer-v1`, the original as `simedit/SimplerDrawer-v1`.
"""

from __future__ import annotations

import gymnasium
from gymnasium.envs.registration import WrapperSpec

# The entry points are strings, so that simulators load only when an environment is made.
gymnasium.register(
    "simedit/Drawer-v1",
    entry_point="simedit.envs.drawer.twin:DrawerEnv",
    max_episode_steps=113,
    disable_env_checker=True,
    additional_wrappers=(WrapperSpec("TensorTimeLimit", "simedit.envs.drawer.limit:TensorTimeLimit", {}),),
)
gymnasium.register(
    "simedit/SimplerDrawer-v1",
    entry_point="simedit.envs.drawer.simpler:SimplerDrawerEnv",
    max_episode_steps=113,
    disable_env_checker=True,
)
