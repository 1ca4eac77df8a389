from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

pytest.importorskip("gymnasium", minversion="1.1", reason="gymnasium's vector environments as of 1.1")

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from simedit.errors import SimeditError
from simedit.vector import EditVectorObservation
from simedit.wrapper import EditObservation

H, W = 8, 10


class Clock(gym.Env):
    """Frames that tell the episode and the step; the id to repaint changes with the episode.

    An episode lasts as many steps as its environment's `length`. With `batch` (1,), frames come in a batch of
    one, as the drawer twin's do.
    """

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, length: int = 3, batch: tuple[int, ...] = ()) -> None:
        self._length, self._episode, self._batch = length, 0, batch
        camera = {
            "rgb": spaces.Box(0, 255, (*batch, H, W, 3), np.uint8),
            "segmentation": spaces.Box(-32768, 32767, (*batch, H, W, 1), np.int16),
        }
        camera = spaces.Dict({"overhead_camera": spaces.Dict(camera)})
        self.observation_space = spaces.Dict({"sensor_data": camera})
        self.action_space = spaces.Discrete(2)

    @property
    def edit_segmentation_ids(self) -> list[int]:
        return [self._episode]

    def _observation(self):
        frame = np.full((*self._batch, H, W, 3), 10 * self._episode + self._step, np.uint8)
        rows = np.arange(H, dtype=np.int16)[:, None, None]
        labels = np.broadcast_to(rows, (*self._batch, H, W, 1)).copy()
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
        return edits if masks is None else np.where(masks[..., None], edits, frames)


def shown(obs) -> np.ndarray:
    return obs["sensor_data"]["overhead_camera"]["rgb"]


def vector(lengths=(3, 5, 4), editor=None, style="light", mode=AutoresetMode.NEXT_STEP, batch=(), **settings):
    envs = SyncVectorEnv([lambda n=n: Clock(n, batch) for n in lengths], autoreset_mode=mode)
    return EditVectorObservation(envs, editor or Noise(), style, **settings)


@pytest.mark.parametrize("batch", [(), (1,), (2,)])
def test_each_environment_is_edited_as_a_lone_one_through_its_episodes(batch):
    envs = vector(seed=4, batch=batch)
    lone = [EditObservation(Clock(n, batch), Noise(), "light", seed=4) for n in (3, 5, 4)]
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


@pytest.mark.parametrize("shape", [(3, 1, H, W), (3, H, W), (H, W)])
def test_a_mask_has_the_images_shape_or_one_frames(shape):
    mask = np.zeros(shape, bool)
    mask[..., 2, :] = True
    envs = vector(batch=(1,), mask=lambda obs: mask)
    changed = (shown(envs.reset(seed=0)[0]) != 10).any((0, 1, 3, 4))
    np.testing.assert_array_equal(changed, np.arange(H) == 2)


def test_processes_are_edited_as_in_one():
    envs = AsyncVectorEnv([functools.partial(Clock, n, (1,)) for n in (3, 2)], context="spawn")
    envs = EditVectorObservation(envs, Noise(), "light")
    same = vector(lengths=(3, 2), batch=(1,))
    try:
        np.testing.assert_array_equal(shown(envs.reset(seed=7)[0]), shown(same.reset(seed=7)[0]))
        for _ in range(4):
            actions = np.zeros(2, int)
            np.testing.assert_array_equal(shown(envs.step(actions)[0]), shown(same.step(actions)[0]))
    finally:
        envs.close()


def test_render_shows_what_the_policies_saw():
    envs = vector(batch=(1,))
    with pytest.raises(SimeditError, match="reset"):
        envs.render()
    obs, _ = envs.reset(seed=0)
    np.testing.assert_array_equal(envs.render(), shown(obs)[:, 0])


def test_step_before_reset_is_refused():
    envs = vector()
    for env in envs.env.envs:
        env.reset()
    with pytest.raises(SimeditError, match="reset"):
        envs.step(np.zeros(3, int))


