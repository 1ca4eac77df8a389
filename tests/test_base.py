"""A base's folder, from whomever: what is missing, made up, of another family, or code is refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from simedit import base
from simedit.base import base_folder, load_parts
from simedit.errors import SimeditError
from simedit.pipeline import SpecialistPipeline
from simedit.tiny import tiny_pipeline

VAE, UNET = "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def folder(tiny_root: Path, tmp_path: Path) -> Path:
    """A base to break."""
    return Path(shutil.copytree(tiny_root / "base", tmp_path / "base"))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _weights(path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(change(load_file(path)), path, {"format": "pt"})


def _without(*parts: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda weights: {k: v for k, v in weights.items() if not any(part in k for part in parts)}


def _load(folder: Path) -> SpecialistPipeline:
    return SpecialistPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": ["evil", "Evil"]},
        {"_class_name": "Evil"},
        {"unet": ["evil", "Evil"]},
        {"unet": ["evil", "UNet2DConditionModel"]},
        {"vae": ["evil", "AutoencoderKL"]},
        {"scheduler": ["evil", "Evil"]},
        {"tokenizer": ["evil", "Evil"]},
        {"text_encoder": ["evil", "CLIPTextModel"]},
        {"style_attention": ["evil", "StyleAttention"]},
        {"extra": ["evil", "Evil"]},
    ],
)
def test_no_code_in_a_folder_runs(
    folder: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os; os.environ['EVIL'] = 'ran'\nclass Evil: pass\n"
    for place in (folder, folder / "unet"):
        (place / "evil.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("EVIL", raising=False)
    _edit(folder / "model_index.json", **change)
    with pytest.raises(SimeditError, match=r"model_index\.json"):
        _load(folder)
    assert "evil" not in sys.modules


def test_code_named_by_a_parts_config_does_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(str(folder))
    code = {"auto_map": {"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}}
    for config in ("text_encoder/config.json", "tokenizer/tokenizer_config.json", "unet/config.json"):
        _edit(folder / config, **code)
    _edit(
        folder / "text_encoder" / "config.json", attn_implementation="someone/kernel", architectures=["Evil"]
    )
    assert torch.equal(_load(folder).encode_text(["gold"]), tiny_pipeline().encode_text(["gold"]))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "which is of another family"),
        ("[]", "must hold a JSON object"),
        ('"x"', "must hold a JSON object"),
        ("{", "is not valid JSON"),
        ('{"_class_name": "SpecialistPipeline"}', "names no scheduler"),
        (
            '{"_class_name": "SpecialistPipeline", "_class_name": "StableDiffusionPipeline"}',
            "stands in it twice",
        ),
        ('{"_class_name": "StableDiffusionXLInstructPix2PixPipeline"}', "another family"),
    ],
)
def test_an_index_that_is_none(folder: Path, text: str, message: str) -> None:
    (folder / "model_index.json").write_text(text)
    with pytest.raises(SimeditError, match=message):
        _load(folder)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ("unet", {"addition_embed_type": "text_time"}, "sets addition_embed_type to 'text_time'"),
        ("unet", {"class_embed_type": "timestep"}, "another family"),
        ("unet", {"time_cond_proj_dim": 256}, "another family"),
        ("unet", {"_class_name": "FluxTransformer2DModel"}, "is a FluxTransformer2DModel's"),
        ("unet", {"cross_attention_dim": 64}, "have another shape"),
        ("unet", {"block_out_channels": "16"}, "block_out_channels"),
        ("unet", {"block_out_channels": [1 << 16] * 2}, "asks for .* weights, but the files beside it hold"),
        ("unet", {"layers_per_block": 10**9}, "layers_per_block"),
        ("unet", {"down_block_types": ["Evil", "Evil"]}, "cannot load the base's unet"),
        ("unet", {"act_fn": 7}, "cannot load the base's unet"),
        ("unet", {"norm_num_groups": 0}, "norm_num_groups"),
        ("vae", {"shift_factor": 0.1}, "another family"),
        ("vae", {"scaling_factor": float("nan")}, "NaN is no JSON number"),
        ("vae", {"block_out_channels": []}, "block_out_channels"),
        ("vae", {"latent_channels": 5}, "have another shape"),
        ("text_encoder", {"model_type": "t5"}, "model_type"),
        ("text_encoder", {"num_hidden_layers": 3}, r"weights are missing .*layers\.2\."),
        ("text_encoder", {"num_hidden_layers": 1}, r"weights are unknown .*layers\.1\."),
        ("text_encoder", {"vocab_size": 1 << 24}, "asks for .* weights"),
        ("text_encoder", {"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        ("style_attention", {"inner_dim": 64}, "have another shape"),
        ("style_attention", {"heads": 0}, "heads"),
    ],
)
def test_a_config_of_another_model_or_none(
    folder: Path, config: str, change: dict[str, Any], message: str
) -> None:
    _edit(folder / config / "config.json", **change)
    with pytest.raises(SimeditError, match=message):
        _load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "unknown scheduler"),
        ({"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
        ({"prediction_type": "sample"}, "predicts 'sample'"),
        ({"use_flow_sigmas": True}, "another family"),
        ({"rescale_betas_zero_snr": True}, "sets rescale_betas_zero_snr"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps"),
        ({"num_train_timesteps": "many"}, "num_train_timesteps"),
        ({"beta_start": "x"}, "cannot load the base's scheduler"),
        ({"beta_schedule": "evil"}, "cannot load the base's scheduler"),
        ({"beta_start": 0.0, "beta_end": 0.0}, "do not add noise"),
        ({"trained_betas": [2.0, 3.0]}, "do not add noise"),
        ({"steps_offset": -1}, "steps_offset"),
    ],
)
def test_a_scheduler_of_another_kind(folder: Path, change: dict[str, Any], message: str) -> None:
    _edit(folder / "scheduler" / "scheduler_config.json", **change)
    with pytest.raises(SimeditError, match=message):
        _load(folder)


def test_a_flow_matching_scheduler_in_the_index(folder: Path) -> None:
    _edit(folder / "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    with pytest.raises(SimeditError, match=r"scheduler is .*FlowMatch.* but must be one of"):
        _load(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (TEXT, _without("self_attn"), r"text_encoder .* weights are missing .*self_attn"),
        (VAE, _without("decoder."), r"vae .* weights are missing .*decoder\."),
        (UNET, _without("attn2"), r"unet .* weights are missing .*attn2"),
        (UNET, lambda w: w | {"more.weight": torch.zeros(2)}, "1 weights are unknown .*more.weight"),
        (
            UNET,
            lambda w: w | {"conv_out.bias": torch.zeros(9)},
            "1 weights have another shape .*conv_out.bias",
        ),
        (
            VAE,
            lambda w: w | {"decoder.conv_out.bias": torch.full((3,), torch.nan)},
            "conv_out.bias is not finite",
        ),
        (TEXT, lambda w: {k: v * torch.inf for k, v in w.items()}, "is not finite in torch.float32"),
        ("style_attention/diffusion_pytorch_model.safetensors", _without("to_q"), "missing .*to_q"),
    ],
)
def test_weights_are_not_made_up_left_out_or_infinite(
    folder: Path, file: str, change: Callable[..., Any], message: str
) -> None:
    _weights(folder / file, change)
    with pytest.raises(SimeditError, match=message):
        _load(folder)


def test_weights_that_float16_does_not_hold_are_refused_in_it_alone(folder: Path) -> None:
    _weights(folder / UNET, lambda w: w | {"conv_out.bias": torch.full((4,), 1e6)})
    load_parts(folder, torch.float32)
    with pytest.raises(SimeditError, match=r"not finite in torch\.float16: load it in float32 or bfloat16"):
        load_parts(folder, torch.float16)


def _vocabulary(folder: Path) -> Path:
    """The tokenizer's folder, with vocab.json and merges.txt of "go", "gold</w>" and more."""
    tokenizer = folder / "tokenizer"
    model = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    (tokenizer / "tokenizer.json").unlink()
    # The text encoder knows 514: the two special ones move into the places of two letters.
    vocab = {k: v for k, v in model["vocab"].items() if k not in ("~", "~</w>")}
    for token, spare in (("go", "~"), ("gol", "~</w>")):
        vocab[token] = model["vocab"][spare]
    (tokenizer / "vocab.json").write_text(json.dumps(vocab))
    (tokenizer / "merges.txt").write_text("#version: 0.2\ng o\ngo l\n")
    return tokenizer


