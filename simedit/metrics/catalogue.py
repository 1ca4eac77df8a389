"""All metrics by name, and which of them can be had here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from simedit.errors import SimeditError, unknown
from simedit.extras import has, install
from simedit.metrics import Kind, Metric, Scene
from simedit.metrics.clip import CLIP_DIRECTION, CLIP_TEXT
from simedit.metrics.colour import COLOUR
from simedit.metrics.depth import DEPTH
from simedit.metrics.edges import CANNY, EDGE_F1
from simedit.metrics.patches import PATCHES
from simedit.metrics.perceptual import DISTS, LPIPS
from simedit.metrics.pixels import MSE_OUTSIDE, SSIM
from simedit.metrics.preference import HPSV2, PICK

KINDS = {
    kind.name: kind
    for kind in (
        *(EDGE_F1, CANNY, DEPTH, MSE_OUTSIDE, SSIM, LPIPS, DISTS),  # what is kept of the input
        *(COLOUR, *PATCHES),  # what is met of the style images
        *(CLIP_TEXT, CLIP_DIRECTION, PICK, HPSV2),  # what is met of the caption
    )
}
MODELS = sorted({kind.model for kind in KINDS.values() if kind.model})
"""What weights can be given for."""


def chosen(
    names: Sequence[str], scene: Scene, weights: Mapping[str, str]
) -> tuple[list[Kind], dict[str, str]]:
    """The metrics to compute, and why each of the others is left out.

    Args:
        names: those asked for; "all" is every one that the scene has the needed for. None: those that need
            no download.
        scene: one of the scenes, for what it holds.
        weights: from a model's name to the hub id or directory of its weights.

    Raises:
        SimeditError: an unknown name; or, of one asked for by its name, something that it needs is missing.
    """
    for model in weights:
        if model not in MODELS:
            raise unknown("model", model, MODELS)
    for name in names:
        if name not in KINDS and name != "all":
            raise unknown("metric", name, [*KINDS, "all"])
    found, left_out = [], {}
    for name, kind in KINDS.items():
        if names and not {name, "all"} & set(names):
            continue
        reason = _lacks(kind, scene) or _uninstalled(kind)
        if not reason and not names and kind.model not in weights:
            reason = _not_here(kind)
        if not reason:
            found.append(kind)
        elif name in names:
            raise SimeditError(f"{name} was asked for, but {reason}")
        else:
            left_out[name] = reason
    return found, left_out


def load(
    kinds: Sequence[Kind], names: Sequence[str], weights: Mapping[str, str], device: torch.device | str
) -> tuple[dict[str, Metric], dict[str, str]]:
    """The metrics by name, on the device, and why others could not be loaded.

    Args:
        kinds: from `chosen`.
        names, weights: as given to it.

    Raises:
        SimeditError: one that was asked for by its name, or whose weights were given, cannot be loaded.
    """
    found, left_out = {}, {}
    for kind in kinds:
        try:
            found[kind.name] = kind.load(weights.get(kind.model), device)
        except SimeditError as error:
            if kind.name in names or kind.model in weights:
                raise SimeditError(f"{kind.name}: {error}") from error
            left_out[kind.name] = str(error)
    return found, left_out


_OPTIONS = {
    "mask": "masks (--masks)",
    "style_images": "style images (--style-images)",
    "prompt": "a caption of the edit (--prompt)",
    "source_prompt": "a caption of the input (--source-prompt)",
}


def _lacks(kind: Kind, scene: Scene) -> str:
    lacking = [_OPTIONS[need] for need in kind.needs if not scene.has(need)]
    return f"it needs {' and '.join(lacking)}" if lacking else ""


def _uninstalled(kind: Kind) -> str:
    absent = [package for package in kind.packages if not has(package)]
    return f"{absent[0]} is not installed: {install(absent[0])}" if absent else ""


def _not_here(kind: Kind) -> str:
    """Why a metric would have to download something; "" where it would not."""
    ask = f"fetch it with --metrics {kind.name}"
    if kind.hub and not isinstance(try_to_load_from_cache(kind.hub, "config.json"), str):
        return f"{kind.hub} is not on this machine: {ask}, or give it: --weights {kind.model}=FOLDER"
    if kind.file and not (file := Path(torch.hub.get_dir()) / "checkpoints" / kind.file).is_file():
        return f"{file.resolve()} is not on this machine: {ask}, or put it there"
    return ""