def test_seeds_may_be_several_and_options_stay_as_they_were():
    envs = vector(mode=AutoresetMode.DISABLED, lengths=(9, 9, 9), composition="none")
    first = shown(envs.reset(seed=np.int64(4))[0])
    np.testing.assert_array_equal(shown(envs.reset(seed=[4, 5, 6])[0]), first)
    options = {"reset_mask": np.array([True, False, False])}
    again = shown(envs.reset(seed=[4, None, None], options=options)[0])
    np.testing.assert_array_equal(again, first)
    assert list(options) == ["reset_mask"]
    for settings, message in (
        ({"seed": [1, 2]}, "3 environments take one seed or as many, got 2"),
        ({"seed": -1}, "a seed must be 0 or more"),
        ({"seed": [1, 2, 0.5]}, "a whole number, got 0.5"),
        ({"options": [1]}, "options must be a dict"),
    ):
        with pytest.raises(SimeditError, match=message):
            envs.reset(**settings)
    np.testing.assert_array_equal(shown(envs.step(np.zeros(3, int))[0]), first)


def test_an_environment_that_does_not_say_when_it_resets_is_refused():
    class Own(SyncVectorEnv):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            del self.metadata["autoreset_mode"]

    with pytest.raises(SimeditError, match="does not say when it resets"):
        EditVectorObservation(Own([Clock]), Noise(), "light")
    with pytest.raises(SimeditError, match="one environment goes into EditObservation"):
        EditVectorObservation(Clock(), Noise(), "light")


def test_the_space_gains_the_unedited_image():
    envs = vector(keep_raw="raw_rgb")
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    camera = obs["sensor_data"]["overhead_camera"]
    assert (camera["raw_rgb"] == 10).all()
    rows = np.arange(H) == 1  # the first episode's id
    np.testing.assert_array_equal((camera["rgb"] == camera["raw_rgb"]).all((0, 2, 3)), ~rows)
    assert "raw_rgb" in envs.single_observation_space["sensor_data"]["overhead_camera"].spaces


