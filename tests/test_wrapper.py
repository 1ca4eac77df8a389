from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
import warnings
from collections import OrderedDict
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from PIL import Image

from simedit.errors import SimeditError
from simedit.eval.rollout import _frames
from simedit.wrapper import EditObservation, find_image_key, get_path

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "reference"
H, W = 12, 16


class Negative:
    """A small real editor: inverts colours ("negative") or greens ("toxic"), and adds the seed's noise."""

    styles = ("negative", "toxic")

    def edit(self, frames, *, styles, masks=None, seeds):
        edits = np.empty_like(frames)
        for i, (frame, style, seed) in enumerate(zip(frames, styles, seeds, strict=True)):
            painted = 255 - frame if style == "negative" else frame // 2 + np.uint8([0, 100, 0])
            noise = np.random.default_rng(seed).integers(0, 20, frame.shape)
            edits[i] = np.clip(painted.astype(int) + noise, 0, 255)
        return edits if masks is None else np.where(masks[..., None], edits, frames)


def box(*shape: int, dtype: type = np.uint8) -> spaces.Box:
    limits = (-np.inf, np.inf) if dtype == np.float32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return spaces.Box(*limits, shape, dtype)


class SimplerLike(gym.Env):
    """Observations in the original SIMPLER's format: nested dicts of unbatched NumPy arrays."""

    edit_segmentation_ids = (7, 9)

    def __init__(self, frame: np.ndarray | None = None, labels: np.ndarray | None = None) -> None:
        rng = np.random.default_rng(3)
        self.frame = rng.integers(0, 256, (H, W, 3), dtype=np.uint8) if frame is None else frame
        self.labels = rng.choice([0, 1, 7, 9], (H, W)) if labels is None else labels
        height, width = self.frame.shape[:2]
        camera = {"rgb": box(height, width, 3), "Segmentation": box(height, width, 4, dtype=np.uint32)}
        self.observation_space = spaces.Dict(
            {
                "agent": spaces.Dict({"qpos": box(4, dtype=np.float32)}),
                "image": spaces.Dict({"overhead_camera": spaces.Dict(camera)}),
            }
        )
        self.action_space = spaces.Discrete(2)

    def _observe(self):
        segmentation = np.zeros((*self.labels.shape, 4), np.uint32)
        segmentation[..., 0] = self.labels + np.uint32(1000)  # meshes; the actors are in channel 1
        segmentation[..., 1] = self.labels
        camera = OrderedDict(rgb=self.frame.copy(), Segmentation=segmentation)
        qpos = np.full(4, self.steps, np.float32)
        self.last = {"agent": {"qpos": qpos}, "image": {"overhead_camera": camera}}
        return self.last

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 0.0, False, self.steps >= 5, {}


class Seen(gym.ObservationWrapper):
    """An environment seen through a function of its observation."""

    def __init__(self, look, space: spaces.Space) -> None:
        super().__init__(SimplerLike())
        self.observation, self.observation_space = look, space


class ManiSkillLike(gym.Env):
    """Observations in ManiSkill 3's format: batched torch tensors, spaces with the batch dimension."""

    metadata = {"render_modes": ["rgb_array"]}

    edit_segmentation_ids = (7,)

    def __init__(self, num_envs: int = 3) -> None:
        self.num_envs = num_envs
        generator = torch.Generator().manual_seed(0)
        # All elements see the same picture, so that only the noise tells them apart.
        self.frame = torch.randint(256, (1, H, W, 3), generator=generator, dtype=torch.uint8)
        self.frame = self.frame.repeat(num_envs, 1, 1, 1)
        self.labels = torch.randint(6, 8, (num_envs, H, W, 1), generator=generator, dtype=torch.int16)
        self.observation_space = self._space(num_envs)
        self.single_observation_space = self._space()
        self.action_space = spaces.Discrete(2)

    @staticmethod
    def _space(*batch: int) -> spaces.Dict:
        camera = {"rgb": box(*batch, H, W, 3), "segmentation": box(*batch, H, W, 1, dtype=np.int16)}
        return spaces.Dict({"sensor_data": spaces.Dict({"overhead_camera": spaces.Dict(camera)})})

    def reset(self, *, seed=None, options=None):
        camera = {"rgb": self.frame.clone(), "segmentation": self.labels.clone()}
        return {"sensor_data": {"overhead_camera": camera}}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def image(obs):
    return get_path(obs, find_image_key(obs))


def masked(labels) -> np.ndarray:
    return np.isin(np.asarray(labels), (7, 9))


def test_simpler_format_changes_the_masked_image_alone():
    env = SimplerLike()
    wrapped = EditObservation(env, Negative(), "negative", seed=0)
    assert wrapped.observation_space is env.observation_space
    obs, _ = wrapped.reset(seed=0)
    assert obs in wrapped.observation_space
    mask = masked(env.labels)
    np.testing.assert_array_equal(image(obs)[~mask], env.frame[~mask])
    assert (image(obs)[mask] != env.frame[mask]).any(axis=-1).mean() > 0.9
    # The environment's own observation is as it was, and every other entry is the very same object.
    np.testing.assert_array_equal(image(env.last), env.frame)
    assert obs["agent"] is env.last["agent"]
    camera, raw_camera = obs["image"]["overhead_camera"], env.last["image"]["overhead_camera"]
    assert type(camera) is OrderedDict
    assert list(camera) == list(raw_camera)
    assert camera["Segmentation"] is raw_camera["Segmentation"]


