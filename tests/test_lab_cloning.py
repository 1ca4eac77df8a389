"""Cloning: a policy learns from demonstrations of rendered frames."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import simedit.lab.cloning as cloning
from simedit.envs.drawer.poses import DRAWERS
from simedit.errors import SimeditError
from simedit.lab.cloning import clone, train_policies
from simedit.lab.demonstrations import Demonstration
from simedit.lab.recipes import RECIPES, Recipe
from simedit.policies.cloned import ClonedPolicy
from simedit.protocols import Action

pytest.importorskip("mani_skill", reason="needs the extra: sim")

SMALL = {"width": 40, "height": 32, "channels": [8, 8, 8], "features": 16, "hidden": 16}
STEPS = 4


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the twin as the top drawer opens, and the actions that an expert might take."""
    folder = tmp_path_factory.mktemp("demonstrations")
    env = gym.make("simedit/Drawer-v1", width=40, height=32)
    env.reset()
    twin = env.unwrapped
    for number in range(3):
        frames, states = [], []
        for step in range(STEPS + number):  # of different lengths
            extensions = dict.fromkeys(DRAWERS, 0.0) | {"top": 0.08 * step}
            twin.arrange((0.65 + 0.05 * number, 0.0, 0.02 * number), extensions)
            frames.append(twin.get_obs()["sensor_data"]["overhead_camera"]["rgb"][0].numpy())
            states.append(twin.privileged_state())
        right = np.zeros((len(frames), 7), np.float32)
        right[:, 0], right[0, 6] = 0.05 - 0.03 * np.arange(len(frames)), 0.4
        poses = {
            "tcp": np.stack([state.tcp for state in states]).astype(np.float32),
            "handle": np.stack([state.handle for state in states]).astype(np.float32),
            "extension": np.array([state.extension for state in states], np.float32),
        }
        Demonstration(
            frames=np.stack(frames)[None],
            kitchens=np.array(["loft"]),
            done=right,
            right=right,
            over=np.arange(len(frames)) == len(frames) - 1,
            instruction=np.array("open top drawer"),
            moved_frames=np.stack(frames),
            moved_kitchens=np.array(["loft"] * len(frames)),
            **poses,
            **{f"moved_{name}": value for name, value in poses.items()},
        ).save(folder / f"{number:05d}.npz")
    env.close()
    return folder


def _clone(demonstrations: Path, out: Path, **settings: Any) -> ClonedPolicy:
    recipe = Recipe(**{"eyes_steps": 1, "hand_steps": 1, "network": SMALL, **settings})
    clone(demonstrations, out, out.with_name(f"{out.name}.work"), recipe)
    return ClonedPolicy(out)


def _said(policy: ClonedPolicy, shown: Demonstration) -> list[Action]:
    policy.reset(str(shown.instruction))
    return [policy.act(frame) for frame in shown.frames[0]]


@pytest.mark.parametrize(
    "settings", [{}, {"augmented": False}, {"network": {**SMALL, "recurrent": False, "told": False}}]
)
def test_the_policy_learns_to_act_like_the_expert(demonstrations: Path, tmp_path: Path, settings: dict):
    shown = Demonstration.load(demonstrations / "00001.npz")
    policy = _clone(demonstrations, tmp_path / "policy", eyes_steps=150, hand_steps=500, **settings)
    actions = _said(policy, shown)
    said = np.stack([action.to_array() for action in actions])
    assert np.abs(said[:, 0] - shown.right[:, 0]).mean() < 0.02
    assert said[:, 6].sum() == pytest.approx(0.4, abs=0.1)
    assert [action.terminate for action in actions] == shown.over.tolist()


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(demonstrations, tmp_path, monkeypatch):
    whole = _clone(demonstrations, tmp_path / "whole", eyes_steps=4, hand_steps=4)
    seen = cloning.Network.act
    calls: list[int] = []

    def stop(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return seen(*args)

    monkeypatch.setattr("simedit.lab.fit.SAVE_SECONDS", 0)
    monkeypatch.setattr(cloning.Network, "act", stop)
    with pytest.raises(KeyboardInterrupt):
        _clone(demonstrations, tmp_path / "stopped", eyes_steps=4, hand_steps=4)
    calls.clear()
    monkeypatch.setattr(cloning.Network, "act", lambda *args: calls.append(1) or seen(*args))
    _clone(demonstrations, tmp_path / "stopped", eyes_steps=4, hand_steps=4)
    assert len(calls) == 2
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert one == other
    assert whole is not None


def test_policies_that_are_there_are_not_trained_again(demonstrations, tmp_path):
    def train() -> None:
        train_policies(demonstrations, tmp_path, tmp_path / "work", ["begin", "few"], cores=1)

    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "model.safetensors").touch()
    train()
    assert (tmp_path / "begin" / "model.safetensors").stat().st_size > 0
    assert (tmp_path / "few" / "model.safetensors").stat().st_size == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kitchens": ("studio",)}, r"no demonstrations in .* show how to open or close in studio"),
        ({"tasks": ("close",)}, "show how to close in"),
    ],
)
def test_what_no_demonstration_shows(demonstrations, tmp_path, settings, message):
    with pytest.raises(SimeditError, match=message):
        _clone(demonstrations, tmp_path / "policy", **settings)


def test_a_share_of_the_episodes_is_the_first_ones(demonstrations, tmp_path):
    for path, name in zip(sorted(demonstrations.iterdir()), ("00000", "00001", "00002"), strict=True):
        if name == "00000":
            (tmp_path / f"{name}.npz").symlink_to(path)
        else:
            (tmp_path / f"{name}.npz").write_bytes(b"broken")
    _clone(tmp_path, tmp_path / "policy", episodes=0.3)
    with pytest.raises(SimeditError, match=r"cannot read the demonstration .*00001"):
        _clone(tmp_path, tmp_path / "policy", episodes=0.5)


def test_recipes_differ_in_kind():
    best = RECIPES["last"]
    assert best == Recipe()
    assert best.eyes_steps > RECIPES["early"].eyes_steps > RECIPES["begin"].eyes_steps
    changed = [
        tuple(f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(best, f.name))
        for recipe in RECIPES.values()
    ]
    assert len(RECIPES) >= 8
    assert {"kitchens", "episodes", "tasks", "augmented", "network"} <= {
        n for names in changed for n in names
    }
