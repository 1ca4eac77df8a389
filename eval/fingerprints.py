"""Fingerprints of all that a study's results depend on: its files, and what plays its trials."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import simedit
from simedit.digests import digest
from simedit.envs import suite
from simedit.eval import rollout
from simedit.eval.config import StudyConfig, meaning
from simedit.policies import kinds

_BASE_PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler", "style_attention")
_PACKAGES = (
    *("torch", "diffusers", "transformers", "peft", "openvino", "numpy", "opencv-python"),
    "gymnasium",
    *("mani_skill", "sapien", "mani_skill2_real2sim", "tensorflow", "tensorflow-cpu", "gym-pusht", "pymunk"),
)


def current_meaning(study: StudyConfig, specialists: Mapping[str, Path]) -> dict[str, Any]:
    """`simedit.eval.config.meaning`, with the fingerprints of all files as they are now.

    Args:
        specialists: the folder of each style's specialist; {} without the domain "edited".

    Raises:
        SimeditError: a file is missing or cannot be read.
    """
    return meaning(study, study.editor.fingerprints(specialists) if specialists else {})


def base_files(folder: Path) -> list[Path]:
    """The files of a base; not what others may add to the same folder, which may be the hub's."""
    files = [path for part in _BASE_PARTS for path in (folder / part).rglob("*")]
    return [folder / "model_index.json", *(path for path in files if path.is_file())]


def played_with() -> dict[str, str]:
    """What plays trials here, by name: simedit's version and sources, other packages' versions, processors.

    With another of these a trial may end otherwise, but it is the same trial: results may share a folder.
    """
    import torch

    ours = Path(str(simedit.__file__)).parent
    sources = [digest(ours, ours.glob("*.py"))]
    sources += [
        digest(one, one.rglob("*.py"))
        for one in (Path(suite.__file__).parent, Path(kinds.__file__).parents[1])
    ]
    sources.append(digest(Path(rollout.__file__)))
    short = sha256("".join(sources).encode()).hexdigest()[:8]
    found = {"simedit": f"{_version('simedit')} (sources {short})"}
    found |= {name: number for name in _PACKAGES if (number := _version(name))}
    found["processor"] = _processor()
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.get_device_name()
    return found


def differences(players: list[dict[str, str]]) -> str:
    """In which names several of `played_with` differ, and their values; "" if in none."""
    names = dict.fromkeys(name for player in players for name in player)
    values = {name: list(dict.fromkeys(player.get(name, "none") for player in players)) for name in names}
    return "; ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor()
    )
