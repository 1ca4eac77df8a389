"""The files of a small learned policy: its config and its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from simedit.config import Config, load_json, parse_config
from simedit.errors import SimeditError, shortened
from simedit.files import whole

_Config = TypeVar("_Config", bound=Config)
_Network = TypeVar("_Network", bound=nn.Module)


def save(network: nn.Module, config: Config, folder: Path) -> None:
    """Write config.json and, last, model.safetensors (float16): where that lies, all is there.

    Raises:
        SimeditError: the folder cannot be written.
    """
    halves = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    with whole(folder / "config.json") as partial:
        partial.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    with whole(folder / "model.safetensors") as partial:
        # save_file keeps others from reading the file, and has an error of its own for a full disk.
        partial.write_bytes(to_bytes(halves))


def load(
    folder: Path, config_type: type[_Config], network_type: Callable[[_Config], _Network], what: str
) -> tuple[_Config, _Network]:
    """Read what `save` wrote, in float32, ready to act.

    Args:
        what: how a message calls such a policy.

    Raises:
        SimeditError: a file is missing, broken, or does not fit the other; a weight is not finite.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise SimeditError(f"{folder} is no {what}: it holds no {name}")
    path = folder / "model.safetensors"
    config = parse_config(config_type, load_json(folder / "config.json"), where=str(folder / "config.json"))
    with torch.device("meta"):  # a config may ask for more memory than there is
        wanted = network_type(config).state_dict()
    try:
        state = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise SimeditError(f"{path} is broken, copy or train it again: {shortened(error)}") from error
    for name in sorted(wanted.keys() | state.keys()):
        found, due = ([*of[name].shape] if name in of else "absent" for of in (state, wanted))
        if found != due:
            problem = f"{shortened(name)} is {found} and should be {due}"
            raise SimeditError(f"{path} does not fit config.json: {problem}")
        if state[name].is_complex() or not state[name].float().isfinite().all():
            raise SimeditError(f"{path}: the weight {name} is not finite: copy or train it again")
    network = network_type(config)
    network.load_state_dict(state)
    return config, network.eval()
