"""Networks whose weights and shapes stay as they are, on OpenVINO's runtime: the CPU's fast path."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from simedit.errors import SimeditError


def has_openvino() -> bool:
    """Whether OpenVINO is installed (simedit's extra `cpu`)."""
    return find_spec("openvino") is not None


class Engine:
    """A network's forward pass, converted when inputs of new shapes are first met (seconds).

    It runs on as many threads as torch does. What it computes differs from torch's in the last bits.

    Args:
        source: gives the network, whose weights are then copied: asked once for all inputs of one shape.

    Raises:
        SimeditError: OpenVINO is not installed.
    """

    def __init__(self, source: Callable[[], nn.Module]) -> None:
        if not has_openvino():
            raise SimeditError('compiling for the CPU needs OpenVINO: pip install "simedit[cpu]"')
        self._source = source
        self._requests: dict[tuple[torch.Size, ...], Any] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The network's first output for float32 inputs on the CPU, without gradients."""
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._requests:
            self._requests[shapes] = _convert(self._source(), inputs)
        arrays = [x.detach().contiguous().numpy() for x in inputs]
        return torch.from_numpy(self._requests[shapes].infer(arrays, share_inputs=True)[0])


def run_on_engine(network: nn.Module) -> None:
    """Let a network, in place, take the weights that it has now to an `Engine`."""
    plain = copy.copy(network)  # shares all but the new attribute
    network.forward = Engine(lambda: plain)


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
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # two processes of one thread each would sit on one core
    }
    return _core().compile_model(model, "CPU", settings).create_infer_request()


@cache
def _core() -> Any:
    # Each one gives its thread another stack for signal handlers, and takes it away as it goes: with one
    # for each network, Ctrl-C was a segmentation fault after the first had gone.
    import openvino

    return openvino.Core()