def test_maniskill_format_keeps_container_dtype_device_and_batch():
    env = ManiSkillLike()
    wrapped = EditObservation(env, Negative(), "negative")
    obs, _ = wrapped.reset(seed=0)
    edited = image(obs)
    assert isinstance(edited, torch.Tensor)
    assert (edited.dtype, edited.device, edited.shape) == (torch.uint8, env.frame.device, env.frame.shape)
    mask = env.labels[..., 0] == 7
    assert torch.equal(edited[~mask], env.frame[~mask])
    assert (edited[mask] != env.frame[mask]).any()


def test_noise_is_fixed_for_an_episode_and_follows_the_seeds():
    def episodes(seed: int, reset_seed: int) -> list[np.ndarray]:
        env = EditObservation(SimplerLike(), Negative(), "negative", seed=seed)
        first = image(env.reset(seed=reset_seed)[0])
        later = [image(env.step(0)[0]) for _ in range(2)]
        for frame in later:
            np.testing.assert_array_equal(frame, first)
        return [first, image(env.reset()[0]), image(env.reset()[0])]

    reference = episodes(0, 0)
    np.testing.assert_array_equal(reference, episodes(0, 0))
    everything = [*reference, *episodes(1, 0), *episodes(0, 1)]
    assert len({frame.tobytes() for frame in everything}) == 9


def test_edits_are_the_same_in_another_process():
    script = """
        import sys
        sys.path.insert(0, sys.argv[1])
        from test_wrapper import second_episode
        sys.stdout.write(second_episode().tobytes().hex())
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parent)]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert there == second_episode().tobytes().hex()


def second_episode() -> np.ndarray:
    env = EditObservation(SimplerLike(), Negative(), "negative", seed=5)
    env.reset(seed=6)
    return image(env.reset()[0])


def test_batch_elements_have_their_own_noise_and_a_list_of_seeds_equals_lone_environments():
    batched = EditObservation(ManiSkillLike(3), Negative(), "negative", composition="none")
    alone = EditObservation(ManiSkillLike(1), Negative(), "negative", composition="none")
    frames = image(batched.reset(seed=4)[0])
    assert len({frame.numpy().tobytes() for frame in frames}) == 3
    frames = image(batched.reset(seed=[4, 5, 6])[0])
    for frame, seed in zip(frames, (4, 5, 6), strict=True):
        assert torch.equal(image(alone.reset(seed=seed)[0])[0], frame)


def test_partial_reset_draws_noise_for_its_elements_alone():
    env = EditObservation(ManiSkillLike(3), Negative(), "negative", composition="none")
    before = image(env.reset(seed=0)[0])
    after = image(env.reset(options={"env_idx": torch.tensor([1])})[0])
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_step_before_reset_is_refused():
    env = SimplerLike()
    env.steps = 0
    with pytest.raises(SimeditError, match="reset"):
        EditObservation(env, Negative(), "negative").step(0)


def test_style_can_be_set_between_episodes_and_an_unknown_one_names_the_nearest():
    env = EditObservation(SimplerLike(), Negative(), "negative")
    negative = image(env.reset(seed=0)[0])
    env.style = "toxic"
    assert not np.array_equal(image(env.reset(seed=0)[0]), negative)
    with pytest.raises(SimeditError, match="did you mean 'negative'"):
        env.style = "negativ"
    assert env.style == "toxic"
    with pytest.raises(SimeditError, match="did you mean 'toxic'"):
        EditObservation(SimplerLike(), Negative(), "toxc")


@pytest.mark.parametrize("make", [SimplerLike, ManiSkillLike])
def test_keep_raw_puts_the_raw_frame_beside_and_extends_the_space(make):
    env = make()
    space = copy.deepcopy(env.observation_space)
    wrapped = EditObservation(env, Negative(), "negative", keep_raw="raw_rgb")
    assert env.observation_space == space
    obs, _ = wrapped.reset(seed=0)
    camera = find_image_key(obs).rpartition("/")[0]
    np.testing.assert_array_equal(get_path(obs, f"{camera}/raw_rgb"), env.frame)
    as_numpy = obs if make is SimplerLike else numpied(obs)
    assert as_numpy in wrapped.observation_space
    if make is ManiSkillLike:
        single = wrapped.get_wrapper_attr("single_observation_space")
        assert get_path(single, f"{camera}/raw_rgb").shape == (H, W, 3)
    with pytest.raises(SimeditError, match="keep_raw='rgb'"):
        EditObservation(env, Negative(), "negative", keep_raw="rgb")


def numpied(obs):
    return {k: numpied(v) for k, v in obs.items()} if isinstance(obs, dict) else obs.numpy()


def test_user_path_top_level_key_and_bare_image():
    plain = Seen(lambda obs: {"pixels": image(obs)}, spaces.Dict(pixels=box(H, W, 3)))
    env = EditObservation(plain, Negative(), "negative", image_key="pixels", composition="none")
    obs, _ = env.reset(seed=0)
    assert list(obs) == ["pixels"]
    bare = Seen(image, box(H, W, 3))
    env = EditObservation(bare, Negative(), "negative", composition="none")
    assert env.image_keys == ("",)
    np.testing.assert_array_equal(env.reset(seed=0)[0], obs["pixels"])
    with pytest.raises(SimeditError, match="keep_raw"):
        EditObservation(bare, Negative(), "negative", composition="none", keep_raw="raw")


def test_mask_from_a_function_or_from_chosen_ids():
    env = SimplerLike()
    chosen = EditObservation(env, Negative(), "negative", mask_ids=[1]).reset(seed=0)[0]
    function = EditObservation(env, Negative(), "negative", mask=lambda obs: env.labels == 1).reset(seed=0)[0]
    np.testing.assert_array_equal(image(chosen), image(function))
    np.testing.assert_array_equal((image(chosen) != env.frame).any(-1) & (env.labels != 1), False)
    nothing = EditObservation(env, Negative(), "negative", mask_ids=[]).reset(seed=0)[0]
    np.testing.assert_array_equal(image(nothing), env.frame)
    batched = ManiSkillLike()
    left = np.arange(W) < W // 2
    half = EditObservation(batched, Negative(), "negative", mask=lambda obs: np.tile(left, (H, 1)))
    changed = (image(half.reset(seed=0)[0]) != batched.frame).any(-1).numpy()
    assert changed[..., left].mean() > 0.9
    assert not changed[..., ~left].any()


def test_edits_inside_dicts_survive_other_wrappers():
    env = gym.wrappers.TimeLimit(
        EditObservation(gym.wrappers.OrderEnforcing(SimplerLike()), Negative(), "toxic"), 2
    )
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(2)] == [False, True]
    assert env.get_wrapper_attr("style") == "toxic"


def test_gymnasium_checks_the_wrapped_environment():
    env = EditObservation(SimplerLike(), Negative(), "negative", keep_raw="raw_rgb")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(different from the unwrapped|not within|Box|spec).*")
        check_env(env, skip_render_check=True)


def test_an_edit_outside_the_images_bounds_widens_the_space():
    dim = spaces.Box(0, 200, (H, W, 3), np.uint8)
    env = EditObservation(Seen(lambda obs: image(obs) // 2, dim), Negative(), "negative", composition="none")
    obs, _ = env.reset(seed=0)
    assert obs.max() > 200
    assert obs in env.observation_space


class Episodes(SimplerLike):
    """Two steps an episode."""

    def step(self, action):
        obs, *rest = super().step(action)
        return obs, rest[0], self.steps >= 2, False, {}


def test_noise_is_per_episode_above_and_below_gymnasiums_autoreset():
    autoreset = getattr(gym.wrappers, "Autoreset", None)
    if autoreset is None:
        pytest.skip("gymnasium 1.0 and later")

    def frames(env):
        return [image(env.reset(seed=3)[0]), *(image(env.step(0)[0]) for _ in range(8))]

    below = frames(EditObservation(autoreset(Episodes()), Negative(), "negative"))
    above = frames(autoreset(EditObservation(Episodes(), Negative(), "negative")))
    np.testing.assert_array_equal(below, above)
    assert [len({frame.tobytes() for frame in below[i : i + 3]}) for i in (0, 3, 6)] == [1, 1, 1]
    assert len({frame.tobytes() for frame in below}) == 3


@pytest.mark.parametrize("key", ["final_obs", "final_observation"])
def test_a_reset_within_the_step_below_is_refused(key):
    class Resetting(SimplerLike):
        def step(self, action):
            return *super().step(action)[:4], {key: self._observe()}

    env = EditObservation(Resetting(), Negative(), "negative")
    env.reset()
    with pytest.raises(SimeditError, match="put EditObservation below the wrapper that resets"):
        env.step(0)


def stacked(env, count: int = 3):
    stack = getattr(gym.wrappers, "FrameStackObservation", None)
    if stack is None:
        pytest.skip("gymnasium 1.0 and later")
    return stack(env, count, padding_type="reset")


class Bare(SimplerLike):
    """The image alone; it changes with each step."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = box(H, W, 3)

    def _observe(self):
        return self.frame + np.uint8(self.steps)


