"""A GPU that is not there: tensors that say they are on device "cuda", and are the host's.

All that is asked of torch goes through `_Mode`. Operations on tensors of both devices raise as they do on a
GPU, and what comes to the host is noted. The numbers are real, so that edits and trainings can be compared
with the CPU's. Not looked into: what a backward pass does, and functions that torch itself writes in Python,
but for what they are given. Kernels, streams, memory and CUDA's own autocast are not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import ANY, patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")


class OnGpu(Tensor):
    """A tensor of the GPU to Python, of the host to torch's own code."""


@dataclass
class Gpu:
    """A GPU in a test, made up or real."""

    real: bool
    _seen: list[str] = field(default_factory=list)

    def came(self) -> Any:
        """What came to the host since this was asked last, as `fake_gpu` gives it; of a real GPU whatever it
        is compared with."""
        seen = [*self._seen]
        self._seen.clear()
        return ANY if self.real else seen


@contextmanager
def fake_gpu() -> Iterator[Gpu]:
    """Inside, there is a device "cuda".

    What comes to the host is a "copy", a "list", a "number", a "truth", or "indices": how many elements a
    mask picks must be known there.
    """
    gpu, autocast = Gpu(real=False), torch.autocast

    def on_host(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
        return autocast("cpu", *args, **kwargs)  # CUDA's is off in a build without it

    with patch.object(torch, "autocast", on_host), _Mode(gpu._seen):
        yield gpu


# Properties, as a mode sees them.
_DEVICE, _IS_CUDA, _IS_CPU, _SET_DATA = (
    Tensor.device.__get__,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__,  # type: ignore[attr-defined]
    Tensor.data.__set__,  # type: ignore[attr-defined]
)
_MOVE = (Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type_as, torch.as_tensor)
_MIX = (*_MOVE, Tensor.copy_, _SET_DATA, torch._has_compatible_shallow_copy_type)
_INDEX = (Tensor.__getitem__, Tensor.__setitem__)
_TOLD = {
    Tensor.__bool__: "truth",
    Tensor.__float__: "number",
    Tensor.__int__: "number",
    Tensor.__index__: "number",
    Tensor.item: "number",
    Tensor.tolist: "list",
    Tensor.nonzero: "indices",
    torch.nonzero: "indices",
}


class _Mode(TorchFunctionMode):
    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(isinstance(tensor, OnGpu) for tensor in tensors)
        if there and func in (_DEVICE, _IS_CUDA, _IS_CPU):
            return {_DEVICE: CUDA, _IS_CUDA: True, _IS_CPU: False}[func]
        if there and func in (Tensor.numpy, Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if there and func is Tensor.__deepcopy__:
            return _deep(*args)
        if there:
            self._check(func, args, tensors)
        if func in (torch.device, torch._C._nn._parse_to):  # the latter reads what `Module.to` was given
            return func(*args, **kwargs)
        wanted = _device(func, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*map(_on_host, args), **{k: _on_host(v) for k, v in kwargs.items()})
        if func == _SET_DATA:
            return _become(args[0], isinstance(args[1], OnGpu))
        if func is Tensor.copy_:
            wanted = isinstance(args[0], OnGpu)
        if there and (wanted is False or (func is Tensor.copy_ and not wanted)):
            self._seen.append("copy")
        wanted = there if wanted is None else wanted
        return tree_map(lambda leaf: _tagged(leaf, wanted, copied=func in _MOVE), found)

    def _check(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        if func in _TOLD:
            self._seen.append(_TOLD[func])
        elif func in _INDEX:
            keys = [leaf for leaf in tree_leaves(args[1]) if isinstance(leaf, Tensor)]
            if any(isinstance(key, OnGpu) for key in keys) and not isinstance(args[0], OnGpu):
                raise RuntimeError("indices should be either on cpu or on the indexed tensor's device (cpu)")
            if any(isinstance(key, OnGpu) and key.dtype == torch.bool for key in keys):
                self._seen.append("indices")
            if keys:  # without, it is a copy, which takes what is on any device
                _check_alike(func, [args[0], *(value for value in args[2:] if isinstance(value, Tensor))])
        elif func not in _MIX:
            _check_alike(func, tensors)


def _check_alike(func: Any, tensors: list[Tensor]) -> None:
    """Among a GPU's tensors the host's may stand where they are one number without dimensions."""
    if len({isinstance(tensor, OnGpu) for tensor in tensors if isinstance(tensor, OnGpu) or tensor.ndim}) > 1:
        name = getattr(func, "__name__", func)
        raise RuntimeError(f"{name}: expected all tensors on one device, found at least two devices")


def _device(func: Any, args: Any, kwargs: Any) -> bool | None:
    """Whether the result is asked for on the GPU, or on the host; None where no device is named."""
    if func in (Tensor.cpu, Tensor.cuda):
        return func is Tensor.cuda
    named = [kwargs["device"]] if kwargs.get("device") is not None else []
    if func in (Tensor.to, Tensor.type_as):
        given = [*args[1:], *kwargs.values()]
        named = [each for each in given if isinstance(each, str | torch.device | Tensor)]
    for each in named:
        return isinstance(each, OnGpu) if isinstance(each, Tensor) else torch.device(each).type == "cuda"
    return None


def _on_host(given: Any) -> Any:
    """An argument with the host in place of the GPU."""
    if isinstance(given, str):
        return "cpu" if given.split(":")[0] == "cuda" else given
    return CPU if isinstance(given, torch.device) and given.type == "cuda" else given


def _tagged(leaf: Any, there: bool, copied: bool) -> Any:
    if not isinstance(leaf, Tensor) or isinstance(leaf, OnGpu) == there:
        return leaf
    with torch._C.DisableTorchFunctionSubclass():
        leaf = leaf.clone() if copied else leaf
        return leaf.as_subclass(OnGpu if there else Tensor)


def _become(tensor: Tensor, there: bool) -> None:
    """A module's parameter stays the same object when it is moved."""
    parameter = isinstance(tensor, nn.Parameter)
    tensor.__class__ = OnGpu if there else nn.Parameter if parameter else Tensor
    if there and parameter:
        tensor._is_param = True  # type: ignore[attr-defined]


def _deep(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if id(tensor) not in memo:
        with torch._C.DisableTorchFunctionSubclass():
            found = tensor.detach().clone().as_subclass(OnGpu).requires_grad_(tensor.requires_grad)
        if isinstance(tensor, nn.Parameter):
            found._is_param = True  # type: ignore[attr-defined]
        memo[id(tensor)] = found
    return memo[id(tensor)]
