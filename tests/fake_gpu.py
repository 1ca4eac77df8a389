"""A GPU that is not there: fake tensors of device "cuda", which raise where devices mix and hold no values.

A build of torch without CUDA indexes, copies and orders no such tensors, for it looks for the device first:
here that becomes the operations that it stands for. What the host asks of a tensor is made up, and noted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simedit.library import SpecialistLibrary


@contextmanager
def fake_gpu(numbers: Sequence[int] = ()) -> Iterator[list[str]]:
    """Gives what comes to the host, in order: "bool", "number" and, by the operations that do it, tensors.

    Args:
        numbers: what tensors that are asked for a number say, one after the other.
    """
    seen: list[str] = []
    with FakeTensorMode(allow_non_fake_inputs=True), _Copies(seen), _Asked(seen, list(numbers)):
        yield seen


def on_gpu(library: SpecialistLibrary) -> SpecialistLibrary:
    """The library, all of whose tensors are now on the GPU."""
    for module in (library.pipeline.vae, library.pipeline.unet, library._unet, library._single):
        _to_gpu(module)
    library._empty_text = _like(library._empty_text)
    for style, one in library._loaded.items():
        _to_gpu(one.style_attention)
        library._loaded[style] = dataclasses.replace(
            one, text=_like(one.text), style_image=_like(one.style_image), style_latents={}
        )
    return library


def _to_gpu(module: nn.Module) -> None:
    for part in module.modules():
        for there in (part._parameters, part._buffers):
            for name, value in there.items():
                if isinstance(value, nn.Parameter):
                    there[name] = nn.Parameter(_like(value), False)
                elif value is not None:
                    there[name] = _like(value)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")


class _Copies(TorchDispatchMode):
    """Notes each operation that has a tensor of the GPU and gives one of the host."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given, found = (
            {leaf.device.type for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}
            for tree in ((args, kwargs), result)
        )
        if "cuda" in given and "cpu" in found:
            self._seen.append(str(func))
        return result


# Methods that look for the device first, and what does the same without.
_GUARDED = {Tensor.copy_: torch.ops.aten.copy_.default, Tensor.contiguous: torch.ops.aten.contiguous.default}


class _Asked(TorchFunctionMode):
    def __init__(self, seen: list[str], numbers: list[int]) -> None:
        super().__init__()
        self._seen, self._numbers = seen, numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        made = func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == "cpu"
        if made or (tensors and not any(isinstance(tensor, FakeTensor) for tensor in tensors)):
            with unset_fake_temporarily():  # what the host knows by itself
                return func(*args, **kwargs)
        if func is Tensor.__getitem__:
            return _part(*args)
        if func is Tensor.__setitem__:
            tensor, key, value = args
            if isinstance(key, list):
                tensor.index_copy_(0, torch.tensor(key, device=tensor.device), value)
            else:
                torch.ops.aten.copy_.default(_part(tensor, key), value)
            return None
        if func in _GUARDED:
            return _GUARDED[func](*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__bool__" and args[0].device.type == "cuda":
            self._seen.append("bool")
            return True
        if name == "item" and args[0].device.type == "cuda":
            self._seen.append("number")
            return self._numbers.pop(0)
        if name == "numpy" and args[0].device.type == "cuda":
            self._seen.append("numpy")
        return func(*args, **kwargs)


def _part(tensor: Tensor, key: Any) -> Tensor:
    keys = key if isinstance(key, tuple) else (key,)
    at = next((i for i, each in enumerate(keys) if each is Ellipsis), None)
    if at is not None:
        taken = sum(each is not None for each in keys) - 1
        keys = (*keys[:at], *[slice(None)] * (tensor.ndim - taken), *keys[at + 1 :])
    axis = 0
    for each in keys:
        if each is None:
            tensor = tensor.unsqueeze(axis)
        elif isinstance(each, int):
            tensor = tensor.select(axis, each)
            axis -= 1
        elif isinstance(each, slice):
            start, stop, step = each.indices(tensor.shape[axis])
            tensor = torch.ops.aten.slice(tensor, axis, start, stop, step)
        else:
            index = each if isinstance(each, Tensor) else torch.tensor(each, dtype=torch.long)
            tensor = tensor.index_select(axis, index.to(tensor.device))
        axis += 1
    return tensor
