from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("gymnasium", minversion="1.1", reason="gymnasium's vector environments as of 1.1")

from gymnasium.vector import AutoresetMode, SyncVectorEnv

from simedit.composition import compose
from simedit.errors import SimeditError
from simedit.vector import EditVectorObservation
from simedit.wrapper import EditObservation

H, W = 8, 10


class Clock(gym.Env):
    """Frames that tell the episode and the step; the id to repaint changes with the episode.

    An episode lasts as many steps as its environment's `length`.
    """

    def __init__(self, length: int = 3) -> None:
        self._length, self._episode = length, 0
        camera = {
            "rgb": spaces.Box(0, 255, (H, W, 3), np.uint8),
            "segmentation": spaces.Box(-32768, 32767, (H, W, 1), np.int16),
        }
        camera = spaces.Dict({"overhead_camera": spaces.Dict(camera)})
        self.observation_space = spaces.Dict({"sensor_data": camera})
        self.action_space = spaces.Discrete(2)

    @property
    def edit_segmentation_ids(self) -> list[int]:
        return [self._episode]

    def _observation(self):
        frame = np.full((H, W, 3), 10 * self._episode + self._step, np.uint8)
        labels = np.broadcast_to(np.arange(H, dtype=np.int16)[:, None, None], (H, W, 1)).copy()
        return {"sensor_data": {"overhead_camera": {"rgb": frame, "segmentation": labels}}}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._episode, self._step = self._episode + 1, 0
        return self._observation(), {}

    def step(self, action):
        self._step += 1
        return self._observation(), 0.0, False, self._step == self._length, {}


class Noise:
    """A small real editor: a style's brightness, and the seed's noise."""

    styles = ("light", "dark")

    def __init__(self) -> None:
        self.calls = 0

    def edit(self, frames, *, styles, masks=None, seeds):
        self.calls += 1
        edits = np.stack(
            [
                np.random.default_rng(seed).integers(0, 100, frame.shape) + (100 if style == "light" else 0)
                for frame, style, seed in zip(frames, styles, seeds, strict=True)
            ]
        ).astype(np.uint8)
        return edits if masks is None else compose(frames, edits, masks, feather=0)


def shown(obs) -> np.ndarray:
    return obs["sensor_data"]["overhead_camera"]["rgb"]


def vector(lengths=(3, 5, 4), editor=None, style="light", mode=AutoresetMode.NEXT_STEP, **settings):
    envs = SyncVectorEnv([lambda n=n: Clock(n) for n in lengths], autoreset_mode=mode)
    return EditVectorObservation(envs, editor or Noise(), style, **settings)


def test_each_environment_is_edited_as_a_lone_one_through_its_episodes():
    envs, lone = vector(seed=4), [EditObservation(Clock(n), Noise(), "light", seed=4) for n in (3, 5, 4)]
    together = [shown(envs.reset(seed=7)[0])]
    for _ in range(9):
        together.append(shown(envs.step(np.zeros(3, int))[0]))
    for i, env in enumerate(lone):
        expected, over = [shown(env.reset(seed=7 + i)[0])], False
        for _ in range(9):
            if over:
                (obs, _), over = env.reset(), False
            else:
                obs, _, _, over, _ = env.step(0)
            expected.append(shown(obs))
        np.testing.assert_array_equal(np.stack(together)[:, i], np.stack(expected))


def test_all_frames_are_edited_in_one_call():
    editor = Noise()
    envs = vector(editor=editor)
    envs.reset(seed=0)
    assert editor.calls == 1
    envs.step(np.zeros(3, int))
    assert editor.calls == 2


def test_styles_are_per_environment_and_may_change():
    envs = vector(style=["light", "dark", "light"], composition="none")
    brightness = shown(envs.reset(seed=0)[0]).mean((1, 2, 3))
    assert brightness[1] < 60 < 140 < min(brightness[0], brightness[2])
    envs.styles = ("dark", "light", "dark")
    brightness = shown(envs.step(np.zeros(3, int))[0]).mean((1, 2, 3))
    assert max(brightness[0], brightness[2]) < 60 < 140 < brightness[1]


def test_some_are_reset_alone():
    envs = vector(lengths=(9, 9, 9), mode=AutoresetMode.DISABLED, composition="none")
    first = shown(envs.reset(seed=0)[0])
    again = shown(envs.reset(options={"reset_mask": np.array([False, True, False])})[0])
    assert [bool((a == b).all()) for a, b in zip(first, again, strict=True)] == [True, False, True]


def test_the_space_gains_the_unedited_image():
    envs = vector(keep_raw="raw_rgb")
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    camera = obs["sensor_data"]["overhead_camera"]
    assert (camera["raw_rgb"] == 10).all()
    rows = np.arange(H) == 1  # the first episode's id
    np.testing.assert_array_equal((camera["rgb"] == camera["raw_rgb"]).all((0, 2, 3)), ~rows)
    assert "raw_rgb" in envs.single_observation_space["sensor_data"]["overhead_camera"].spaces


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "ligth"}, "did you mean 'light'"),
        ({"style": ["light"]}, "3 environments need as many styles, got 1"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"image_key": "sensor_data/overhead_camera/rgd"}, "overhead_camera/rgb"),
        ({"composition": "masks"}, "did you mean 'mask'"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(SimeditError, match=message):
        vector(**settings)


def test_resets_within_a_step_are_refused():
    with pytest.raises(ValueError, match="NEXT_STEP or DISABLED"):
        vector(mode=AutoresetMode.SAME_STEP)
