"""Tests of simedit.envs.drawer.proxy_real and simedit.envs.drawer.kitchens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest

import simedit.envs  # noqa: F401 (registers the environment)
from simedit.envs.drawer.kitchens import KITCHENS, maps
from simedit.envs.drawer.proxy_real import Look, ProxyReal, VisualMatching, draw_look, photograph
from simedit.envs.drawer.surface import CABINET, GROUND, ROBOT, Surface
from simedit.errors import SimeditError
from simedit.wrapper import EditObservation

pytest.importorskip("mani_skill", reason="needs the extra: sim")
OPTIONS = {"pose": "b1", "task": "close", "drawer": "middle"}


@pytest.fixture(scope="module")
def twin() -> Iterator[Any]:
    env: Any = gymnasium.make("simedit/Drawer-v1", width=160, height=128)
    yield env
    env.close()


@pytest.fixture(scope="module")
def surface(twin: Any) -> Surface:
    twin.reset(seed=0, options=OPTIONS)
    return twin.unwrapped.surface()


def plain(kitchen: str) -> Look:
    """A look without lens, noise or error of the camera."""
    look = draw_look(np.random.default_rng(0), (kitchen,))
    return replace(look, blur=0.0, grain=0.0, vignette=0.0, shift=(0.0, 0.0), roll=0.0, scale=1.0)


def shown(surface: Surface, look: Look, seed: int = 0) -> np.ndarray:
    return photograph(surface, look, np.random.default_rng(seed)).astype(float)


def rgb(obs: Any) -> Any:
    return obs["sensor_data"]["overhead_camera"]["rgb"]


def test_looks_follow_from_the_generator_and_stay_in_the_kitchens_asked_for() -> None:
    assert draw_look(np.random.default_rng(3)) == draw_look(np.random.default_rng(3))
    random = np.random.default_rng(0)
    looks = [draw_look(random, ("loft", "canteen")) for _ in range(40)]
    assert {look.kitchen for look in looks} == {"loft", "canteen"}
    assert len({look.light for look in looks}) == 40
    for look in looks:
        assert np.linalg.norm(look.light) == pytest.approx(1)
        assert max(map(abs, look.shift)) <= 0.015  # two pixels of 128


@pytest.mark.parametrize(
    ("kitchens", "message"), [(("lofd",), "did you mean 'loft'"), ((), "one kitchen or more")]
)
def test_wrong_kitchens_are_refused(twin: Any, kitchens: tuple[str, ...], message: str) -> None:
    for act in (lambda: ProxyReal(twin, kitchens), lambda: draw_look(np.random.default_rng(0), kitchens)):
        with pytest.raises(SimeditError, match=message):
            act()


def test_kitchens_look_unlike_one_another_and_unlike_the_render(surface: Surface) -> None:
    here = surface.kind == CABINET
    colours = [shown(surface, plain(name))[here].mean(0) for name in KITCHENS]
    colours.append(surface.rgb[here].mean(0))
    apart = [np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 10


@pytest.mark.parametrize("name", KITCHENS)
def test_textures_are_light_shares_and_no_flat_colour(name: str) -> None:
    for surfacing in maps(name).values():
        assert surfacing.texels.dtype == np.float32
        assert surfacing.texels.min() >= 0
        assert surfacing.texels.max() <= 1
        assert surfacing.texels.std() > 0.005


@pytest.mark.parametrize("name", KITCHENS)
def test_handles_and_fronts_stay_visible(surface: Surface, name: str) -> None:
    picture = shown(surface, draw_look(np.random.default_rng(5), (name,))).mean(-1)
    still = shown(surface, plain(name)).mean(-1)
    x, y, z = np.moveaxis(surface.local, -1, 0)
    front = (surface.part > 0) & (abs(x - 0.3125) < 0.001) & (abs(z) < 0.06)
    handle = (surface.part > 0) & (x > 0.3135) & (abs(y) < 0.06)
    inside = (surface.part == 2) & (x < 0.25) & (z < 0)
    assert min(front.sum(), handle.sum(), inside.sum()) > 10
    assert still[handle].mean() < 0.75 * still[front].mean()
    # Blur spreads a handle, and the camera's error moves it by a pixel or two: the darkest nearby counts.
    rows, columns = np.nonzero(handle)
    near = picture[rows.min() - 2 : rows.max() + 3, columns.min() - 2 : columns.max() + 3]
    assert near.min() < 0.75 * np.median(picture[front])
    assert still[inside].mean() < 0.75 * still[front].mean()


def test_cabinet_and_robot_throw_shadows(surface: Surface) -> None:
    # Light from y < 0 throws the cabinet's shadow to y > 0 on the floor, and the other way round.
    x, y, _ = np.moveaxis(surface.world, -1, 0)
    floor = (surface.kind == GROUND) & (x > -0.6) & (x < -0.1)
    left, right = floor & (y < -0.32) & (y > -0.5), floor & (y > 0.32) & (y < 0.5)
    assert min(left.sum(), right.sum()) > 10
    shares = []
    for side in (-1.0, 1.0):
        light = np.array([0.2, side, 0.8]) / np.linalg.norm([0.2, side, 0.8])
        picture = shown(surface, replace(plain("loft"), light=tuple(light))).mean(-1)
        shares.append(picture[left].mean() / picture[right].mean())
    assert shares[0] > 1.15 * shares[1]


def test_noise_is_the_frames_and_the_rest_the_looks(surface: Surface) -> None:
    look = draw_look(np.random.default_rng(1))
    one, again, other = (shown(surface, look, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert 1 < np.abs(one - other).mean() < 12
    quiet = replace(look, grain=0.0)
    np.testing.assert_array_equal(shown(surface, quiet, 1), shown(surface, quiet, 2))


def test_the_wrapper_repaints_the_camera_alone_and_an_episode_is_reproducible(twin: Any) -> None:
    env = ProxyReal(twin, ("studio", "harbour"))
    raw, _ = twin.reset(seed=4, options=OPTIONS)
    hold = np.zeros(7, np.float32)

    def episode(**seed: int) -> list[np.ndarray]:
        obs, _ = env.reset(options=OPTIONS, **seed)
        frames = [rgb(obs), rgb(env.step(hold)[0])]
        assert obs.keys() == raw.keys()
        camera = obs["sensor_data"]["overhead_camera"]
        assert (camera["depth"] == raw["sensor_data"]["overhead_camera"]["depth"]).all()
        return [frame.numpy() for frame in frames]

    first, second = episode(seed=4)
    assert (rgb(raw).shape, rgb(raw).numpy().dtype) == (first.shape, first.dtype)
    assert (first != rgb(raw).numpy()).mean() > 0.9
    assert (first != second).any()
    look = env.look
    next_one = episode()
    assert env.look != look
    np.testing.assert_array_equal(episode(seed=4), [first, second])
    np.testing.assert_array_equal(episode(), next_one)
    assert ProxyReal(twin, ("studio",)).look.kitchen == "studio"


def test_what_a_wrapper_below_would_paint_is_not_lost_silently(twin: Any) -> None:
    class Nothing:
        styles = ("none",)

        def edit(self, frames, *, styles, masks=None, seeds):
            return frames

    edited = gymnasium.wrappers.TimeLimit(EditObservation(twin, Nothing(), "none"), 9)
    with pytest.raises(SimeditError, match="ProxyReal right around the drawer twin"):
        ProxyReal(edited)
    with pytest.raises(SimeditError, match="VisualMatching right around"):
        VisualMatching(ProxyReal(twin))
    obs, _ = EditObservation(ProxyReal(twin), Nothing(), "none").reset(seed=4, options=OPTIONS)
    np.testing.assert_array_equal(rgb(obs), rgb(ProxyReal(twin).reset(seed=4, options=OPTIONS)[0]))


@pytest.mark.parametrize("kind", [ProxyReal, VisualMatching])
def test_it_renders_the_photograph_and_a_specification_makes_it_anew(twin: Any, kind: Any) -> None:
    env = kind(gymnasium.make(twin.spec, render_mode="rgb_array"), ("loft",))
    again: Any = gymnasium.make(env.spec)
    for one in (env, again):
        obs, _ = one.reset(seed=4, options=OPTIONS)
        np.testing.assert_array_equal(one.render(), rgb(obs)[0].numpy())
    assert again.look == env.look
    env.close()
    again.close()
    assert kind(twin).render() is None


def test_arrays_stay_arrays(twin: Any) -> None:
    from mani_skill.utils.wrappers import CPUGymWrapper

    expected, _ = ProxyReal(twin).reset(seed=4, options=OPTIONS)
    obs, _ = ProxyReal(CPUGymWrapper(twin)).reset(seed=4, options=OPTIONS)
    assert type(rgb(obs)) is np.ndarray
    np.testing.assert_array_equal(rgb(obs), rgb(expected)[0].numpy())


def test_visual_matching_shows_robot_and_cabinet_as_rendered_where_the_episode_would_be(twin: Any) -> None:
    real, matched = ProxyReal(twin), VisualMatching(twin)
    photographed, _ = real.reset(seed=4, options=OPTIONS)
    obs, _ = matched.reset(seed=4, options=OPTIONS)
    assert matched.look == real.look
    surface = twin.unwrapped.surface()
    first = rgb(obs)[0].numpy()
    assert (first.dtype, first.shape) == (np.uint8, (128, 160, 3))
    kept = np.isin(surface.kind, (ROBOT, CABINET))
    np.testing.assert_array_equal(first[surface.kind == ROBOT], surface.rgb[surface.kind == ROBOT])
    outside = (surface.kind == CABINET) & (surface.part > 0) & (surface.local[..., 0] > 0.296)
    assert (first == surface.rgb)[outside].all(-1).mean() > 0.9
    # Far from what throws shadows the place looks as in the episode, but for noise and the camera's error.
    corner = (slice(90, 128), slice(0, 30))
    assert not kept[corner].any()
    away = np.abs(first[corner].mean((0, 1)) - rgb(photographed)[0].numpy()[corner].mean((0, 1))).max()
    assert away < 8 < np.abs(first[corner].mean((0, 1)) - surface.rgb[corner].mean((0, 1))).max()
    # A photograph does not flicker.
    second = rgb(matched.step(np.zeros(7, np.float32))[0])[0].numpy()
    still = ~kept & ~np.isin(twin.unwrapped.surface().kind, (ROBOT, CABINET))
    np.testing.assert_array_equal(second[still], first[still])
    assert (rgb(matched.reset(seed=5, options=OPTIONS)[0])[0].numpy()[still] != first[still]).any()


def test_visual_matching_keeps_light_from_the_inside_of_drawers(twin: Any) -> None:
    matched = VisualMatching(twin)
    matched.reset(seed=4, options=OPTIONS)
    twin.unwrapped.arrange("b1", {"top": 0.2, "middle": 0.0, "bottom": 0.0})
    shown = rgb(matched.observation(twin.unwrapped.get_obs()))[0].numpy()
    surface = twin.unwrapped.surface()
    inside = (surface.part == 1) & (surface.local[..., 0] < 0.29) & (surface.local[..., 2] < 0)
    assert inside.sum() > 100
    assert shown[inside].mean() < 0.8 * surface.rgb[inside].mean()
    assert (shown[surface.kind == CABINET] <= surface.rgb[surface.kind == CABINET]).all()
