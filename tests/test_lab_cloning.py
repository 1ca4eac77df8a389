"""Cloning: a policy learns from demonstrations of rendered frames."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import simedit.lab.cloning as cloning
from simedit.envs.drawer.poses import DRAWERS
from simedit.errors import SimeditError
from simedit.lab.cloning import RECIPES, Recipe, clone, train_policies
from simedit.lab.demonstrations import Demonstration
from simedit.policies.cloned import ClonedPolicy, NetworkConfig

pytest.importorskip("mani_skill", reason="needs the extra: sim")

SMALL = NetworkConfig(width=40, height=32, channels=[8, 8, 8], features=16, hidden=16)
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


def _clone(demonstrations: Path, folder: Path, recipe: Recipe) -> list[float]:
    losses: list[float] = []
    clone(demonstrations, folder, recipe, config=SMALL, stepped=losses.append)
    return losses


def test_both_networks_learn_and_the_policy_acts_like_the_expert(demonstrations, tmp_path):
    losses = _clone(demonstrations, tmp_path, Recipe(150, 500))
    assert len(losses) == 650
    assert np.mean(losses[140:150]) < 0.5 * np.mean(losses[:10])
    assert np.mean(losses[-10:]) < 0.25 * losses[150]
    shown = Demonstration.load(demonstrations / "00001.npz")
    policy = ClonedPolicy(tmp_path)
    policy.reset(str(shown.instruction))
    actions = [policy.act(frame) for frame in shown.frames[0]]
    said = np.stack([action.to_array() for action in actions])
    assert np.abs(said[:, 0] - shown.right[:, 0]).mean() < 0.02
    assert said[:, 6].sum() == pytest.approx(0.4, abs=0.1)
    assert [action.terminate for action in actions] == shown.over.tolist()


def test_the_same_seed_gives_the_same_weights(demonstrations, tmp_path):
    for name in ("one", "other"):
        _clone(demonstrations, tmp_path / name, RECIPES["begin"])
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other"))
    assert one == other


def test_policies_that_are_there_are_not_trained_again(demonstrations, tmp_path, monkeypatch):
    monkeypatch.setattr(cloning, "RECIPES", {"first": Recipe(2, 2), "second": Recipe(1, 1)})
    train_policies(demonstrations, tmp_path)
    times = {name: (tmp_path / name / "model.safetensors").stat().st_mtime_ns for name in ("first", "second")}
    (tmp_path / "second" / "model.safetensors").unlink()
    train_policies(demonstrations, tmp_path)
    assert (tmp_path / "first" / "model.safetensors").stat().st_mtime_ns == times["first"]
    assert (tmp_path / "second" / "model.safetensors").is_file()


def test_kitchens_without_demonstrations(demonstrations, tmp_path):
    with pytest.raises(SimeditError, match=r"no demonstrations in .* show studio"):
        _clone(demonstrations, tmp_path, Recipe(1, 1, ("studio",)))
    with pytest.raises(SimeditError, match="record some first"):
        _clone(tmp_path / "none", tmp_path, Recipe(1, 1))


def test_recipes_are_graded():
    steps = {name: recipe.eyes_steps + recipe.hand_steps for name, recipe in RECIPES.items()}
    assert steps["last"] > steps["early"] > steps["begin"]
    assert set(RECIPES["half"].kitchens) < set(RECIPES["last"].kitchens)
