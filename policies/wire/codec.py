"""NumPy arrays in msgpack, byte for byte as openpi-client and vla-eval write them. Never pickle."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgpack
import numpy as np

from simedit.errors import SimeditError, shortened

Flavour = Literal["openpi", "vla_eval"]
"""Whose keys an array travels under."""

_KINDS = "biufSU"
"""Of the dtypes that travel: neither objects nor structures, which need pickle."""


def pack(value: Any, flavour: Flavour = "openpi") -> bytes:
    """The msgpack of plain values, arrays and NumPy scalars.

    Raises:
        SimeditError: a value or dtype that cannot travel.
    """
    write = _openpi if flavour == "openpi" else _vla_eval
    try:
        return bytes(msgpack.packb(value, default=write))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError) as error:
        raise SimeditError(f"cannot be sent: {shortened(error, 200)}") from error


def unpack(data: bytes) -> Any:
    """What a message of either flavour holds; arrays are writable copies.

    Only as much memory is taken as the message itself has bytes: an array's shape must fit its data.

    Raises:
        SimeditError: no msgpack, or an array that is none.
    """
    try:
        return msgpack.unpackb(data, object_hook=_read)
    # Of bytes that others wrote: msgpack and NumPy each fail in their own ways.
    except Exception as error:
        raise SimeditError(
            f"no msgpack with arrays: {shortened(error, 200) or type(error).__name__}"
        ) from error


def _openpi(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        _check(value.dtype)
        return {
            b"__ndarray__": True,
            b"data": value.tobytes(),
            b"dtype": value.dtype.str,
            b"shape": value.shape,
        }
    if isinstance(value, np.generic):
        _check(value.dtype)
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a {type(value).__name__}")


def _vla_eval(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        _check(value.dtype)
        return {
            "__ndarray__": True,
            "data": value.tobytes(),
            "dtype": value.dtype.str,
            "shape": list(value.shape),
        }
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    raise TypeError(f"a {type(value).__name__}")


def _check(dtype: np.dtype) -> None:
    if dtype.kind not in _KINDS:
        raise TypeError(f"an array of dtype {dtype}")


def _read(found: dict[Any, Any]) -> Any:
    for key in (b"__ndarray__", "__ndarray__"):
        if key in found:
            data, dtype, shape = (
                found[name if isinstance(key, str) else name.encode()] for name in ("data", "dtype", "shape")
            )
            kind = _dtype(dtype)
            if not all(type(side) is int and side >= 0 for side in shape):
                raise ValueError("an array of no shape")
            if math.prod(shape) * kind.itemsize != len(data):
                raise ValueError(f"an array {shape} of {dtype} in {len(data)} bytes")
            return np.frombuffer(data, kind).reshape(shape).copy()
    if b"__npgeneric__" in found:
        return _dtype(found[b"dtype"]).type(found[b"data"])
    return found


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or len(name) > 16:
        raise ValueError("an array of no dtype")
    dtype = np.dtype(name)
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"an array of dtype {dtype}")
    return dtype
