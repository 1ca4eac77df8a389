"""Networks whose weights and shapes stay as they are, on OpenVINO's runtime: the CPU's fast path."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import io
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from simedit.drafts import whole
from simedit.errors import SimeditError
from simedit.extras import has


def has_openvino() -> bool:
    """Whether OpenVINO is installed (simedit's extra `cpu`)."""
    return has("openvino")


SHAPES = 16
"""Of so many shapes of inputs an engine keeps what it has converted: of Stable Diffusion's U-Net each takes
gigabytes, of the lab's about 100 MB."""


_shared: Path | None = None


def share_networks(folder: Path) -> None:
    """Let all processes that name one folder convert each network once: the first that meets a network leaves
    it there, compiled, and the others wait for it.

    Args:
        folder: is there, and empty at first: it is for processes of the same packages alone.
    """
    global _shared
    _shared = folder


class Engine:
    """A network's forward pass, converted when inputs of new shapes are first met (seconds). Only what was
    converted for the last `SHAPES` shapes is kept.

    It runs on as many threads as torch does. What it computes differs from torch's in the last bits.

    Args:
        network: its weights are copied as they are when inputs of new shapes come.
        changing: the names of weights that are not copied, but taken as they are at each call: one conversion
            serves all of their values.

    Raises:
        SimeditError: OpenVINO is not installed.
    """

    def __init__(self, network: nn.Module, changing: Sequence[str] = ()) -> None:
        if not has_openvino():
            raise SimeditError('compiling for the CPU needs OpenVINO: pip install "simedit[cpu]"')
        self._network = _Open(network, changing) if changing else network
        self._names = frozenset(f"_inner.{name}" for name in changing)
        self._changing = [network.get_parameter(name) for name in changing]
        self._requests: OrderedDict[tuple[torch.Size, ...], Any] = OrderedDict()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's first output for float32 inputs on the CPU, without gradients."""
        shapes, given = tuple(x.shape for x in inputs), (*inputs, *self._changing)
        if shapes not in self._requests:
            if len(self._requests) == SHAPES:
                self._requests.popitem(last=False)
            self._requests[shapes] = _compiled(self._network, given, self._names).create_infer_request()
        self._requests.move_to_end(shapes)
        arrays = [x.detach().contiguous().numpy() for x in given]
        return torch.from_numpy(self._requests[shapes].infer(arrays, share_inputs=True)[0])


def run_on_engine(network: nn.Module) -> None:
    """Let a network, in place, take the weights that it has now to an `Engine`."""
    network.forward = Engine(copy.copy(network))  # which shares all but the new attribute


class _Open(nn.Module):
    """A network some of whose weights are inputs, after its own. (torch.func's functional_call would do the
    same, but cannot be traced.)"""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self._inner = copy.deepcopy(network, {id(p): p for p in network.parameters()})
        self._places = [(self._inner.get_submodule(name.rpartition(".")[0]), name) for name in names]

    def forward(self, *inputs: Tensor) -> Any:
        own = len(inputs) - len(self._places)
        for (layer, name), value in zip(self._places, inputs[own:], strict=True):
            attribute = name.rpartition(".")[2]
            layer._parameters.pop(attribute, None)
            vars(layer)[attribute] = value
        return self._inner(*inputs[:own])


def _compiled(network: nn.Module, inputs: tuple[Tensor, ...], changing: frozenset[str]) -> Any:
    """The network for inputs of these shapes, from the shared folder where there is one."""
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # two processes of one thread each would sit on one core
    }
    if _shared is None:
        return _core().compile_model(_convert(network, inputs), "CPU", settings)
    path = _shared / _key(network, inputs, changing, settings)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system lets go of it however this process ends
        if path.exists():
            return _core().import_model(io.BytesIO(path.read_bytes()), "CPU", settings)
        made = _core().compile_model(_convert(network, inputs), "CPU", settings)
        with suppress(SimeditError), whole(path) as draft:  # a full disk costs the others time alone
            draft.write_bytes(made.export_model().getvalue())
        return made


def _key(
    network: nn.Module, inputs: tuple[Tensor, ...], changing: frozenset[str], settings: dict[str, Any]
) -> str:
    """Hexadecimal digits that tell networks apart: by layers, weights that stay, and inputs."""
    found = hashlib.sha256(repr((network, [x.shape for x in inputs], settings)).encode())
    for name, weight in (*network.named_parameters(), *network.named_buffers()):
        if name not in changing:
            found.update(name.encode() + weight.detach().contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


def _convert(network: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    from openvino.frontend import FrontEndManager

    # openvino.convert_model would do the same, and report its use over the network.
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # shapes may be constants: they are
        warnings.simplefilter("ignore", DeprecationWarning)
        decoder = TorchScriptPythonDecoder(
            network,
            example_input=inputs,
            shared_memory=False,
            trace_kwargs={"check_trace": False},  # to check is to trace and run it once more
        )
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape({i: list(x.shape) for i, x in enumerate(inputs)})
    return model


@cache
def _core() -> Any:
    # Each one gives its thread another stack for signal handlers, and takes it away as it goes: with one
    # for each network, Ctrl-C was a segmentation fault after the first had gone.
    import openvino

    return openvino.Core()
