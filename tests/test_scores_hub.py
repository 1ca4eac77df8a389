"""Models by hub id or directory: tiny random ones of the real classes, and every way to give a wrong one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel, Dinov2Config, Dinov2Model

from simedit.errors import SimeditError
from simedit.scores.hub import ImageStatistics, image_statistics, load_model, resize

WHAT = "the encoder"
ONE_STAGE = {"out_features": ["stage1"], "out_indices": [1], "stage_names": ["stem", "stage1"]}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    Dinov2Model(tiny(2)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def tiny(layers: int) -> Dinov2Config:
    return Dinov2Config(hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, image_size=28)


def preprocessor(folder: Path, **values: object) -> str:
    data = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 4], **values}
    (folder / "preprocessor_config.json").write_text(json.dumps(data), encoding="utf-8")
    return str(folder)


def test_a_model_loads_as_saved(folder: Path) -> None:
    model = load_model(Dinov2Model, str(folder), WHAT, "cpu", torch.bfloat16)
    torch.manual_seed(0)
    saved = Dinov2Model(tiny(2)).state_dict()
    assert all(torch.equal(value, saved[name].bfloat16()) for name, value in model.state_dict().items())
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimeditError, match=r"the encoder: there is no such directory.*\n?.*Give a hub id"):
        load_model(Dinov2Model, str(tmp_path / "absent"), WHAT, "cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for read in (
        lambda name: load_model(Dinov2Model, name, WHAT, "cpu"),
        lambda n: image_statistics(n, WHAT),
    ):
        with pytest.raises(SimeditError, match=r"'nobody/no-such-model' as the encoder"):
            read("nobody/no-such-model")


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file(folder: Path, gone: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(SimeditError, match=rf"no (file named )?{gone}.*\nGive a hub id"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(Dinov2Model(tiny(2)).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SimeditError, match=r"no file named model\.safetensors.*\nGive a hub id"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_cut_off_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SimeditError, match="could not load it"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_weights_of_a_smaller_model(folder: Path) -> None:
    tiny(3).save_pretrained(folder)  # its third layer would be noise
    with pytest.raises(SimeditError, match=r"its weights lack \d+ of Dinov2Model, such as \S*layer"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def _config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "its config is of a 'vit', not of a 'dinov2'"),
        ({"model_type": "dinov2_with_registers"}, "not of a 'dinov2'"),
        ({"model_type": "x" * 30}, "not of a 'dinov2'"),
        (
            {"num_hidden_layers": 1, **ONE_STAGE},
            r"its config leaves out layers .* such as .*\.1\.",
        ),
        ({"hidden_size": 1 << 14}, "asks for far more weights than there are"),
        ({"hidden_size": "x"}, "could not load it"),
        ({"attn_implementation": "someone/kernel"}, "names code on the hub"),
    ],
)
def test_a_config_of_another_model(folder: Path, changes: dict[str, object], message: str) -> None:
    _config(folder, **changes)
    with pytest.raises(SimeditError, match=message):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


@pytest.mark.parametrize("text", ["[]", "{", "", "null"])
def test_a_config_that_is_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(SimeditError, match="could not load it"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_weights_that_are_not_finite(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    key = min(weights)
    save_file(weights | {key: weights[key] * torch.nan}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SimeditError, match="is not finite"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_an_adapters_config_does_not_lead_to_another_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/evil"}')
    with pytest.raises(SimeditError, match="it holds an adapter"):
        load_model(Dinov2Model, str(folder), WHAT, "cpu")


def test_half_of_a_pair_loads_from_the_whole(tmp_path: Path) -> None:
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    sizes = {"intermediate_size": 16, "patch_size": 14}
    pair = CLIPModel(CLIPConfig(vision_config=vision | sizes, text_config=text, projection_dim=8))
    pair.save_pretrained(tmp_path)
    half = load_model(CLIPVisionModel, str(tmp_path), WHAT, "cpu").state_dict()
    saved = pair.vision_model.state_dict()
    assert all(torch.equal(v, saved[k.removeprefix("vision_model.")]) for k, v in half.items())


@pytest.mark.parametrize(
    "values",
    [
        {"size": {"height": 10**9, "width": 10**9}},
        {"size": {"height": 0, "width": 0}},
        {"size": {}},
        {"size": 224, "image_mean": [float("nan")] * 3},
        {"size": 224, "image_std": [0, 0, 0]},
        {"size": 224, "image_std": [float("inf")] * 3},
        {"size": float("inf")},
    ],
)
def test_statistics_that_cannot_be(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(SimeditError, match="preprocessor_config"):
        image_statistics(preprocessor(tmp_path, **values), WHAT)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({"size": {"height": 518, "width": 518}}, {"height": 518, "width": 518}),
        (
            {"size": {"shortest_edge": 800, "longest_edge": 1333}},
            {"shortest_edge": 800, "longest_edge": 1333},
        ),
        (
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
            },
            {"height": 224, "width": 224},
        ),
        ({"size": 224, "crop_size": 192, "do_center_crop": True}, {"height": 192, "width": 192}),
        (
            {"size": {"height": 64, "width": 64, "shortest_edge": None}, "crop_size": None},
            {"height": 64, "width": 64},
        ),
    ],
)
def test_image_statistics(tmp_path: Path, values: dict[str, object], size: dict[str, int]) -> None:
    statistics = image_statistics(preprocessor(tmp_path, **values), WHAT)
    assert statistics == ImageStatistics((0.1, 0.2, 0.3), (1.0, 2.0, 4.0), size)
    normal = statistics.normalise(torch.full((2, 3, 4, 5), 0.5))
    assert torch.allclose(normal[1, :, 2, 3], torch.tensor([0.4, 0.15, 0.05]))


@pytest.mark.parametrize("text", [None, "not json", "[1, 2]", '{"image_mean": [0.5]}'])
def test_unusable_statistics(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "preprocessor_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(SimeditError, match=r"(?s)cannot use .*preprocessor_config\.json"):
        image_statistics(str(tmp_path), WHAT)


@pytest.mark.parametrize("size", [(40, 64), (90, 70)])
def test_resize_is_pils(size: tuple[int, int]) -> None:
    # Away from black and white, where PIL clips between its two passes.
    image = torch.randint(80, 176, (60, 80, 3), dtype=torch.uint8, generator=torch.manual_seed(0)).numpy()
    height, width = size
    pil = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    ours = resize(_tensor(image), height, width)
    assert (ours - _tensor(pil)).abs().max() < 1.5 / 255  # PIL rounds twice
    assert resize(ours, height, width) is ours


def _tensor(image: object) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
