from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from simedit import engine
from simedit.engine import Engine, run_on_engine
from simedit.errors import SimeditError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 2, 1)).eval()


def test_it_computes_what_the_network_does_and_converts_once_for_each_shape():
    plain, asked = network(), []
    fast = Engine(lambda: asked.append(1) or plain)
    with torch.no_grad():
        for shape in ((1, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)):
            x = torch.randn(shape)
            torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)
    assert len(asked) == 2


def test_weights_are_those_at_conversion_and_results_are_not_written_over():
    module = network()
    x, other = torch.randn(2, 1, 3, 8, 8)
    with torch.no_grad():
        before = module(x)
        run_on_engine(module)
        first = module(x)
        module.get_parameter("0.weight").zero_()
        assert not torch.allclose(module(other), first)
        torch.testing.assert_close(module(x), before, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(first, before, atol=1e-5, rtol=1e-5)


def test_ctrl_c_is_what_it_was_after_engines_have_gone():
    code = """
import signal
from torch import nn, rand
from simedit.engine import Engine
signal.signal(signal.SIGINT, signal.default_int_handler)
engine = Engine(lambda: nn.Conv2d(3, 2, 3).eval())
engine(rand(1, 3, 8, 8)), engine(rand(2, 3, 8, 8))
del engine
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done


def test_without_openvino_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "has_openvino", lambda: False)
    with pytest.raises(SimeditError, match="simedit\\[cpu\\]"):
        Engine(network)
