"""Structural scores, the depth score with a tiny random model of the real class."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fake_gpu import Gpu
from torch import Tensor
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from simedit.errors import SimeditError
from simedit.files import read_image
from simedit.scores import Differentiable, Score, Targets
from simedit.scores.structural import Canny, Depth, load_structural
from simedit.training.config import CannyConfig, DepthConfig

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "simpler" / "reference"
DRAWERS = ("a0", "a1", "b0", "b1", "c0", "c2")


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_depth(tmp_path_factory.mktemp("depth"))


def tiny_depth(folder: Path) -> Path:
    """A tiny random model of the real class, saved as the hub's are."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=70,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.2,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    statistics = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3]}
    size = {"size": {"height": 70, "width": 70}, "ensure_multiple_of": 14, "keep_aspect_ratio": True}
    (folder / "preprocessor_config.json").write_text(json.dumps({**statistics, **size}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def depth(depth_folder: Path) -> Score:
    return load_structural(DepthConfig(model=str(depth_folder)), "cpu")


def scene() -> Tensor:
    """[3, 96, 128]: a bright cabinet with drawer fronts of several contrasts on a dark wall."""
    frame = torch.full((3, 96, 128), 0.25)
    frame[:, 24:80, 32:96] = torch.tensor([0.9, 0.8, 0.7]).view(3, 1, 1)
    for i, grey in enumerate((0.1, 0.3, 0.5)):
        frame[:, 28 + 17 * i : 42 + 17 * i, 38:90] = grey
    return frame


def region() -> Tensor:
    mask = torch.zeros(96, 128, dtype=torch.bool)
    mask[24:80, 32:96] = True
    return mask


def blurred(frame: Tensor, sigma: float) -> Tensor:
    return torch.from_numpy(cv2.GaussianBlur(frame.permute(1, 2, 0).numpy(), (0, 0), sigma)).permute(2, 0, 1)


def faded(frame: Tensor, mask: Tensor, share: float) -> Tensor:
    """Blended towards one colour where the mask is."""
    colour = torch.tensor([0.3, 0.25, 0.2]).view(3, 1, 1)
    return torch.where(mask, torch.lerp(frame, colour.expand_as(frame), share), frame)


def lamp(frame: Tensor, share: float) -> Tensor:
    """With a patch outside the cabinet that grows brighter."""
    lit = frame.clone()
    lit[:, 8:20, 100:120] += 0.7 * share
    return lit


def scores_of(score: Score, frames: list[Tensor], target: Tensor | None = None) -> list[float]:
    frame, mask = scene() if target is None else target, region()
    targets = Targets(frame[None], mask[None], frame[None], mask[None])
    return score(torch.stack(frames)[None], targets)[0].tolist()


def rising(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


def changes() -> dict[str, list[Tensor]]:
    frame = scene()
    return {
        "blur": [frame, *(blurred(frame, sigma) for sigma in (1.0, 1.5, 3.0))],
        "shift": [torch.roll(frame, step, 2) for step in (0, 1, 4, 9)],
        "fade inside": [faded(frame, region(), share) for share in (0.0, 0.3, 0.6, 1.0)],
        "light outside": [lamp(frame, share) for share in (0.0, 0.3, 0.6, 1.0)],
    }


def test_depth_has_gradients_and_canny_none(depth: Score) -> None:
    assert isinstance(depth, Differentiable)
    assert not isinstance(Canny(), Differentiable)
    assert DepthConfig().differentiable
    assert not CannyConfig().differentiable
    edit = faded(scene(), region(), 0.5)[None, None].requires_grad_()
    targets = Targets(scene()[None], region()[None], scene()[None], region()[None])
    before = depth.value(edit, targets)
    (slope,) = torch.autograd.grad(before.sum(), edit)
    after = depth(edit - 1e-3 * slope / slope.abs().amax(), targets)
    assert not after.requires_grad
    assert after < before


@pytest.mark.parametrize("kind", ["canny", "depth"])
def test_a_gpu_scores_as_the_cpu_does(depth_folder: Path, kind: str, gpu: Gpu) -> None:
    config = CannyConfig() if kind == "canny" else DepthConfig(model=str(depth_folder))
    edits = torch.stack([scene(), faded(scene(), region(), 0.5)])[None]
    given = (scene()[None], region()[None], scene()[None], region()[None])
    expected = load_structural(config, "cpu")(edits, Targets(*given))
    score = load_structural(config, "cuda")
    gpu.came()
    found = score(edits.to("cuda"), Targets(*(each.to("cuda") for each in given)))
    assert gpu.came() == (["copy"] if kind == "canny" else [])  # OpenCV's
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("change", changes())
def test_depth_grows_with_a_change(depth: Score, change: str) -> None:
    values = scores_of(depth, changes()[change])
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert rising(values)


@pytest.mark.parametrize("change", ["blur", "shift", "fade inside"])
def test_canny_grows_with_a_change(change: str) -> None:
    values = scores_of(Canny(), changes()[change])
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_canny_sees_edges_and_not_colours() -> None:
    frame, mask = scene(), region()
    recoloured = torch.where(mask, frame[[2, 0, 1]], frame)
    same, painted, line, lit = scores_of(Canny(), [frame, recoloured, lamp(frame, 0), lamp(frame, 1)])
    assert same == painted == line == 0
    assert lit > 0


def test_canny_counts_the_pixels_that_differ() -> None:
    blank, edge = torch.zeros(3, 20, 30), torch.zeros(3, 20, 30)
    edge[:, :, 15:] = 1
    targets = Targets(
        blank[None], torch.ones(1, 20, 30, dtype=torch.bool), blank[None], torch.ones(1, 20, 30)
    )
    assert Canny()(edge[None, None], targets).item() == pytest.approx(1 / 30)  # one line of one pixel


def test_canny_options() -> None:
    frame = scene()
    faint = faded(frame, region(), 0.7)
    loose, strict = (
        load_structural(CannyConfig(low=low, high=high), "cpu") for low, high in ((10, 20), (200, 400))
    )
    assert isinstance(loose, Canny)
    assert isinstance(strict, Canny)
    assert loose.maps(faint[None]).mean() > 2 * strict.maps(faint[None]).mean()
    noisy = (frame + 0.3 * torch.rand(frame.shape, generator=torch.manual_seed(0))).clamp(0, 1)
    assert Canny(blur=2).maps(noisy[None]).mean() < Canny().maps(noisy[None]).mean() / 2


@pytest.mark.parametrize("name", ["canny", "depth"])
def test_nan_stays_with_its_edit(name: str, depth: Score) -> None:
    score = Canny() if name == "canny" else depth
    frame, broken = scene(), scene()
    broken[0, 50, 60] = torch.nan
    moved = torch.roll(frame, 5, 2)
    alone = scores_of(score, [moved])[0]
    first, bad, last = scores_of(score, [frame, broken, moved])
    assert first == pytest.approx(0, abs=1e-6)
    assert np.isnan(bad)
    assert last == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize("name", ["canny", "depth"])
def test_each_input_meets_its_own_edits(name: str, depth: Score) -> None:
    score = Canny() if name == "canny" else depth
    inputs = torch.stack([scene(), torch.roll(scene(), 7, 1)])
    masks = region().expand(2, -1, -1)
    edits = torch.stack([inputs, inputs.flip(0), torch.roll(inputs, 3, 3)], 1)
    values = score(edits, Targets(inputs, masks, inputs, masks))
    assert values.shape == (2, 3)
    assert values.dtype == torch.float32
    assert values[:, 0].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert (values[:, 1:] > 1e-4).all()
    assert not values.requires_grad


def test_depth_maps_are_the_models_own(depth_folder: Path) -> None:
    """At the model's size, nothing but the normalisation stands between image and model."""
    depth = Depth.load(str(depth_folder), "cpu")
    images = torch.rand(2, 3, 70, 98, generator=torch.manual_seed(1))
    plain = DepthAnythingForDepthEstimation.from_pretrained(depth_folder)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]))
    with torch.no_grad():
        expected = plain(pixel_values=(images - mean) / std).predicted_depth
        assert torch.allclose(depth.maps(images), expected, atol=1e-6)
        assert expected.std() > 1e-3  # a map of zeros would prove nothing
        assert depth.maps(torch.rand(1, 3, 33, 61)).shape == (1, 33, 61)
        assert depth.maps(torch.rand(1, 3, 1, 1)).shape == (1, 1, 1)


