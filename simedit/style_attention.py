"""The attention in front of the U-Net that turns a style image into four more input channels."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from simedit.errors import SimeditError


class StyleAttention(ModelMixin, ConfigMixin):
    """The latents of style and input image attend to the instruction (arXiv 2504.12833, section 3.3).

    It sees no noise and no timestep: it is computed once per frame and reused at every denoising step.

    Args:
        inner_dim: width of query, key and value: that of the U-Net's first block; divisible by `heads`.
        text_dim: width of the text states.
        heads: attention heads.
        latent_channels: of the VAE.
        direct: whether the style latents also reach the U-Net as they are, through a matrix that is zero at
            first. In the paper's form they act through the attention's weights over the text alone.
    """

    @register_to_config
    def __init__(
        self,
        inner_dim: int = 320,
        text_dim: int = 768,
        heads: int = 8,
        latent_channels: int = 4,
        direct: bool = False,
    ):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(2 * latent_channels, inner_dim, bias=False)
        self.to_k = nn.Linear(text_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(text_dim, inner_dim, bias=False)
        self.to_out = nn.Linear(inner_dim, latent_channels, bias=False)
        self.to_direct = nn.Linear(latent_channels, latent_channels, bias=False) if direct else None
        if self.to_direct is not None:
            nn.init.zeros_(self.to_direct.weight)

    @classmethod
    def for_unet(cls, unet: UNet2DConditionModel, *, direct: bool = False) -> StyleAttention:
        """A new module, started as in the paper's public code: key and value are those of the U-Net's first
        cross-attention, the query an average of its value weights, the output random (of a fixed seed).

        Raises:
            SimeditError: the U-Net's first block has no cross-attention, or its widths do not divide by 8.
        """
        cross: Any = next(
            (m for name, m in unet.down_blocks[0].named_modules() if name.endswith("attn2")), None
        )
        if cross is None:
            raise SimeditError(
                "the U-Net's first block has no cross-attention to start the style attention from"
            )
        inner_dim, text_dim = cross.to_v.weight.shape
        latent = unet.config["out_channels"]
        if inner_dim % 8 or text_dim % (2 * latent):
            raise SimeditError(
                f"style attention needs widths divisible by its 8 heads and {2 * latent} input channels, "
                f"but the U-Net's first cross-attention is {inner_dim} wide on {text_dim} wide text"
            )
        module = cls(inner_dim, text_dim, latent_channels=latent, direct=direct)
        with torch.no_grad():
            module.to_k.weight.copy_(cross.to_k.weight)
            module.to_v.weight.copy_(cross.to_v.weight)
            module.to_q.weight.copy_(cross.to_v.weight.unflatten(1, (2 * latent, -1)).mean(-1))
            bound = inner_dim**-0.5
            module.to_out.weight.uniform_(-bound, bound, generator=torch.Generator().manual_seed(0))
        return module.to(cross.to_v.weight)

    def forward(self, style_latents: Tensor, image_latents: Tensor, text: Tensor) -> Tensor:
        """
        Args:
            style_latents, image_latents: [N, 4, h, w], VAE modes without the scaling factor.
            text: [N, L, text_dim], the instruction's text states.

        Returns:
            [N, 4, h, w].
        """
        latents = torch.cat([style_latents, image_latents], 1)
        query = self.to_q(latents.flatten(2).transpose(1, 2))
        query, key, value = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (query, self.to_k(text), self.to_v(text))
        )
        mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = self.to_out(mixed)
        if self.to_direct is not None:
            out = out + self.to_direct(style_latents.flatten(2).transpose(1, 2))
        return out.transpose(1, 2).unflatten(2, latents.shape[2:])