def test_frames_of_a_stack_share_their_noise_whichever_wrapper_is_outside():
    inside = EditObservation(stacked(Bare()), Negative(), "negative", composition="none")
    outside = stacked(EditObservation(Bare(), Negative(), "negative", composition="none"))
    first = inside.reset(seed=2)[0]
    np.testing.assert_array_equal(first, outside.reset(seed=2)[0])
    np.testing.assert_array_equal(first[0], first[2])
    stepped = inside.step(0)[0]
    np.testing.assert_array_equal(stepped, outside.step(0)[0])
    assert not np.array_equal(stepped[1], stepped[2])
    assert stepped in inside.observation_space


def test_a_stack_of_tensors_keeps_its_batch_of_one_and_of_several_it_is_refused():
    class Stacked(ManiSkillLike):
        def __init__(self, num_envs):
            super().__init__(num_envs)
            self.frame, self.labels = (
                self.frame[None].repeat(2, 1, 1, 1, 1),
                self.labels[None].repeat(2, 1, 1, 1, 1),
            )
            self.observation_space = self._space(2, num_envs)

    frames = image(EditObservation(Stacked(1), Negative(), "negative").reset(seed=0)[0])
    assert frames.shape == (2, 1, H, W, 3)
    assert torch.equal(frames[0], frames[1])
    with pytest.raises(
        SimeditError, match=r"3 environments, but images \[2, 3, .*goes around EditObservation"
    ):
        EditObservation(Stacked(3), Negative(), "negative")


def wrappers():
    w = gym.wrappers
    yield "TimeLimit", lambda env: w.TimeLimit(env, 3)
    yield "OrderEnforcing", w.OrderEnforcing
    yield "RecordEpisodeStatistics", w.RecordEpisodeStatistics
    if not hasattr(w, "FrameStackObservation"):  # before gymnasium 1.0
        return
    yield "PassiveEnvChecker", w.PassiveEnvChecker
    yield "Autoreset", w.Autoreset
    yield "StickyAction", lambda env: w.StickyAction(env, 0.5)
    yield "FrameStackObservation", lambda env: w.FrameStackObservation(env, 2)
    yield "MaxAndSkipObservation", lambda env: w.MaxAndSkipObservation(env, 2)
    yield "DelayObservation", lambda env: w.DelayObservation(env, 1)
    yield "ResizeObservation", lambda env: w.ResizeObservation(env, (6, 8))
    yield "ReshapeObservation", lambda env: w.ReshapeObservation(env, (W, H, 3))
    yield "GrayscaleObservation", w.GrayscaleObservation
    yield "FlattenObservation", w.FlattenObservation
    yield "DtypeObservation", lambda env: w.DtypeObservation(env, np.float32)


