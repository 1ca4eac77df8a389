"""Metrics by CLIP: tiny random models of the real class, with a tokenizer, loaded as the hub's are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_clip import MEAN, SIDE, STD, OpenClip, save_clip
from torch import Tensor
from transformers import CLIPModel

from simedit.errors import SimeditError
from simedit.metrics import Scene
from simedit.metrics.catalogue import KINDS
from simedit.metrics.clip import Clip, ClipDirection, ClipText
from simedit.metrics.open_clip import load_open_clip, renamed
from simedit.metrics.preference import HPS_FILE, HpsV2, PickScore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("clip")
    save_clip(found)
    return found


def frames(n: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


def normal(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class ByHand:
    """Stands for a model, with embeddings that a test chooses."""

    def __init__(self, images: Sequence[Sequence[float]], texts: dict[str, Sequence[float]]) -> None:
        self._images, self._texts = torch.tensor(images), texts
        self.model: Any = torch.nn.Module()
        self.model.logit_scale = torch.nn.Parameter(torch.tensor(4.0))

    def embed(self, frames: np.ndarray, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        assert len(frames) == len(self._images)
        return self._images, torch.tensor([self._texts[caption] for caption in captions])


def test_the_formulas_on_embeddings_by_hand() -> None:
    clip: Any = ByHand([[1, 0], [0.6, 0.8], [0, 1]], {"gold": [0.8, 0.6]})
    scene = Scene(frames(1)[0], prompt="gold")
    cosines = [0.8, 0.6 * 0.8 + 0.8 * 0.6, 0.6]
    assert ClipText(clip)(frames(3), scene).tolist() == pytest.approx(cosines)
    assert PickScore(clip)(frames(3), scene).tolist() == pytest.approx([np.exp(4.0) * c for c in cosines])
    assert HpsV2(clip)(frames(3), scene).tolist() == pytest.approx([100 * c for c in cosines])


def test_direction_is_1_along_the_captions_and_undefined_for_the_input_itself() -> None:
    texts = {"a box": [1.0, 0.0, 0.0], "a golden box": [0.0, 1.0, 0.0]}
    images = [[0.0, 0.0, 1.0], [-0.5, 0.5, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 1.0], [0.0, 0.0, 1.0]]
    clip: Any = ByHand(images, texts)
    scene = Scene(frames(1)[0], prompt="a golden box", source="a box")
    along, against, across, same = ClipDirection(clip)(frames(4), scene)
    assert (along, against, across) == pytest.approx((1, -1, 0))
    assert np.isnan(same)
    with pytest.raises(SimeditError, match="--source-prompt"):
        ClipDirection(clip)(frames(4), Scene(frames(1)[0], prompt="a box", source="a box"))


@torch.no_grad()
def test_embeddings_are_the_models_of_the_centre(folder: Path) -> None:
    clip = Clip.load(str(folder), "cpu")
    model = CLIPModel.from_pretrained(folder)
    wide = frames(2, SIDE, 40)
    centre = torch.from_numpy(wide[:, :, 6:34]).permute(0, 3, 1, 2) / 255
    ids = clip._tokenizer("gold", return_tensors="pt").input_ids
    expected = model(input_ids=ids, pixel_values=normal(centre))
    images, texts = clip.embed(wide, ["gold"])
    torch.testing.assert_close(images, expected.image_embeds)
    torch.testing.assert_close(texts, expected.text_embeds)
    # A shorter caption beside a longer one is padded, and means the same; one beyond the context is cut.
    torch.testing.assert_close(clip.embed(wide, ["gold", "a cabinet of gold"])[1][:1], texts)
    assert clip.embed(wide, ["gold " * 200])[1].isfinite().all()


@pytest.mark.parametrize("name", ["clip_text", "clip_direction", "clip_patches", "pickscore"])
def test_they_load_from_a_directory(name: str, folder: Path) -> None:
    style = (frames(1, 30, 30)[0],)
    scene = Scene(frames(1)[0], None, style, prompt="a golden box", source="a box")
    found = KINDS[name].load(str(folder), "cpu")(255 - frames(2), scene)
    low, high = KINDS[name].range
    assert low is not None
    assert high is not None
    assert found.shape == (2,)
    assert ((low <= found) & (found <= high)).all()
    assert found[0] != found[1]


def test_a_model_without_its_tokenizer(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(SimeditError, match="cannot read the tokenizer"):
        Clip.load(str(tmp_path), "cpu")


class TestOpenClip:
    """HPSv2's weights come in open_clip's layout: the same network, written from its paper in small_clip."""

    @pytest.fixture
    def theirs(self, folder: Path, tmp_path: Path) -> tuple[OpenClip, Path]:
        torch.manual_seed(1)
        found = OpenClip(len(Clip.load(str(folder), "cpu")._tokenizer), 77).eval()
        torch.save({"state_dict": found.state_dict()}, tmp_path / HPS_FILE)
        for file in folder.iterdir():
            if file.suffix != ".safetensors":
                (tmp_path / file.name).write_bytes(file.read_bytes())
        return found, tmp_path

    @torch.no_grad()
    def test_renamed_weights_give_the_same_embeddings(self, theirs: tuple[OpenClip, Path]) -> None:
        network, folder = theirs
        clip = load_open_clip(str(folder), HPS_FILE, str(folder), "cpu", what="HPSv2")
        square = frames(2, SIDE, SIDE)
        captions = ["gold", "a golden box"]
        images, texts = clip.embed(square, captions)
        pixels = normal(torch.from_numpy(square).permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(images, network.image(pixels), atol=1e-5, rtol=1e-4)
        for caption, found in zip(captions, texts, strict=True):
            ids = clip._tokenizer(caption, return_tensors="pt").input_ids
            torch.testing.assert_close(found, network.text(ids)[0], atol=1e-5, rtol=1e-4)

    @torch.no_grad()
    def test_a_wide_frame_is_seen_whole_between_black_bars(self, theirs: tuple[OpenClip, Path]) -> None:
        network, folder = theirs
        wide = frames(1, SIDE // 2, SIDE)
        barred = np.zeros((1, SIDE, SIDE, 3), np.uint8)
        barred[:, 7:21] = wide
        pixels = normal(torch.from_numpy(barred).permute(0, 3, 1, 2) / 255)
        scene = Scene(wide[0], prompt="gold")
        metric: Any = KINDS["hpsv2"].load(str(folder), "cpu")
        ids = metric._clip._tokenizer("gold", return_tensors="pt").input_ids
        expected = 100 * (network.image(pixels) * network.text(ids)).sum()
        assert metric(wide, scene).item() == pytest.approx(expected.item(), abs=1e-3)

    def test_other_weights_are_refused(self, theirs: tuple[OpenClip, Path]) -> None:
        network, folder = theirs
        with pytest.raises(ValueError, match="called visual\\.trunk"):
            renamed({"visual.trunk.x": torch.ones(1)})
        state = network.state_dict()
        del state["ln_final.bias"]
        torch.save({"state_dict": state}, folder / HPS_FILE)
        with pytest.raises(SimeditError, match=r"(?s)as HPSv2: .*final_layer_norm"):
            KINDS["hpsv2"].load(str(folder), "cpu")
        (folder / HPS_FILE).unlink()
        with pytest.raises(SimeditError, match=HPS_FILE):
            KINDS["hpsv2"].load(str(folder), "cpu")

    def test_pickled_code_does_not_run(self, theirs: tuple[OpenClip, Path]) -> None:
        folder = theirs[1]
        torch.save({"state_dict": Harm(folder / "harmed")}, folder / HPS_FILE)
        with pytest.raises(SimeditError, match="as HPSv2"):
            KINDS["hpsv2"].load(str(folder), "cpu")
        assert not (folder / "harmed").exists()


class Harm:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")
