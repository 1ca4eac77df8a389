"""Transformers models and their images' statistics, by hub id or directory. Safetensors and JSON only."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.utils.hub import cached_file

from simedit.errors import SimeditError
from simedit.weights import check_finite, numbers_in

M = TypeVar("M", bound=PreTrainedModel)


@dataclass(frozen=True)
class ImageStatistics:
    """What a model expects of its images.

    Attributes:
        mean, std: of the three channels, for values in 0..1.
        size: pixels: "height" and "width", or "shortest_edge" (and "longest_edge").
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: dict[str, int]

    def normalise(self, images: Tensor) -> Tensor:
        """Images [N, 3, h, w] in 0..1, less the mean, over the standard deviation, in the same dtype."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std


def load_model(
    cls: type[M], name: str, what: str, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> M:
    """A pretrained model on the device, in evaluation mode, its gradients off.

    Args:
        cls: the transformers class.
        name: hub id, or a directory with config.json and safetensors.
        what: the model's part in the work, for errors, such as "the depth model".

    Raises:
        SimeditError: no such model, no safetensors, the hub is out of reach, weights that do not fit `cls`.
    """
    _check_name(name, what)
    if Path(name).is_dir() and not (Path(name) / "config.json").is_file():  # transformers would guess one
        raise _unusable(name, what, "it holds no config.json")
    if (Path(name) / "adapter_config.json").exists():  # transformers would load the model that it names
        raise _unusable(name, what, "it holds an adapter, not a model")
    load: Any = cls.from_pretrained  # typed as if it never told what it loaded
    try:
        is_whole = _check_family(cls, name)
        model, info = load(name, dtype=dtype, use_safetensors=True, output_loading_info=True)
        if missing := sorted(info["missing_keys"]):  # transformers fills them with noise and a warning
            raise ValueError(f"its weights lack {len(missing)} of {cls.__name__}, such as {missing[0]}")
        unknown = [key for key in info["unexpected_keys"] if is_whole and re.search(r"\.\d+\.", key)]
        if unknown:
            raise ValueError(f"its config leaves out layers of its weights, such as {min(unknown)}")
        check_finite(model.named_parameters(), name)
    except Exception as error:  # of a broken config the libraries raise whatever comes
        raise _unusable(name, what, f"{cls.__name__} could not load it: {error}") from error
    return model.to(device).eval().requires_grad_(False)


def _check_family(cls: type[PreTrainedModel], name: str) -> bool:
    """Check by its config that a model is of the class.

    Returns:
        Whether it is all of the model: of a pair such as CLIP one half may be wanted.

    Raises:
        ValueError: it is of another family, names code of its own, or is larger than its files.
    """
    wanted: Any = cls.config_class
    data, _ = wanted.get_config_dict(name)
    given = data.get("model_type", wanted.model_type)
    known: Any = CONFIG_MAPPING
    halves = known[given].sub_configs.values() if given in known else ()
    # Of SAM 2 the hub has the model for videos, which holds the one for images.
    if given != wanted.model_type and wanted not in halves and given != f"{wanted.model_type}_video":
        raise ValueError(f"its config is of a {given!r}, not of a {wanted.model_type!r}")
    if any("/" in str(data.get(key)) for key in ("attn_implementation", "_attn_implementation")):
        raise ValueError("its config names code on the hub (attn_implementation)")
    if Path(name).is_dir():
        with torch.device("meta"):
            blank = cls(wanted.from_pretrained(name))
        if sum(p.numel() for p in blank.parameters()) > 4 * numbers_in(Path(name)) + (1 << 20):
            raise ValueError("its config asks for far more weights than there are")
    return given == wanted.model_type


def image_statistics(name: str, what: str) -> ImageStatistics:
    """Read preprocessor_config.json of a hub id or directory. Where it crops, the size is the crop's.

    Raises:
        SimeditError: the file is missing or holds no mean, standard deviation and size.
    """
    _check_name(name, what)
    try:
        path = cached_file(name, "preprocessor_config.json")
        data = json.loads(Path(str(path)).read_text(encoding="utf-8"))
        size = data["crop_size"] if data.get("do_center_crop") else data["size"]
        if isinstance(size, int):
            size = {"height": size, "width": size}
        size = {edge: int(length) for edge, length in size.items() if length is not None}
        mean, std = _three(data["image_mean"]), _three(data["image_std"])
        if not size or not all(1 <= length <= 8192 for length in size.values()) or min(std) <= 0:
            raise ValueError("a size is not 1 to 8192, or a standard deviation not above 0")
        return ImageStatistics(mean, std, size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _unusable(
            name, what, f"preprocessor_config.json is missing or unusable: {type(error).__name__}: {error}"
        ) from error


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images [N, 3, h, w] in 0..1 as [N, 3, height, width], bicubic, without aliasing, as the models' own
    preprocessing does with PIL but for its rounding to 8 bits."""
    if images.shape[-2:] == (height, width):
        return images
    return interpolate(images, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{values} are not finite")
    return red, green, blue


def _check_name(name: str, what: str) -> None:
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise _unusable(name, what, "there is no such directory")


def _unusable(name: str, what: str, why: str) -> SimeditError:
    return SimeditError(
        f"cannot use {name!r} as {what}: {why}\nGive a hub id, or a directory that holds config.json, "
        f"model.safetensors and preprocessor_config.json (for a machine without the hub, copy it there)."
    )