def played(env):
    obs, _ = env.reset(seed=0)
    for _ in range(7):
        assert obs in env.observation_space
        obs, _, terminated, truncated, _ = env.step(0)
        if terminated or truncated:
            obs, _ = env.reset()
    return obs


UNFIT = {"GrayscaleObservation", "FlattenObservation", "DtypeObservation"}
"""They leave no image that could be edited."""


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize(("name", "wrapper"), list(wrappers()))
def test_gymnasiums_wrappers_go_around_and_below(name, wrapper):
    settings = {"editor": Negative(), "style": "negative", "composition": "none"}
    around = played(wrapper(EditObservation(Bare(), **settings)))
    if name in UNFIT:
        with pytest.raises(SimeditError, match="no camera image"):
            EditObservation(wrapper(Bare()), **settings)
        return
    below = played(EditObservation(wrapper(Bare()), **settings))
    assert around.shape == below.shape
    assert (played(wrapper(Bare())) != below).mean() > 0.9


@pytest.mark.filterwarnings("ignore:.*")
def test_rendered_pictures_of_an_environment_without_a_camera():
    pytest.importorskip("pygame")
    pytest.importorskip("gymnasium", minversion="1.0")
    env = gym.make("CartPole-v1", render_mode="rgb_array")
    env = gym.wrappers.AddRenderObservation(env, render_only=False, render_key="pixels", obs_key="state")
    env = EditObservation(env, Negative(), "negative", mask=lambda obs: obs["pixels"].min(-1) < 255)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    drawn = env.env.render()
    changed = (obs["pixels"] != drawn).any(-1)
    assert 0 < changed.mean() < 0.1
    assert not changed[(drawn == 255).all(-1)].any()
    np.testing.assert_array_equal(env.render(), obs["pixels"])


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize(("kind", "key"), [("pixels", ""), ("pixels_agent_pos", "pixels")])
def test_push_t(kind, key):
    pytest.importorskip("gym_pusht")
    env = gym.make("gym_pusht/PushT-v0", obs_type=kind, render_mode="rgb_array")
    env = EditObservation(env, Negative(), "toxic", composition="none")
    assert env.image_keys == (key,)
    obs, _ = env.reset(seed=0)
    again, *_ = env.step(env.action_space.sample())
    for seen in (obs, again):
        assert seen in env.observation_space
    np.testing.assert_array_equal(env.render(), get_path(again, key))


def test_a_style_is_set_through_the_wrappers_around():
    env = gym.wrappers.TimeLimit(EditObservation(SimplerLike(), Negative(), "negative"), 9)
    if not hasattr(env, "set_wrapper_attr"):
        pytest.skip("gymnasium 1.0 and later")
    negative = image(env.reset(seed=0)[0])
    env.set_wrapper_attr("style", "toxic")
    assert env.get_wrapper_attr("style") == env.env.style == "toxic"
    assert not np.array_equal(image(env.step(0)[0]), negative)
    with pytest.raises(SimeditError, match="did you mean 'toxic'"):
        env.set_wrapper_attr("style", "toxc")


def test_two_edits_follow_one_another():
    inner = EditObservation(SimplerLike(), Negative(), "negative", seed=1)
    both = EditObservation(inner, Negative(), "toxic", seed=2, keep_raw="before")
    obs, _ = both.reset(seed=0)
    before = obs["image"]["overhead_camera"]["before"]
    alone, _ = EditObservation(SimplerLike(), Negative(), "negative", seed=1).reset(seed=0)
    np.testing.assert_array_equal(before, image(alone))
    assert (image(obs) != before).any()
    assert (inner.style, both.style) == ("negative", "toxic")


