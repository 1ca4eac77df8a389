"""Tensors are treated as `simedit.composition` treats arrays, within rounding, and where they are.

The fake GPU shows that frames go from the environment through the wrapper, VAE, U-Net and composition and
back without a copy to the host, and that no two devices mix, with networks in 16 bits. It has no values: that
a real GPU's edits look as the CPU's do is for a machine that has one. Compiled networks are not covered, nor
is the second try in float32 where float16 overflows (whether it did is one more bool a call of the VAE).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fake_gpu import fake_gpu, on_gpu
from gymnasium import spaces

from simedit import composition, on_device
from simedit.errors import SimeditError
from simedit.library import SpecialistLibrary
from simedit.wrapper import EditObservation


def _given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    frames, edits = random.integers(0, 256, (2, 3, 40, 50, 3)).astype(np.uint8)
    masks = np.zeros((3, 40, 50), bool)
    masks[0, 10:30, 5:45] = masks[1, 20:, 30:] = masks[1, 2, 2] = True
    return frames, edits, masks


def _far(found: torch.Tensor, expected: np.ndarray) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.numpy().astype(int) - expected.astype(int)).max())


def test_extents_and_composition() -> None:
    frames, edits, masks = _given()
    tensors = [torch.from_numpy(each) for each in (frames, edits, masks)]
    assert on_device.extents(tensors[2]) == composition.extents(masks)
    assert _far(on_device.compose(*tensors), composition.compose(frames, edits, masks)) <= 1


@pytest.mark.parametrize("size", [(20, 25), (32, 40), (64, 80)])
def test_other_sizes(size: tuple[int, int]) -> None:
    frames, _, masks = _given()
    some, kept = torch.from_numpy(frames), torch.from_numpy(masks)
    small, shown = composition.shrunk(frames, *size), composition.shrunk(masks, *size)
    assert _far(on_device.shrunk(some, *size), small) <= 1
    assert (on_device.shrunk(kept, *size).numpy() != shown).mean() < 0.01
    arrays = small, 255 - small, shown
    found = on_device.brought_back(some, *map(torch.from_numpy, arrays))
    assert _far(found, composition.brought_back(frames, *arrays)) <= 2


H, W = 64, 96
EXTENT = [10, 30, 20, 60, 1]  # what a mask's five numbers say


class OnGpu(gym.Env):
    """Two environments, two cameras, all on the GPU."""

    num_envs = 2
    edit_segmentation_ids = (7,)
    action_space = spaces.Discrete(2)
    camera = spaces.Dict(
        rgb=spaces.Box(0, 255, (2, H, W, 3), np.uint8), segmentation=spaces.Box(0, 99, (2, H, W, 1), np.int16)
    )
    observation_space = spaces.Dict(front=camera, side=camera)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return {name: self._look() for name in ("front", "side")}, {}

    def step(self, action: Any) -> Any:
        return self.reset()[0], 0.0, False, False, {}

    def _look(self) -> dict[str, torch.Tensor]:
        return {
            "rgb": torch.empty(2, H, W, 3, dtype=torch.uint8, device="cuda"),
            "segmentation": torch.empty(2, H, W, 1, dtype=torch.int16, device="cuda"),
        }


def _library(root: Path, card: dict[str, Any]) -> SpecialistLibrary:
    folders = [root / "gold", root / "wood"]
    library = SpecialistLibrary.load(folders, steps=2, device="cpu", dtype=torch.bfloat16)
    for one in library._loaded.values():
        for name, value in card.items():
            object.__setattr__(one.card, name, value)
    return library


@pytest.mark.parametrize(
    ("card", "shrunk"),
    [({"crop": True, "detail": True}, 0), ({"heights": (32, 48)}, 1), ({"heights": (96, 128)}, 1)],
)
def test_frames_of_a_gpu_stay_there(tiny_root: Path, card: dict[str, Any], shrunk: int) -> None:
    library = _library(tiny_root, card)
    extents = 4 * EXTENT * (1 + shrunk)  # of four frames; and of their masks at the edits' size
    with fake_gpu(2 * extents) as crossed:
        env = EditObservation(
            OnGpu(), on_gpu(library), "gold", image_key=["front/rgb", "side/rgb"], mask="front/segmentation"
        )
        obs, _ = env.reset(seed=0)
        # Whether each camera's first mask is empty; where the masks are; whether the edits are finite.
        assert crossed == ["bool", "bool", *["number"] * len(extents), "bool"]
        crossed.clear()
        again, *_ = env.step(0)
        assert crossed == [*["number"] * len(extents), "bool"]
        for seen in (obs, again):
            for camera in seen.values():
                assert camera["rgb"].device.type == "cuda"
                assert (camera["rgb"].shape, camera["rgb"].dtype) == ((2, H, W, 3), torch.uint8)


def test_last_frames_of_episodes_stay_there_too(tiny_root: Path) -> None:
    vector = pytest.importorskip("gymnasium.vector")
    if not hasattr(vector, "AutoresetMode"):
        pytest.skip("gymnasium 1.1 and later")
    from simedit.vector import EditVectorObservation

    class Several(gym.vector.VectorEnv):
        metadata = {"autoreset_mode": vector.AutoresetMode.SAME_STEP}
        num_envs, action_space = 2, spaces.MultiDiscrete([2, 2])
        observation_space = OnGpu.observation_space
        single_observation_space = spaces.Dict(front=spaces.Dict(rgb=spaces.Box(0, 255, (H, W, 3), np.uint8)))

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return OnGpu().reset()

        def step(self, actions: Any) -> Any:
            over, no = np.array([True, False]), np.zeros(2, bool)
            infos = {"final_obs": OnGpu().reset()[0], "_final_obs": over}
            return OnGpu().reset()[0], np.zeros(2), over, no, infos

    library = _library(tiny_root, {})
    with fake_gpu() as crossed:
        envs = EditVectorObservation(
            Several(), on_gpu(library), "gold", image_key="front/rgb", composition="none"
        )
        envs.reset(seed=0)
        obs, *_, infos = envs.step(None)
        for seen in (obs, infos["final_obs"]):
            assert seen["front"]["rgb"].device.type == "cuda"
            assert seen["front"]["rgb"].shape == (2, H, W, 3)
        assert crossed == ["bool"] * 3  # whether the edits are finite


def test_a_batch_of_several_styles_stays_there(tiny_root: Path) -> None:
    library, asked = _library(tiny_root, {}), {"styles": ["gold", "wood"], "seeds": [1, 2]}
    with fake_gpu(2 * EXTENT) as crossed:
        frames = torch.empty(2, H, W, 3, dtype=torch.uint8, device="cuda")
        edits = on_gpu(library).edit(frames, masks=frames[..., 0] > 0, **asked)
        assert (edits.device, edits.shape, edits.dtype) == (frames.device, frames.shape, torch.uint8)
        assert crossed == [*["number"] * len(2 * EXTENT), "bool"]
        with pytest.raises(SimeditError, match=r"masks must be on the frames' device, cuda:0, but .* cpu"):
            library.edit(frames, masks=torch.ones(2, H, W, dtype=torch.bool), **asked)


def test_the_fake_gpu_notes_copies_and_refuses_what_mixes_devices() -> None:
    with fake_gpu([1]) as crossed:
        there, here = torch.empty(3, device="cuda"), torch.empty(3)
        there.cpu()
        there[0].item()
        assert crossed == ["aten._to_copy.default", "number"]
        with pytest.raises(RuntimeError, match="at least two devices"):
            _ = there + here