def test_a_tokenizer_of_two_files_loads(folder: Path) -> None:
    _vocabulary(folder)
    assert len(_load(folder).tokenizer("gold").input_ids) == 4  # begin, "gol", "d", end


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt", "both"])
def test_a_tokenizer_that_lacks_a_file(folder: Path, gone: str) -> None:
    tokenizer = _vocabulary(folder)
    for name in ("vocab.json", "merges.txt") if gone == "both" else (gone,):
        (tokenizer / name).unlink()
    with pytest.raises(SimeditError, match=r"tokenizer/.* missing"):
        _load(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vocab.json", "{}"),
        ("vocab.json", "[]"),
        ("vocab.json", ""),
        ("vocab.json", '{"a": "b"}'),
        ("merges.txt", ""),
        ("merges.txt", "#version: 0.2\ng o\n"),
        ("merges.txt", "#version: 0.2\ng o\ngo l\nl d\n"),
        ("merges.txt", "nonsense"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"model_max_length": 1000000000}'),
        ("tokenizer_config.json", '{"model_max_length": "many"}'),
    ],
)
def test_a_broken_tokenizer_is_one_clear_error(folder: Path, name: str, text: str) -> None:
    (_vocabulary(folder) / name).write_text(text)
    with pytest.raises(SimeditError, match="tokenizer"):
        _load(folder)


