"""A base's folder: where it lies, whether it is whole, and its parts.

A folder may come from anybody: parts are of the classes below and no others, so that no code in it or named
by it runs; their configs are checked before anything of their size is made, and no weight is made up.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from simedit.base_config import PREDICTIONS, read_part_config
from simedit.config import load_json
from simedit.errors import SimeditError, unknown
from simedit.samplers import is_integer
from simedit.style_attention import StyleAttention
from simedit.weights import check_finite, numbers_in

PIPELINES = ("SpecialistPipeline", "StableDiffusionInstructPix2PixPipeline", "StableDiffusionPipeline")
SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Of a base's scheduler only the betas and a few settings are used."""
TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast")

_PARTS = {
    "scheduler": ("diffusers", SCHEDULERS),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", TOKENIZERS),
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "style_attention": ("simedit.style_attention", ("StyleAttention",)),
}
_UNUSED = ("safety_checker", "feature_extractor", "requires_safety_checker", "image_encoder")
"""Of other pipelines on the same parts: neither downloaded nor loaded."""
_VARIANTS = ("fp16", "bf16")


class NoBase(SimeditError):
    """A hub id that neither this machine nor the hub has."""


def base_folder(
    base: str | Path,
    *,
    variant: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The directory that holds a base: itself, or where the hub's copy lies, downloaded if need be.

    Args:
        base: a directory or a hub id.
        variant: of the weights' files, such as "fp16": of a hub id no others are downloaded.
        revision, cache_dir, local_files_only, token: of a hub id, as `huggingface_hub.snapshot_download`'s.

    Raises:
        SimeditError: no such directory; of its kind `NoBase`, no such hub id.
    """
    try:
        if Path(base).is_dir():
            return Path(base)
    except OSError as error:
        raise SimeditError(f"no base at {str(base)[:100]!r}: {error.strerror}") from error
    name = str(base)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise SimeditError(f"no base at {name}: there is no such directory")
    kinds = ("json", "txt", f"{variant}*safetensors" if variant else "safetensors")
    unwanted = [] if variant else [f"*.{known}[.-]*" for known in _VARIANTS]
    try:
        found = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=["model_index.json", *(f"{part}/*.{kind}" for part in _PARTS for kind in kinds)],
            ignore_patterns=["*.non_ema.*", *unwanted],
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise NoBase(
            f"no base at {name!r}: no such directory, and the hub gave no model of that name ({error}). "
            f"Give the directory of an InstructPix2Pix checkpoint."
        ) from error
    return Path(found)


def load_parts(folder: Path, dtype: torch.dtype, variant: str | None = None) -> dict[str, Any]:
    """A base's parts by name, for `SpecialistPipeline`, in evaluation mode; without style attention where the
    folder has none.

    Args:
        folder: a saved SpecialistPipeline or an InstructPix2Pix checkpoint.
        dtype: of the weights, whatever the files hold.
        variant: of the weights' files; where a part has no others, "fp16" and "bf16" are found by themselves.

    Raises:
        SimeditError: a part is missing, broken, of another class or family, or asks for weights that are not
            there; weights that are not finite, or that nothing asks for.
    """
    if variant and not any(folder.glob(f"*/*.{variant}[.-]*")):
        raise SimeditError(f"no weights in {folder} have the variant {variant!r}: leave it out")
    _check_complete(folder, variant)
    index = _read_index(folder)
    parts: dict[str, Any] = {
        "scheduler": _scheduler(folder / "scheduler", index["scheduler"]),
        "vae": _weighted(folder / "vae", AutoencoderKL, dtype, variant),
        "text_encoder": _weighted(folder / "text_encoder", CLIPTextModel, dtype, variant),
        "unet": _weighted(folder / "unet", UNet2DConditionModel, dtype, variant),
    }
    if "style_attention" in index:
        attention = folder / "style_attention"
        parts["style_attention"] = _weighted(attention, StyleAttention, dtype, variant)
    parts["tokenizer"] = _tokenizer(folder / "tokenizer", parts["text_encoder"].config)
    return parts


def _check_complete(folder: Path, variant: str | None) -> None:
    wanted = ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json"]
    wanted += ["vae/config.json", "unet/config.json"]
    missing = [name for name in wanted if not (folder / name).is_file()]
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        vocabulary = ("tokenizer/vocab.json", "tokenizer/merges.txt")
        missing += [name for name in vocabulary if not (folder / name).is_file()]
    bare = [p for p in ("vae", "text_encoder", "unet") if not any(folder.glob(f"{p}/*.safetensors"))]
    missing += [f"{part}/*.safetensors" for part in bare]
    if missing:
        hint = " (convert *.bin or *.ckpt files to safetensors first)" if bare else ""
        if bare and not variant:
            hint += '; if its files have a variant, such as "fp16", name it'
        raise SimeditError(
            f"{folder} is not a complete InstructPix2Pix directory: {', '.join(missing)} missing{hint}"
        )


def _read_index(folder: Path) -> dict[str, str]:
    """The class of each part, of those in `_PARTS`."""
    path = folder / "model_index.json"
    index = load_json(path)
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        raise SimeditError(
            f"{path} is {str(kind)[:100]!r}'s, which is of another family of models: a base is "
            f"{', '.join(PIPELINES[:-1])} or {PIPELINES[-1]}"
        )
    found = {}
    for part, value in index.items():
        if part.startswith("_") or part in _UNUSED or value in (None, [None, None]):
            continue
        if part not in _PARTS:
            raise SimeditError(
                f"{path} has a part or setting {part!r}, which InstructPix2Pix on Stable Diffusion 1 and 2 "
                f"does not have: it is of another family of models"
            )
        library, classes = _PARTS[part]
        if not (isinstance(value, list) and len(value) == 2 and value[0] == library and value[1] in classes):
            raise SimeditError(
                f"{path}: {part} is {json.dumps(value)[:200]}, but must be one of {library}'s "
                f"{', '.join(classes)}"
            )
        found[part] = value[1]
    for part in _PARTS:
        if part not in found and part != "style_attention":
            raise SimeditError(f"{path} names no {part}")
    return found


def _scheduler(folder: Path, kind: str) -> Any:
    path = folder / "scheduler_config.json"
    config = read_part_config(path)
    saved_as = config.model_extra.get("_class_name", kind)
    if saved_as not in SCHEDULERS:
        raise unknown(f"scheduler in {path}", str(saved_as)[:100], SCHEDULERS)
    if config.prediction_type not in PREDICTIONS:
        raise SimeditError(
            f"{path}: the base predicts {config.prediction_type!r}, and not {' or '.join(PREDICTIONS)}"
        )
    with _explained(folder):
        return getattr(diffusers, kind).from_config(load_json(path))


def _weighted(folder: Path, cls: Any, dtype: torch.dtype, variant: str | None) -> Any:
    config = folder / "config.json"
    is_text = folder.name == "text_encoder"
    if is_text and load_json(config).get("model_type", "clip_text_model") != "clip_text_model":
        raise SimeditError(f"{config}: its model_type is not clip_text_model's")
    known = read_part_config(config, kind=None if is_text else cls.__name__)
    if (folder / "adapter_config.json").exists():  # transformers would load another model in its place
        raise SimeditError(f"{folder} holds an adapter's config: merge the adapter into the weights first")
    with _explained(folder):
        options: dict[str, Any] = {"config": CLIPTextConfig(**known.model_dump())} if is_text else {}
        with torch.device("meta"):
            blank = cls(options["config"]) if is_text else cls.from_config(load_json(config))
        wanted, held = sum(p.numel() for p in blank.parameters()), numbers_in(folder)
        if wanted > 4 * held + (1 << 20):  # what is missing would be made up in memory, before it is told
            raise SimeditError(
                f"{config} asks for {wanted:,} weights, but the files beside it hold {held:,}: they are of "
                f"another model"
            )
        model, info = cls.from_pretrained(
            folder,
            torch_dtype=dtype,
            variant=_variant(folder, "model" if is_text else "diffusion_pytorch_model", variant),
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
            **options,
        )
    for problem, names in (
        ("are missing from", info["missing_keys"]),
        ("have another shape in", [key[0] for key in info["mismatched_keys"]]),
        ("are unknown in", info["unexpected_keys"]),
    ):
        if names:
            raise SimeditError(
                f"the base's {folder.name} cannot be used: {len(names)} weights {problem} {folder}, such as "
                f"{min(names)}"
            )
    check_finite(model.named_parameters(), str(folder))
    return model.eval()


def _variant(folder: Path, stem: str, wanted: str | None) -> str | None:
    """The variant to load: the wanted one if the part has it, else none, else the one that it has."""
    for variant in (wanted, None, *_VARIANTS):
        infix = f".{variant}" if variant else ""
        names = (f"{stem}{infix}.safetensors", f"{stem}.safetensors.index{infix}.json")
        if any((folder / name).is_file() for name in names):
            return variant
    return wanted


def _tokenizer(folder: Path, text: Any) -> Any:
    with _explained(folder):
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        length = tokenizer.model_max_length
        gold, wood, empty = (
            tokenizer(word, padding="max_length", max_length=8, truncation=True).input_ids
            for word in ("gold", "wood", "")
        )
        model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if not is_integer(length) or not 3 <= length <= text.max_position_embeddings:
        raise SimeditError(
            f"{folder}: its model_max_length is {str(length)[:100]}, but must be 3 to the text encoder's "
            f"{text.max_position_embeddings} tokens"
        )
    vocabulary = tokenizer.get_vocab()
    if max(vocabulary.values()) >= text.vocab_size:
        raise SimeditError(
            f"{folder}: its vocabulary has {len(vocabulary)} tokens, but the text encoder knows "
            f"{text.vocab_size}"
        )
    # transformers makes up an empty vocabulary where there is none, and reads one that was cut off.
    merged = {"".join(pair).replace(" ", "") for pair in model["merges"]}  # older ones are strings
    single = {token for token in model["vocab"] if len(token.removesuffix("</w>")) == 1}
    lost = model["vocab"].keys() - merged - single - {*tokenizer.all_special_tokens}
    doubled = len({*vocabulary.values()}) < len(vocabulary)
    if len({*map(tuple, (gold, wood, empty))}) < 3 or lost or doubled:
        raise SimeditError(
            f"{folder}: its vocabulary is incomplete: copy vocab.json and merges.txt, or tokenizer.json, anew"
        )
    return tokenizer


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Whatever a library says of a broken part, as one error: what it raises for those follows no rule."""
    try:
        with warnings.catch_warnings():
            # Newer diffusers call it `dtype`, older ones do not know that name.
            warnings.filterwarnings("ignore", "`torch_dtype` is deprecated", FutureWarning)
            yield
    except SimeditError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # of Rust
            raise
        reason = " ".join(str(error).split())[:300]
        raise SimeditError(
            f"cannot load the base's {folder.name} at {folder}: {type(error).__name__}: {reason}"
        ) from error
