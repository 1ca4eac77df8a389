"""What a training depends on: fingerprints of its files, by which a change is noticed, and its machine."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import torch

from simedit.digests import digest
from simedit.files import images_in
from simedit.packaged import specialist_folder
from simedit.pipeline import base_folder
from simedit.recipe import looks_for_nouns, read_card
from simedit.specialist import CARD, WEIGHTS
from simedit.training.config import DepthConfig, DistilledConfig, ImagesConfig, RunConfig, TrainConfig

_PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler", "style_attention")
_OF_BASE = (".json", ".txt", ".safetensors")
_OF_MODELS = (*_OF_BASE, ".bin", ".ckpt", ".pt", ".pth")


def fingerprints(config: TrainConfig, assets: Iterable[Path] = ()) -> dict[str, str]:
    """What the result depends on beside the config and the style images, by name: simedit's version, and the
    number and digest of the files of the base, the teacher, the inputs, the masks and the models that lie in
    folders.

    Models by hub id are taken to stay what they are.

    Args:
        assets: files that inputs are rendered from.

    Raises:
        SimeditError: a folder is missing or cannot be read.
    """
    found = of_inputs(config, assets)
    regions, scores = config.regions, config.scores
    if isinstance(config.warm_start, DistilledConfig):
        teacher = Path(config.warm_start.teacher)
        found[f"the specialist {teacher}"] = _files(
            teacher, [teacher / CARD, teacher / WEIGHTS, *teacher.glob("style_*.png")]
        )
    if regions.style_masks is not None:
        found[f"the style masks in {regions.style_masks}"] = _images(regions.style_masks)
    models: list[str | None] = [scores.semantic.model]
    if isinstance(scores.structural, DepthConfig):
        models.append(scores.structural.model)
    if scores.caption is not None:
        models.append(scores.caption.model)
    if "grounded-sam2" in (regions.inputs, regions.styles):
        models += [regions.detector, regions.segmenter]
    return found | _models(models)


def of_inputs(config: TrainConfig, assets: Iterable[Path] = ()) -> dict[str, str]:
    """What of that the inputs depend on, as they are trained on: after the passes that come before.

    Args:
        assets: as `fingerprints`'.

    Raises:
        SimeditError: a folder is missing or cannot be read.
    """
    base = base_folder(config.base)
    found = {
        "simedit": version("simedit"),
        f"the base {config.base}": _files(
            base, [base / "model_index.json", *(f for part in _PARTS for f in _of(base / part, _OF_BASE))]
        ),
    }
    inputs = config.inputs
    if isinstance(inputs, ImagesConfig):
        found[f"the inputs in {inputs.path}"] = _images(inputs.path)
        for masks in inputs.mask_folders.values():
            found[f"the masks in {masks}"] = _images(masks)
    elif isinstance(inputs, RunConfig):
        folder = Path(inputs.path)
        found[f"the videos in {inputs.path}"] = _files(folder, _of(folder, (".mp4",)))
    if assets := list(assets):
        found["the simulator's assets"] = _files(Path(assets[0].anchor), assets)
    if config.after is not None:
        folder = specialist_folder(config.after.recipe)
        found[f"the passes before, {config.after.recipe}"] = _files(folder, [*folder.rglob("*")])
        if looks_for_nouns(folder):
            finders = read_card(folder).regions
            found |= _models([finders.detector, finders.segmenter])
    return found


def machine(device: torch.device) -> dict[str, str]:
    """What the last bits of a result depend on beside all that: processor, threads, libraries."""
    found = {"processor": _processor(), "kernels": torch.backends.cpu.get_cpu_capability()}
    found["threads"] = str(torch.get_num_threads())
    found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return found | {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")}


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """What differs, in words; empty if nothing does."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return "; ".join(f"{key} ({before.get(key, 'none')}, now {now.get(key, 'none')})" for key in keys)


def _models(names: Iterable[str | None]) -> dict[str, str]:
    """Of those that lie in folders."""
    folders = {name: Path(name) for name in names if name is not None and Path(name).is_dir()}
    return {f"the model {name}": _files(path, _of(path, _OF_MODELS)) for name, path in folders.items()}


def _files(folder: Path, files: list[Path]) -> str:
    files = [file for file in files if file.is_file()]
    return f"{len(files)} file{'s' * (len(files) != 1)} {digest(folder, files)}"


def _images(folder: str) -> str:
    return _files(Path(folder), [Path(folder) / name for name in images_in(Path(folder))])


def _of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of such names at any depth, but for hidden ones."""
    return [
        file
        for file in folder.rglob("*")
        if file.suffix in suffixes
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
