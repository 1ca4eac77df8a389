from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from simedit.errors import SimeditError
from simedit.style_attention import StyleAttention

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden numbers are not here")
def test_computes_as_the_public_code() -> None:
    golden = {k: torch.from_numpy(v) for k, v in np.load(GOLDEN / "style_attention.npz").items()}
    attention = StyleAttention(inner_dim=32, text_dim=24)
    attention.load_state_dict({f"{k}.weight": golden[k] for k in ("to_q", "to_k", "to_v", "to_out")})
    style, image = golden["latents"].chunk(2, 1)
    with torch.no_grad():
        output = attention(style, image, golden["text"])
    torch.testing.assert_close(output, golden["output"], atol=1e-5, rtol=1e-5)


def test_starts_from_the_first_cross_attention() -> None:
    unet = _unet("CrossAttnDownBlock2D")
    attention = StyleAttention.for_unet(unet)
    first = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    assert torch.equal(attention.to_k.weight, first.to_k.weight)
    assert torch.equal(attention.to_v.weight, first.to_v.weight)
    columns = [first.to_v.weight[:, 3 * i : 3 * i + 3].mean(1) for i in range(8)]
    torch.testing.assert_close(attention.to_q.weight, torch.stack(columns, 1))
    assert torch.equal(attention.to_out.weight, StyleAttention.for_unet(unet).to_out.weight)


def test_a_unet_without_cross_attention_in_front_is_refused() -> None:
    with pytest.raises(SimeditError, match="no cross-attention"):
        StyleAttention.for_unet(_unet("DownBlock2D"))


def test_save_and_load(tmp_path: Path) -> None:
    attention = StyleAttention(inner_dim=16, text_dim=24)
    attention.save_pretrained(tmp_path)
    again = StyleAttention.from_pretrained(tmp_path)
    assert dict(again.config)["inner_dim"] == 16
    for key, value in attention.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def _unet(first_block: str) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        in_channels=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=(first_block, "CrossAttnDownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=24,
        norm_num_groups=4,
    )