def test_masks_by_region_and_their_ids_are_each_environments_own():
    given = []

    class Noted(Noise):
        def edit(self, frames, *, styles, masks=None, seeds):
            given.append(masks)
            return super().edit(frames, styles=styles, masks=masks["own"], seeds=seeds)

    rows = np.arange(H)
    masks = {"own": "segmentation", "two": "segmentation", "top": lambda obs: rows[:, None] < np.full(W, 2)}
    envs = vector(editor=Noted(), mask=masks, mask_ids={"two": [2]}, region="top")
    envs.reset(seed=0)
    np.testing.assert_array_equal(given[0]["own"].all((0, 2)), rows == 1)  # the first episode's id
    np.testing.assert_array_equal(given[0]["two"].all((0, 2)), rows == 2)
    np.testing.assert_array_equal(given[0][""].all((0, 2)), rows < 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "ligth"}, "did you mean 'light'"),
        ({"style": None}, "styles must be a list of 3 names, got None"),
        ({"image_key": ["a"]}, "unknown image key 'a'"),
        ({"style": ["light"]}, "3 environments need as many styles, got 1"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"image_key": "sensor_data/overhead_camera/rgd"}, "overhead_camera/rgb"),
        ({"composition": "masks"}, "did you mean 'mask'"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(SimeditError, match=message):
        vector(**settings)


class OneBatch(gym.vector.VectorWrapper):
    """Has the last observations of episodes in one batch, as environments on a GPU do."""

    def step(self, actions):
        obs, rewards, terminations, truncations, infos = self.env.step(actions)
        if "final_obs" in infos:
            both = zip(iterate(self.observation_space, obs), infos["final_obs"], strict=True)
            last = [seen if end is None else end for seen, end in both]
            whole = create_empty_array(self.single_observation_space, self.num_envs)
            infos = {**infos, "final_obs": concatenate(self.single_observation_space, last, whole)}
        return obs, rewards, terminations, truncations, infos


@pytest.mark.parametrize(
    ("batch", "kind"),
    [((), "sync"), ((1,), "sync"), ((), "one batch"), ((), "async")],
)
def test_resets_within_the_step_change_the_noise_there_and_repaint_the_last_frame(batch, kind):
    lengths = (2, 3)
    makers = [functools.partial(Clock, length, batch) for length in lengths]
    if kind == "async":
        inner = AsyncVectorEnv(makers, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        inner = SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
        inner = OneBatch(inner) if kind == "one batch" else inner
    envs = EditVectorObservation(inner, Noise(), ["light", "dark"], seed=5, keep_raw="raw")
    lone = [
        EditObservation(Clock(length, batch), Noise(), style, seed=5)
        for length, style in zip(lengths, ("light", "dark"), strict=True)
    ]
    envs.reset(seed=7)
    for i, env in enumerate(lone):
        env.reset(seed=7 + i)
    ended = 0
    for _ in range(6):
        obs, _, _, over, infos = envs.step(np.zeros(2, int))
        for i, env in enumerate(lone):
            last, _, _, done, _ = env.step(0)
            assert over[i] == done
            if done:
                final = infos["final_obs"]
                if kind == "one batch":
                    final = list(iterate(envs.observation_space, final))
                final = final[i]
                assert final in envs.single_observation_space
                np.testing.assert_array_equal(shown(final), shown(last))
                last, ended = env.reset()[0], ended + 1
            np.testing.assert_array_equal(shown(obs)[i], shown(last))
    assert ended == 5
    envs.close()


def test_maniskills_vector_environment_goes_around():
    envs = SyncVectorEnv([Clock])
    envs.update_obs_space = None  # what ManiSkill's environments have
    with pytest.raises(SimeditError, match=r"ManiSkillVectorEnv\(EditObservation\(env"):
        EditVectorObservation(envs, Noise(), "light")


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_mode_may_be_its_name(mode):
    envs = SyncVectorEnv([functools.partial(Clock, 2)] * 2, autoreset_mode=mode)
    named = SyncVectorEnv([functools.partial(Clock, 2)] * 2, autoreset_mode=mode)
    named.metadata = {**named.metadata, "autoreset_mode": mode.value}
    both = [EditVectorObservation(each, Noise(), "light") for each in (envs, named)]
    frames = [[shown(each.reset(seed=0)[0])] for each in both]
    for seen, each in zip(frames, both, strict=True):
        if mode != AutoresetMode.DISABLED:
            seen += [shown(each.step(np.zeros(2, int))[0]) for _ in range(4)]
    np.testing.assert_array_equal(*frames)
    named.metadata = {"autoreset_mode": "sometimes"}
    with pytest.raises(SimeditError, match=r"'sometimes', none of AutoresetMode\.NEXT_STEP"):
        EditVectorObservation(named, Noise(), "light")


class Elsewhere(gym.vector.VectorWrapper):
    """Last observations as gymnasium called them before."""

    def step(self, actions):
        *rest, infos = self.env.step(actions)
        if "final_obs" in infos:
            infos["final_observation"] = infos.pop("final_obs")
        return *rest, infos


def test_last_observations_under_another_name_are_refused():
    envs = SyncVectorEnv([functools.partial(Clock, 1)], autoreset_mode=AutoresetMode.SAME_STEP)
    envs = EditVectorObservation(Elsewhere(envs), Noise(), "light")
    envs.reset(seed=0)
    with pytest.raises(SimeditError, match="gymnasium's name for them is 'final_obs'"):
        envs.step(np.zeros(1, int))


def test_of_last_observations_only_images_change():
    class Scored(Clock):
        def _observation(self):
            return {**super()._observation(), "more": [self._step]}

    envs = SyncVectorEnv([functools.partial(Scored, 1)], autoreset_mode=AutoresetMode.SAME_STEP)
    envs = EditVectorObservation(envs, Noise(), "light")
    envs.reset(seed=0)
    (last,) = envs.step(np.zeros(1, int))[-1]["final_obs"]
    assert last["more"] == [1]
    assert shown(last).max() > 100
