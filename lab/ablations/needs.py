"""Which variants cannot be had on this machine, and why: nothing is fetched on the quiet."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from simedit.metrics.patches import PATCHES
from simedit.scores.encoders import CLIP, DINOV2
from simedit.training.config import DepthConfig, TrainConfig
from simedit.training.imports import missing_imports

_HUB = {"dinov2": DINOV2, "clip": CLIP}


def lacking(config: TrainConfig) -> str:
    """Why a training cannot be done here; empty if it can."""
    if missing := missing_imports(config):
        return missing[0]
    structural, semantic = config.scores.structural, config.scores.semantic
    if isinstance(structural, DepthConfig) and (reason := _absent(structural.model, "structural.model")):
        return reason
    if semantic.encoder in _HUB:
        return _absent(semantic.model or _HUB[semantic.encoder], "semantic.model")
    if semantic.encoder == "dreamsim" and semantic.model is None:
        (file,) = (kind.file for kind in PATCHES if kind.model == "dreamsim")
        path = Path(torch.hub.get_dir()) / "checkpoints" / file
        return "" if path.is_file() else f"{path.resolve()} is not on this machine: {_how('semantic.model')}"
    return ""


def _absent(model: str, setting: str) -> str:
    if os.path.isdir(model):
        return ""
    with suppress(HFValidationError):  # the path of a folder that is not there
        if isinstance(try_to_load_from_cache(model, "config.json"), str):
            return ""
    return f"{model} is not on this machine: hf download {model}, or {_how(setting)}"


def _how(setting: str) -> str:
    return f"give its folder as scores.{setting} in a config of your own"
