"""Load a directory laid out as the hub's timbrooks/instruct-pix2pix, at full size, and edit on the CPU.

The weights are random: this shows that the layout loads, in what time and memory, and no picture.
Needs about 4 GB of disk in the temporary folder.

    python benchmarks/full_size_load.py
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from simedit.pipeline import SpecialistPipeline
from simedit.tiny import tiny_pipeline

INDEX = {
    "_class_name": "StableDiffusionInstructPix2PixPipeline",
    "_diffusers_version": "0.12.0.dev0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def build(folder: Path) -> None:
    """Write the directory: Stable Diffusion 1.5's sizes, an 8-channel U-Net, a byte vocabulary."""
    torch.manual_seed(0)
    tokenizer = tiny_pipeline().tokenizer
    tokenizer.save_pretrained(folder / "tokenizer")
    UNet2DConditionModel(
        in_channels=8, sample_size=64, cross_attention_dim=768, attention_head_dim=8
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    ).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        )
    ).save_pretrained(folder / "text_encoder")
    EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
    ).save_pretrained(folder / "scheduler")
    for unused, name in (
        ("safety_checker", "model.safetensors"),
        ("feature_extractor", "preprocessor_config.json"),
    ):
        (folder / unused).mkdir(exist_ok=True)  # of a build that was killed
        (folder / unused / name).write_text("must not be read")
    (folder / "model_index.json").write_text(json.dumps(INDEX))


def measure(folder: Path) -> None:
    """Load, edit one frame of 256x256 in 2 steps, and print seconds and the process's peak memory."""
    start = time.perf_counter()
    pipe = SpecialistPipeline.from_pretrained(folder)
    loaded = time.perf_counter()
    after_load = _peak()
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    schedule = pipe.schedule("euler_ancestral", 2)
    edit = pipe(image, image, "make it gold", generator=[torch.Generator().manual_seed(0)], schedule=schedule)
    assert edit.shape == image.shape
    assert edit.isfinite().all()
    parts = {
        name: sum(p.numel() for p in getattr(pipe, name).parameters())
        for name in ("unet", "vae", "text_encoder")
    }
    print(f"parameters: {', '.join(f'{k} {v / 1e6:.0f} M' for k, v in parts.items())}, float32")
    print(f"conv_in: {tuple(pipe.unet.conv_in.weight.shape)}")
    print(f"load: {loaded - start:.1f} s, peak memory {after_load:.2f} GB")
    print(f"edit of 256x256 in 2 steps: {time.perf_counter() - loaded:.1f} s, peak memory {_peak():.2f} GB")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    if len(sys.argv) == 2:
        measure(Path(sys.argv[1]))
    else:
        scratch = Path(tempfile.mkdtemp(prefix="simedit-full-size-"))
        try:
            build(scratch)
            # A process of its own, so that the peak is that of loading, not of making the weights.
            subprocess.run([sys.executable, __file__, str(scratch)], check=True)
        finally:
            shutil.rmtree(scratch)