def test_missing_depth_model(tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match=r"scores\.structural\.model.*no such directory"):
        load_structural(DepthConfig(model=str(tmp_path / "none")), "cpu")


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="needs ../shared/simpler/reference")
def test_canny_on_flat_renders() -> None:
    """Recordings of the original simulator, the robot painted out: only the drawer moves."""
    canny = load_structural(CannyConfig(low=50, high=100), "cpu")
    part, whole = [], []
    for pose in DRAWERS:
        name = REFERENCE / f"expert_open_middle_{pose}"
        pictures = [read_image(Path(f"{name}_t{t:03d}.png")) for t in (0, 20, 40, 60)]
        labels = np.stack([read_image(Path(f"{name}_t{t:03d}_mask.png"))[..., 0] for t in (0, 20, 40, 60)])
        drawer = np.load(f"{name}.npz")["drawer_qpos"][[0, 20, 40, 60], 1:2]
        assert drawer[1] < 0.001
        assert 0.1 < drawer[2] < drawer[3] - 0.1
        frames = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
        frames = torch.where(torch.from_numpy((labels == 1).any(0)), torch.tensor(0.5), frames)
        cabinet = torch.from_numpy(labels[0] == 2)
        tint = torch.tensor([1.25, 0.98, 0.39]).view(3, 1, 1)  # grey stays as bright
        golden = torch.where(cabinet, frames[0] * tint, frames[0])
        edits = torch.cat([frames, golden[None]])[None]
        same, still, moved, more, gold = canny(
            edits, Targets(frames[:1], cabinet[None], frames[:1], cabinet[None])
        )[0].tolist()
        assert same == 0
        assert still < 1e-4
        assert moved > 5e-4
        assert more > 5e-4
        assert gold < moved / 2
        part.append(moved)
        whole.append(more)
    assert np.mean(whole) > 1.2 * np.mean(part)  # edges that have left their place count once, however far
