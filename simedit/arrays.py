"""Arrays, tensors and numbers as others give them; torch is not imported for it."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from simedit.errors import SimeditError


def whole_number(name: str, value: Any) -> int:
    """A seed or an id as an int.

    Raises:
        SimeditError: it is no whole number, or below 0.
    """
    try:
        number = -1 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        number = -1
    if number < 0:
        raise SimeditError(f"{name} must be 0 or more and a whole number, got {value!r}")
    return number


def as_numpy(array: Any) -> np.ndarray:
    """An array or a tensor of any device as a NumPy array, its memory shared where it can be."""
    return array.cpu().numpy() if hasattr(array, "cpu") else np.asarray(array)


def as_tensor(array: Any, device: Any) -> Any:
    """An array or a tensor as a tensor of that device, its memory shared where it can be."""
    import torch  # whoever asks for one has imported it

    if isinstance(array, np.ndarray):  # torch wants rows in their order, and to be able to write
        array = np.require(array, requirements=["C", "W"])
    return torch.as_tensor(array, device=device)


def off_host(array: Any) -> bool:
    """Whether it is a tensor that lies on a GPU."""
    return hasattr(array, "new_tensor") and array.device.type != "cpu"


def joined(parts: list[Any]) -> Any:
    """Arrays, or tensors of one device, one after the other along their first axis."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch  # their maker has imported it

    return torch.cat(parts)


def copied(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else array.clone()