def test_a_vocabulary_larger_than_the_text_encoders(folder: Path) -> None:
    tokenizer = _vocabulary(folder)
    vocab = json.loads((tokenizer / "vocab.json").read_text())
    (tokenizer / "vocab.json").write_text(json.dumps(vocab | {"go": 600}))
    with pytest.raises(SimeditError, match="the text encoder knows 514"):
        _load(folder)


def test_files_as_the_first_stable_diffusions(folder: Path) -> None:
    """The autoencoder's attention under its old names; the text encoder's positions among its weights."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for new, name in old.items():
            weights = {
                k.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): v for k, v in weights.items()
            }
        return weights

    _weights(folder / VAE, renamed)
    _weights(folder / TEXT, lambda w: w | {"embeddings.position_ids": torch.arange(77)[None]})
    again, pipe = _load(folder), tiny_pipeline()
    for key, value in pipe.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[key], value)
    assert torch.equal(again.encode_text(["gold"]), pipe.encode_text(["gold"]))


@pytest.mark.parametrize("options", [{"variant": "fp16"}, {"max_shard_size": "100KB"}])
def test_variants_and_shards(tmp_path: Path, options: dict[str, str]) -> None:
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path, **options)
    variants = [None, options["variant"]] if "variant" in options else [None]
    for variant in variants:
        again = SpecialistPipeline.from_pretrained(tmp_path, variant=variant)
        assert torch.equal(again.unet.conv_out.weight, pipe.unet.conv_out.weight)
    with pytest.raises(SimeditError, match="have the variant 'bf8'"):
        SpecialistPipeline.from_pretrained(tmp_path, variant="bf8")
    min((tmp_path / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(SimeditError, match="unet"):
        SpecialistPipeline.from_pretrained(tmp_path)


def test_pickled_weights_are_not_read(folder: Path) -> None:
    torch.save(load_file(folder / UNET), folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / UNET).unlink()
    with pytest.raises(SimeditError, match=r"unet/\*\.safetensors missing \(convert \*\.bin"):
        _load(folder)


def test_an_adapters_config_does_not_lead_to_another_model(folder: Path) -> None:
    (folder / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/evil"}')
    with pytest.raises(SimeditError, match="holds an adapter's config"):
        _load(folder)


def test_the_hub_is_asked_for_the_revision_and_the_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return "/somewhere"

    monkeypatch.setattr(base, "snapshot_download", download)
    assert base_folder("a/b", variant="fp16", revision="v2", cache_dir="here") == Path("/somewhere")
    assert (asked["name"], asked["revision"], asked["cache_dir"]) == ("a/b", "v2", "here")
    assert "unet/*.fp16*safetensors" in asked["allow_patterns"]
    assert not any("fp16" in pattern for pattern in asked["ignore_patterns"])
    base_folder("a/b")
    assert "unet/*.safetensors" in asked["allow_patterns"]
    assert any("fp16" in pattern for pattern in asked["ignore_patterns"])


@pytest.mark.parametrize("name", ["x" * 5000, "./absent", "/absent", "a/b/c", "no\0name"])
def test_names_that_cannot_be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SimeditError, match="no base at"):
        base_folder(name)