class Rendering(SimplerLike):
    """Its own render is white."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        return np.full((H, W, 3), 255, np.uint8)


@pytest.fixture
def registered():
    gym.register("test/Rendering-v0", entry_point=Rendering, max_episode_steps=9, disable_env_checker=True)
    yield "test/Rendering-v0"
    del gym.envs.registration.registry["test/Rendering-v0"]


def test_render_shows_what_the_policy_saw(registered):
    env = EditObservation(gym.make(registered, render_mode="rgb_array"), Negative(), "negative")
    with pytest.raises(SimeditError, match="reset"):
        env.render()
    for obs in (env.reset(seed=0)[0], env.step(0)[0]):
        np.testing.assert_array_equal(env.render(), image(obs))
    env.render()[:] = 0
    assert env.render().any()
    stack = EditObservation(stacked(gym.make(registered, render_mode="rgb_array")), Negative(), "negative")
    np.testing.assert_array_equal(image(stack.reset(seed=0)[0])[-1], stack.render())
    batched = ManiSkillLike()
    batched.render_mode = "rgb_array"
    batched = EditObservation(batched, Negative(), "negative")
    np.testing.assert_array_equal(image(batched.reset(seed=0)[0]), batched.render())


def test_render_modes_that_show_unedited_frames_are_told(registered):
    with pytest.warns(UserWarning, match="'human' below EditObservation shows unedited frames"):
        env = EditObservation(gym.make(registered, render_mode="human"), Negative(), "negative")
    env.reset()
    assert (env.render() == 255).all()
    assert EditObservation(Rendering(), Negative(), "negative").render().all()


@pytest.mark.filterwarnings("ignore:.*")
def test_record_video_records_what_the_policy_saw(registered, tmp_path):
    pytest.importorskip("moviepy")
    pytest.importorskip("gymnasium", minversion="1.0")

    class Flat(Negative):
        def edit(self, frames, *, styles, masks=None, seeds):
            return np.full_like(frames, (200, 60, 20))

    env = EditObservation(
        gym.make(registered, render_mode="rgb_array"), Flat(), "negative", composition="none"
    )
    env = gym.wrappers.RecordVideo(env, str(tmp_path))
    env.reset(seed=0)
    env.step(0)
    env.close()
    import imageio.v3 as iio

    frames = iio.imread(next(tmp_path.glob("*.mp4"))).astype(int)
    assert frames.shape == (2, H, W, 3)
    assert np.abs(frames - (200, 60, 20)).max() < 12


class Uncopied(Negative):
    def __deepcopy__(self, memo):
        raise AssertionError("a library of weights must not be copied")


def test_a_specification_makes_the_wrapped_environment_anew(registered):
    settings = {"seed": 5, "mask_ids": iter([7]), "keep_raw": "raw"}
    env = EditObservation(gym.make(registered), Uncopied(), "toxic", **settings)
    env = gym.wrappers.TimeLimit(env, 7)
    again = gym.make(env.spec, render_mode="rgb_array")
    obs, _ = again.reset(seed=1)
    expected, _ = env.reset(seed=1)
    np.testing.assert_array_equal(image(obs), image(expected))
    np.testing.assert_array_equal(again.render(), image(expected))
    assert "raw" in obs["image"]["overhead_camera"]
    with pytest.raises((TypeError, ValueError)):
        env.spec.to_json()


def two_cameras(size: tuple[int, int] = (H, W)) -> gym.Env:
    camera = {"front": box(H, W, 3), "side": box(*size, 3), "labels": box(H, W, dtype=np.int16)}

    def look(obs):
        side = np.full((*size, 3), 60, np.uint8)
        return {"front": image(obs), "side": side, "labels": np.int16(np.arange(W) < np.full((H, 1), 4))}

    return Seen(look, spaces.Dict(camera))


class Counted(Negative):
    calls = 0

    def edit(self, frames, **settings):
        self.calls += 1
        return super().edit(frames, **settings)


@pytest.mark.parametrize(("size", "calls"), [((H, W), 1), ((H, 2 * W), 2)])
def test_several_cameras_are_edited_in_one_call_for_each_size(size, calls):
    editor, env = Counted(), two_cameras(size)
    half = np.zeros(size, bool)
    half[:, :3] = True
    both = EditObservation(
        env,
        editor,
        "negative",
        image_key=["side", "front"],
        mask={"front": "labels", "side": lambda obs: half},
        mask_ids=[1],
    )
    obs, _ = both.reset(seed=0)
    assert editor.calls == calls
    assert (obs["side"][~half] == 60).all()
    assert (obs["side"][half] != 60).any(-1).mean() > 0.9
    alone = EditObservation(env, Negative(), "negative", image_key="front", mask="labels", mask_ids=[1])
    np.testing.assert_array_equal(obs["front"], alone.reset(seed=0)[0]["front"])
    with pytest.raises(SimeditError, match="room for one image"):
        EditObservation(
            env, editor, "negative", image_key=["side", "front"], composition="none", keep_raw="raw"
        )


class Regions(Negative):
    """Notes the masks that it is given, and edits inside that of the region "block"."""

    def edit(self, frames, *, styles, masks=None, seeds):
        self.masks = masks
        return super().edit(frames, styles=styles, masks=masks["block"], seeds=seeds)


def test_masks_by_region_are_given_by_region():
    editor, env = Regions(), SimplerLike()
    masks = {"block": "segmentation", "rest": lambda obs: env.labels < 7, "all": "segmentation"}
    wrapped = EditObservation(env, editor, "negative", mask=masks, mask_ids={"block": [7]})
    obs, _ = wrapped.reset(seed=0)
    assert list(editor.masks) == ["block", "rest", "all"]
    for region, wanted in (("block", [7]), ("rest", [0, 1]), ("all", [7, 9])):  # the environment's own ids
        np.testing.assert_array_equal(editor.masks[region], np.isin(env.labels, wanted)[None])
    only = EditObservation(env, Negative(), "negative", mask_ids=[7]).reset(seed=0)[0]
    np.testing.assert_array_equal(image(obs), image(only))
    told = EditObservation(env, editor, "negative", mask=masks, region="rest")
    told.reset(seed=0)
    np.testing.assert_array_equal(editor.masks[""], editor.masks["rest"])


def test_masks_by_region_of_tensors_and_of_several_cameras():
    editor, env = Regions(), ManiSkillLike()
    masks = {"block": "segmentation", "half": lambda obs: np.arange(W) < np.full((H, 1), W // 2)}
    EditObservation(env, editor, "negative", mask=masks, mask_ids={"block": [6]}).reset(seed=0)
    np.testing.assert_array_equal(editor.masks["block"], env.labels[..., 0].numpy() == 6)
    np.testing.assert_array_equal(editor.masks["half"].all((0, 1)), np.arange(W) < W // 2)

    keys, cameras = ["front", "side"], two_cameras()
    front = {"block": "labels", "rest": lambda obs: np.ones((H, W), bool)}
    side = {"block": lambda obs: np.zeros((H, W), bool), "rest": lambda obs: np.eye(H, W, dtype=bool)}

    def wrapped(**mask):
        return EditObservation(
            cameras, editor, "negative", image_key=keys, mask=mask, mask_ids={"block": [1]}
        )

    wrapped(front=front, side=side).reset(seed=0)
    np.testing.assert_array_equal(editor.masks["block"][0], np.arange(W) < np.full((H, 1), 4))
    assert not editor.masks["block"][1].any()
    np.testing.assert_array_equal(editor.masks["rest"][1], np.eye(H, W, dtype=bool))
    wrapped(block="labels", rest=side["rest"]).reset(seed=0)  # for both cameras
    np.testing.assert_array_equal(editor.masks["rest"], [np.eye(H, W, dtype=bool)] * 2)
    with pytest.raises(SimeditError, match="the same regions for all images"):
        wrapped(front=front, side="labels")
    with pytest.raises(SimeditError, match=r"one entry for each image.*but it has 'front'"):
        wrapped(front="labels")


def test_masks_that_are_empty_in_all_regions_are_said():
    def wrapped(**masks):
        given = {region: lambda obs, mask=mask: mask for region, mask in masks.items()}
        return EditObservation(SimplerLike(), Regions(), "negative", mask=given)

    empty, some = np.zeros((H, W), bool), np.eye(H, W, dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(block=empty, rest=some).reset(seed=0)
    with pytest.warns(UserWarning, match="first mask of the image .* is empty"):
        wrapped(block=empty, rest=empty).reset(seed=0)
    with pytest.raises(SimeditError, match=r"the mask of 'rest' must be bool \[12, 16\]"):
        wrapped(block=some, rest=some[1:]).reset(seed=0)


def test_a_recipe_stands_wherever_a_style_does(tiny_root):
    from simedit.library import SpecialistLibrary
    from simedit.recipe import Pass, Recipe
    from simedit.specialist import Specialist

    library = SpecialistLibrary.load([tiny_root / "gold", tiny_root / "wood"], device="cpu", steps=1)
    first, second = (Specialist.load(tiny_root / style) for style in ("gold", "wood"))
    library.add(Recipe("both", (Pass(first, region="left"), Pass(second, region="right"))))
    left = np.arange(W) < np.full((H, 1), W // 2)
    masks = {"left": lambda obs: left, "right": lambda obs: ~left & (np.arange(H) < 6)[:, None]}
    env = EditObservation(SimplerLike(), library, "both", mask=masks, region="right")
    shown = masks["left"](None) | masks["right"](None)
    for style in ("both", "wood"):
        env.style = style
        changed = (image(env.reset(seed=0)[0]) != env.unwrapped.frame).any(-1)
        inside = shown if style == "both" else masks["right"](None)
        assert changed[inside].mean() > 0.8
        assert not changed[~inside].any()
    env = EditObservation(SimplerLike(), library, "wood", mask=masks)
    with pytest.raises(SimeditError, match=r"'wood' has no region of its own.*\(left, right\).*region"):
        env.reset(seed=0)


def test_keys_with_slashes():
    camera = {"cam/rgb": box(H, W, 3), "cam/segmentation": box(H, W, dtype=np.int16)}

    def look(obs):
        labels = np.int16(np.arange(W) < np.full((H, 1), 4))
        return {"robot": {"cam/rgb": image(obs), "cam/segmentation": labels}}

    env = Seen(look, spaces.Dict(robot=spaces.Dict(camera)))
    wrapped = EditObservation(env, Negative(), "negative", mask_ids=[1], keep_raw="raw")
    assert wrapped.image_keys == ("robot/cam/rgb",)
    obs, _ = wrapped.reset(seed=0)
    assert obs in wrapped.observation_space
    changed = (obs["robot"]["cam/rgb"] != obs["robot"]["raw"]).any(-1)
    assert changed[:, :4].all()
    assert not changed[:, 4:].any()


def test_ids_by_name_follow_the_scene():
    class Thing:
        name = "cube"

    env = SimplerLike()
    env.segmentation_id_map = {7: Thing}
    wrapped = EditObservation(env, Negative(), "negative", mask_ids=["cube"])
    for numbers in ([7], [9], [7, 9]):  # a reset may rebuild the scene, and two robots have links of one name
        env.segmentation_id_map = dict.fromkeys(numbers, Thing)
        changed = (image(wrapped.reset(seed=0)[0]) != env.frame).any(-1)
        assert changed[np.isin(env.labels, numbers)].mean() > 0.9
        assert not changed[~np.isin(env.labels, numbers)].any()
    with pytest.raises(SimeditError, match="did you mean 'cube'"):
        EditObservation(env, Negative(), "negative", mask_ids=["cub"])


def test_an_empty_mask_is_said_once():
    env = EditObservation(SimplerLike(), Negative(), "negative", mask=lambda obs: np.zeros((H, W), bool))
    with pytest.warns(UserWarning, match="first mask of the image .* is empty"):
        env.reset(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env.step(0)


def test_an_editor_that_gives_something_else_is_refused():
    class Float(Negative):
        def edit(self, frames, **settings):
            return frames / 255

    with pytest.raises(SimeditError, match=r"must give .*uint8 \[1, 12, 16, 3\].*float64"):
        EditObservation(SimplerLike(), Float(), "negative").reset(seed=0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("key", "message"),
        [
            ("image/overhead_cam/rgb", "did you mean 'image/overhead_camera/rgb'"),
            ("agent/qpos", r"must be uint8 .*float32"),
            ("image/overhead_camera/Segmentation", r"must be uint8 .*uint32"),
        ],
    )
    def test_image_key(self, key, message):
        with pytest.raises(SimeditError, match=message):
            EditObservation(SimplerLike(), Negative(), "negative", image_key=key)

    def test_float_image(self):
        space = spaces.Dict(pixels=box(H, W, 3, dtype=np.float32))
        env = Seen(lambda obs: {"pixels": np.float32(image(obs)) / 255}, space)
        with pytest.raises(SimeditError, match=r"must be uint8 .*float32"):
            EditObservation(env, Negative(), "negative", image_key="pixels")
        with pytest.raises(SimeditError, match="nothing here is uint8"):
            EditObservation(env, Negative(), "negative")

    def test_no_known_image_names_those_there_are(self):
        space = spaces.Dict(pixels=box(H, W, 3), wrist=spaces.Dict(rgb=box(H, W, 3)))
        env = Seen(lambda obs: obs, space)
        with pytest.raises(SimeditError, match=r"pass image_key=.*pixels, wrist/rgb"):
            EditObservation(env, Negative(), "negative")

    @pytest.mark.parametrize(
        "mask", [np.ones((H, W + 1), bool), np.ones((2, H, W), bool), np.ones((H, W), np.uint8)]
    )
    def test_mask_of_another_size_or_dtype(self, mask):
        env = EditObservation(SimplerLike(), Negative(), "negative", mask=lambda obs: mask)
        with pytest.raises(SimeditError, match=r"mask must be bool \[12, 16\]"):
            env.reset(seed=0)

    def test_no_segmentation_or_no_ids_names_the_ways_out(self):
        env = Seen(lambda obs: {"pixels": image(obs)}, spaces.Dict(pixels=box(H, W, 3)))
        with pytest.raises(SimeditError, match=r"no segmentation.*mask=.*composition='none'"):
            EditObservation(env, Negative(), "negative", image_key="pixels")

        class NoIds(SimplerLike):
            @property
            def edit_segmentation_ids(self):
                raise AttributeError("not known here")

        with pytest.raises(SimeditError, match=r"mask_ids=.*mask=.*composition='none'"):
            EditObservation(NoIds(), Negative(), "negative")

    def test_options(self):
        with pytest.raises(SimeditError, match="unknown composition"):
            EditObservation(SimplerLike(), Negative(), "negative", composition="masks")
        with pytest.raises(SimeditError, match="mask must be"):
            EditObservation(SimplerLike(), Negative(), "negative", mask="segment")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"seed": -1}, "seed must be 0 or more"),
            ({"seed": 1.5}, "seed must be .* a whole number, got 1.5"),
            ({"seed": None}, "seed must be .* got None"),
            ({"seed": True}, "seed must be .* got True"),
            ({"image_key": ["image", "rgb"]}, "the image 'image' must be uint8 .* has Dict"),
            ({"image_key": 3}, "image_key must be a path, .* or a list of paths, not 3"),
            ({"image_key": []}, "or a list of paths"),
            ({"image_key": ["image/overhead_camera/rgb"] * 2}, "an image twice"),
            ({"mask": {}}, r"masks by region need names, .*got \[\]"),
            ({"mask": {7: "segmentation"}}, r"masks by region need names, .*got \[7\]"),
            ({"mask": {"a": "segmentation", "b": 3}}, "mask must be 'segmentation', .* not 3"),
            ({"mask_ids": {"a": [7]}}, "mask_ids by region needs masks by region"),
            ({"mask": {"abc": "segmentation"}, "mask_ids": {"abd": [7]}}, "unknown region .* mean 'abc'"),
            ({"mask": dict.fromkeys("ab", "segmentation"), "mask_ids": [7]}, "regions? need ids by region"),
            ({"region": "block"}, "region='block' needs masks by region"),
            ({"mask": {"block": "segmentation"}, "region": "blok"}, "unknown region .* mean 'block'"),
            ({"mask": {"": "segmentation", "a": "segmentation"}, "region": "a"}, "say the same"),
            ({"mask": "image/overhead_camera/depth"}, "mask must be .*unknown key"),
            ({"mask": "agent/qpos"}, r"whole numbers or bool .*has float32 \[4\]"),
            ({"mask_ids": ["cube"]}, "names in mask_ids need ManiSkill's"),
            ({"mask_ids": 7}, r"mask_ids must be several whole numbers.*7"),
            ({"mask_ids": "79"}, "mask_ids must be several whole numbers.*'79'"),
            ({"mask_ids": [7, 1.5]}, "each of mask_ids must be .* got 1.5"),
            ({"keep_raw": ""}, "keep_raw=''"),
            ({"keep_raw": "a/b"}, "keep_raw='a/b'"),
            ({"keep_raw": 3}, "keep_raw=3"),
            ({"style": None}, "unknown style 'None'"),
            ({"style": ["negative"]}, "unknown style"),
            ({"editor": "specialists/"}, r"SpecialistLibrary.load\(...\) gives, not str"),
        ],
    )
    def test_arguments(self, settings, message):
        with pytest.raises(SimeditError, match=message):
            EditObservation(SimplerLike(), **{"editor": Negative(), "style": "negative", **settings})

    def test_not_an_environment(self):
        with pytest.raises(SimeditError, match="goes into EditVectorObservation"):
            EditObservation(object(), Negative(), "negative")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"seed": -1}, "a seed must be 0 or more"),
            ({"seed": 0.5}, "a seed must be"),
            ({"seed": [1, 2]}, "3 environments take one seed or 3, got 2"),
            ({"seed": []}, "got 0"),
            ({"seed": [1, None, 2]}, "a seed must be .* got None"),
            ({"options": ["env_idx"]}, "options must be a dict or None"),
            ({"options": {"env_idx": [3]}}, "env_idx must be of 0 to 2"),
        ],
    )
    def test_a_refused_reset_changes_nothing(self, settings, message):
        env = EditObservation(ManiSkillLike(3), Negative(), "negative")
        before = image(env.reset(seed=0)[0])
        with pytest.raises(SimeditError, match=message):
            env.reset(**settings)
        assert torch.equal(image(env.step(0)[0]), before)

    def test_an_image_that_is_not_as_its_space_says(self):
        env = Seen(lambda obs: np.float32(image(obs)), box(H, W, 3))
        with pytest.raises(SimeditError, match=r"must be uint8 .* but it is float32 \[12, 16, 3\]"):
            EditObservation(env, Negative(), "negative", composition="none").reset()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    # Imported here to keep diffusers out of the process that `second_episode` runs in.
    from simedit.library import SpecialistLibrary
    from simedit.tiny import make_tiny_library

    return SpecialistLibrary.load(
        make_tiny_library(tmp_path_factory.mktemp("tiny"), ["gold", "wood"]), steps=2
    )


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded SIMPLER frames are not here")
@pytest.mark.parametrize("name", ["expert_open_top_a0_t000", "expert_close_bottom_b1_t000"])
def test_real_simpler_frame_changes_inside_the_cabinet_alone(name, library):
    frame = np.asarray(Image.open(REFERENCE / f"{name}.png").convert("RGB"))
    cabinet = 2
    labels = np.asarray(Image.open(REFERENCE / f"{name}_mask.png"))
    mask = labels == cabinet
    env = SimplerLike(frame, labels)
    obs, _ = EditObservation(env, library, "gold", mask_ids=[cabinet]).reset(seed=0)
    np.testing.assert_array_equal(image(obs)[~mask], frame[~mask])
    assert (image(obs)[mask] != frame[mask]).any(axis=-1).mean() > 0.9
    np.testing.assert_array_equal(image(env.last), frame)
    assert obs.keys() == env.last.keys()
    assert obs["agent"] is env.last["agent"]
    camera, raw_camera = obs["image"]["overhead_camera"], env.last["image"]["overhead_camera"]
    assert camera.keys() == raw_camera.keys()
    assert camera["Segmentation"] is raw_camera["Segmentation"]


def test_library_edits_a_batch_of_tensors(library):
    env = ManiSkillLike()
    wrapped = EditObservation(env, library, "gold", composition="none")
    gold = image(wrapped.reset(seed=0)[0])
    assert gold.dtype == torch.uint8
    assert len({frame.numpy().tobytes() for frame in gold}) == len(gold)
    assert torch.equal(image(wrapped.step(0)[0]), gold)
    wrapped.style = "wood"
    assert not torch.equal(image(wrapped.step(0)[0]), gold)


class InPlace:
    styles = ("same",)

    def edit(self, frames, *, styles, masks=None, seeds):
        frames[:] = 9
        return frames


def test_an_editor_that_works_in_place_leaves_the_environments_frame_alone():
    simpler = SimplerLike()
    before = simpler.frame.copy()
    env = EditObservation(simpler, InPlace(), "same", composition="none", keep_raw="raw")
    camera = env.reset(seed=0)[0]["image"]["overhead_camera"]
    assert (camera["rgb"] == 9).all()
    np.testing.assert_array_equal(camera["raw"], before)
    np.testing.assert_array_equal(simpler.frame, before)


class Kept(Negative):
    """Keeps what it gave, which none may write to if asked."""

    locked = False

    def edit(self, frames, **settings):
        self.given = super().edit(frames, **settings)
        self.given.flags.writeable = not self.locked
        return self.given


def test_an_edit_reaches_the_policy_uncopied():
    editor = Kept()
    obs, _ = EditObservation(ManiSkillLike(1), editor, "toxic").reset(seed=0)
    seen, _ = _frames(obs, None)
    assert np.shares_memory(editor.given, image(obs).numpy())
    assert np.shares_memory(editor.given, seen)
    editor.locked = True
    obs, _ = EditObservation(ManiSkillLike(1), editor, "toxic").reset(seed=0)
    np.testing.assert_array_equal(image(obs), editor.given)
    image(obs)[:] = 0
    assert editor.given.any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [([[True], [True, False]], "is no array"), (None, "must be bool"), (3, "must be bool")],
)
def test_what_is_no_mask_is_refused(mask, message):
    env = EditObservation(SimplerLike(), Negative(), "toxic", mask=lambda _: mask)
    with pytest.raises(SimeditError, match=message):
        env.reset(seed=0)


def test_masks_may_lie_backwards_or_be_read_only():
    rows = np.arange(H)[:, None] < np.full(W, 4)
    edits = []
    for mask in (rows, rows[::-1][::-1], np.broadcast_to(rows, (H, W))):
        env = EditObservation(SimplerLike(), Negative(), "toxic", mask=lambda _, mask=mask: mask)
        edits.append(env.reset(seed=0)[0]["image"]["overhead_camera"]["rgb"])
    np.testing.assert_array_equal(edits[0], edits[1])
    np.testing.assert_array_equal(edits[0], edits[2])


@pytest.mark.parametrize("ids", [[5, 6], [5]])
def test_a_thing_with_other_ids_in_other_scenes_has_no_name(ids):
    from types import SimpleNamespace

    from simedit.wrapper import _names

    thing = SimpleNamespace(name="door", per_scene_id=torch.tensor(ids))
    wall = SimpleNamespace(name="wall", per_scene_id=torch.tensor([2, 2]))
    env = SimplerLike()
    env.num_envs, env.segmentation_id_map = 2, {5: thing, 2: wall}
    assert _names(env) == {"door": [], "wall": [2]}
