"""The settings of a base's parts: what decides on sizes, and what tells of another family of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PositiveFloat

from simedit.config import Config, load_json, parse_config
from simedit.errors import SimeditError

_Width = Annotated[int, Field(ge=1, le=1 << 16)]
_Depth = Annotated[int, Field(ge=1, le=100)]
_Widths = Annotated[list[_Width], Field(min_length=1, max_length=16)]


PREDICTIONS = ("epsilon", "v_prediction")
"""What a base's U-Net may predict: the noise, or the velocity."""


class _Part(Config):
    """The settings of a part on which its size and the fit to others depend; it may have more."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class _Scheduler(_Part):
    num_train_timesteps: Annotated[int, Field(ge=1, le=1 << 16)] = 1000
    prediction_type: str = "epsilon"
    steps_offset: Annotated[int, Field(ge=0, le=1 << 16)] = 0
    set_alpha_to_one: bool = True


class _Vae(_Part):
    latent_channels: _Width = 4
    block_out_channels: _Widths
    layers_per_block: _Depth = 1
    norm_num_groups: _Width = 32
    scaling_factor: PositiveFloat = 0.18215


class _UNet(_Part):
    in_channels: _Width
    out_channels: _Width
    block_out_channels: _Widths
    layers_per_block: _Depth | list[_Depth] = 2
    transformer_layers_per_block: _Depth | list[_Depth | list[_Depth]] = 1
    cross_attention_dim: _Width
    # What the networks take for numbers only once they compute.
    freq_shift: float = 0
    downsample_padding: Annotated[int, Field(ge=0, le=16)] = 1
    mid_block_scale_factor: PositiveFloat = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    norm_num_groups: _Width | None = 32
    norm_eps: PositiveFloat = 1e-5
    resnet_out_scale_factor: PositiveFloat = 1
    conv_in_kernel: Annotated[int, Field(ge=1, le=16)] = 3
    conv_out_kernel: Annotated[int, Field(ge=1, le=16)] = 3


class _StyleAttention(_Part):
    inner_dim: _Width = 320
    text_dim: _Width = 768
    direct: bool = False
    heads: _Width = 8
    latent_channels: _Width = 4


class _TextEncoder(_Part):
    """All that is taken of the config: transformers' own would also name where code comes from."""

    model_config = ConfigDict(extra="ignore")

    vocab_size: Annotated[int, Field(ge=1, le=1 << 24)] = 49408
    hidden_size: _Width = 512
    intermediate_size: _Width = 2048
    projection_dim: int = 512
    num_hidden_layers: _Depth = 12
    num_attention_heads: _Width = 8
    max_position_embeddings: _Width = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: PositiveFloat = 1e-5
    attention_dropout: float = 0.0
    initializer_factor: float = 1.0
    initializer_range: float = 0.02
    bos_token_id: int | None = 49406
    eos_token_id: int | None = 49407
    pad_token_id: int | None = 1


_SETTINGS: dict[str, type[_Part]] = {
    "unet": _UNet,
    "vae": _Vae,
    "text_encoder": _TextEncoder,
    "style_attention": _StyleAttention,
    "scheduler": _Scheduler,
}
_ALIEN = {
    "unet": (
        "addition_embed_type",
        "class_embed_type",
        "num_class_embeds",
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "time_cond_proj_dim",
        "quantization_config",
    ),
    "vae": ("shift_factor", "latents_mean", "latents_std", "quantization_config"),
    "text_encoder": ("quantization_config",),
    "style_attention": ("quantization_config",),
    "scheduler": ("use_flow_sigmas", "rescale_betas_zero_snr"),
}
"""Settings that ask for more conditions, or for other numbers, than a part is given here."""


def read_part_config(path: Path, *, kind: str | None = None) -> Any:
    """A part's config, checked.

    Args:
        path: the config, in the part's folder, which has the part's name.
        kind: the class whose config it must be, if it says of which it is.

    Raises:
        SimeditError: it is missing or broken, of another class or family, or a value cannot be.
    """
    part, data = path.parent.name, load_json(path)
    if kind is not None and data.get("_class_name", kind) != kind:
        raise SimeditError(f"{path} is a {str(data['_class_name'])[:100]}'s, not a {kind}'s")
    for key in _ALIEN[part]:
        if data.get(key) not in (None, False):
            raise SimeditError(
                f"{path} sets {key} to {str(data[key])[:100]!r}, which InstructPix2Pix on Stable Diffusion "
                f"1 and 2 does not have: it is of another family of models"
            )
    return parse_config(_SETTINGS[part], data, where=str(path))
