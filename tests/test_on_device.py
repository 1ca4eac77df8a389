"""Tensors are treated as `simedit.composition` treats arrays, within rounding, and where they are: from the
environment through wrapper and networks and back nothing but a few numbers comes to the host."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from fake_gpu import Gpu, fake_gpu
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


class There(gym.Env):
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
        labels = torch.zeros(2, H, W, 1, dtype=torch.int16)
        labels[:, 10:40, 20:60] = 7
        rgb = torch.randint(0, 256, (2, H, W, 3), generator=torch.Generator().manual_seed(0))
        return {"rgb": rgb.to("cuda", torch.uint8), "segmentation": labels.to("cuda")}


CARDS: list[dict[str, Any]] = [{"crop": True, "detail": True}, {"heights": (32, 48)}, {"heights": (96, 128)}]


def _library(
    root: Path, card: dict[str, Any], device: str = "cuda", dtype: torch.dtype | None = torch.float32
) -> SpecialistLibrary:
    folders = [root / "gold", root / "wood"]
    library = SpecialistLibrary.load(folders, steps=2, device=device, dtype=dtype)
    for one in library._loaded.values():
        for name, value in card.items():
            object.__setattr__(one.card, name, value)
    return library


def _asked(count: int) -> dict[str, Any]:
    """Frames of one scene in two styles, with masks of which one is empty."""
    random = np.random.default_rng(0)
    masks = np.zeros((count, H, W), bool)
    masks[:-1, 10:40, 20:60] = True
    frames = random.integers(0, 256, (count, H // 8, W // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    return {
        "frames": frames,
        "masks": masks,
        "styles": ["gold", "wood"] * (count // 2),
        "seeds": list(range(count)),
    }


@pytest.mark.parametrize("card", CARDS)
def test_frames_of_a_gpu_stay_there(tiny_root: Path, card: dict[str, Any], gpu: Gpu) -> None:
    library, other_size = _library(tiny_root, card), "heights" in card
    hosts = _asked(2)["masks"][0]
    env = EditObservation(
        There(),
        library,
        "gold",
        image_key=["front/rgb", "side/rgb"],
        mask={"front/rgb": "front/segmentation", "side/rgb": lambda obs: hosts},
        keep_raw="raw",
    )
    gpu.came()
    obs, _ = env.reset(seed=0)
    # Whether each camera's first mask is empty; where the masks are; whether the edits are finite.
    assert gpu.came() == ["truth", "truth", "list", *["list"] * other_size, "truth"]
    again, *_ = env.step(0)
    assert gpu.came() == ["list", *["list"] * other_size, "truth"]
    for seen in (obs, again):
        for camera in seen.values():
            for image in (camera["rgb"], camera["raw"]):
                assert image.device.type == "cuda"
                assert (image.shape, image.dtype) == ((2, H, W, 3), torch.uint8)


@pytest.mark.parametrize("card", CARDS)
def test_a_gpu_edits_as_the_cpu_does(tiny_root: Path, card: dict[str, Any], gpu: Gpu) -> None:
    asked = _asked(4)
    expected = _library(tiny_root, card, "cpu").edit(**asked)
    library = _library(tiny_root, card)
    assert_alike(library.edit(**asked), expected, 1 if gpu.real else 0)
    tensors = {name: torch.from_numpy(asked[name]).to("cuda") for name in ("frames", "masks")}
    gpu.came()
    edits = library.edit(**asked | tensors)
    assert gpu.real or gpu.came().count("truth") == 1
    assert edits.device == tensors["frames"].device
    assert_alike(edits.cpu().numpy(), expected, 1)
    here = library.edit(**asked | {name: tensor.cpu() for name, tensor in tensors.items()})
    assert here.device.type == "cpu"
    assert_alike(here.numpy(), expected, 1 if gpu.real else 0)
    with pytest.raises(SimeditError, match=r"masks must be on the frames' device, cuda:0, but .* cpu"):
        library.edit(**asked | tensors | {"masks": torch.from_numpy(asked["masks"])})


def assert_alike(found: np.ndarray, expected: np.ndarray, mean: float) -> None:
    """Both may round otherwise; a tenth of `mean` on average, levels of 255."""
    far = np.abs(found.astype(int) - expected.astype(int))
    assert far.mean() <= mean / 10, far.mean()
    assert far.max() <= 10 * mean, far.max()


def test_sixteen_bits_are_what_a_gpu_takes_by_itself(tiny_root: Path, gpu: Gpu) -> None:
    asked, library = _asked(2), _library(tiny_root, CARDS[0], dtype=None)
    assert library.pipeline.dtype == torch.float16
    expected = _library(tiny_root, CARDS[0], "cpu").edit(**asked)
    assert_alike(library.edit(**asked), expected, 5)


def test_last_frames_of_episodes_stay_there_too(tiny_root: Path, gpu: Gpu) -> None:
    vector = pytest.importorskip("gymnasium.vector")
    if not hasattr(vector, "AutoresetMode"):
        pytest.skip("gymnasium 1.1 and later")
    from simedit.vector import EditVectorObservation

    class Several(gym.vector.VectorEnv):
        metadata = {"autoreset_mode": vector.AutoresetMode.SAME_STEP}
        num_envs, action_space = 2, spaces.MultiDiscrete([2, 2])
        observation_space = There.observation_space
        single_observation_space = spaces.Dict(front=spaces.Dict(rgb=spaces.Box(0, 255, (H, W, 3), np.uint8)))

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return There().reset()

        def step(self, actions: Any) -> Any:
            over, no = torch.tensor([True, False]).to("cuda"), torch.zeros(2, dtype=torch.bool).to("cuda")
            infos = {"final_obs": There().reset()[0], "_final_obs": over}
            return There().reset()[0], torch.zeros(2).to("cuda"), over, no, infos

    library = _library(tiny_root, {})
    envs = EditVectorObservation(Several(), library, "gold", image_key="front/rgb", composition="none")
    gpu.came()
    envs.reset(seed=0)
    obs, *_, infos = envs.step(None)
    # Whose episodes are over, three times; whether the edits are finite.
    assert gpu.came() == ["truth", "copy", "copy", "copy", "truth", "truth"]
    for seen in (obs, infos["final_obs"]):
        assert seen["front"]["rgb"].device.type == "cuda"
        assert seen["front"]["rgb"].shape == (2, H, W, 3)


def test_the_fake_gpu_refuses_what_mixes_devices_and_notes_what_comes_to_the_host() -> None:
    with fake_gpu() as gpu:
        layer = torch.nn.Linear(3, 2)
        weight = layer.weight
        layer.to("cuda")
        there, here = torch.ones(4, 3, device="cuda"), torch.ones(4, 3)
        assert layer.weight is weight
        assert (there.device, here.device) == (torch.device("cuda", 0), torch.device("cpu"))
        layer(there).sum().backward()
        assert copy.deepcopy(layer).weight.device == layer.weight.grad.device == there.device
        assert gpu.came() == []
        for mix in (
            lambda: layer(here),
            lambda: there + here,
            lambda: here[there.long()],
            lambda: here @ there.T,
        ):
            with pytest.raises(RuntimeError, match=r"devices|indices"):
                mix()
        with pytest.raises(TypeError, match="to numpy"):
            np.asarray(there)
        there[here.bool()] = 2 * there[0, 0]  # the host's indices and single numbers may come along
        assert gpu.came() == []
        assert there.cpu().device == here.device
        assert (there.tolist(), there.sum().item(), bool(there[there > 1].all())) == (
            [[2.0] * 3] * 4,
            24,
            True,
        )
        assert gpu.came() == ["copy", "list", "number", "indices", "truth"]
