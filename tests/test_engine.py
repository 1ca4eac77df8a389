from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from simedit import engine
from simedit.engine import Engine, run_on_engine
from simedit.errors import SimeditError

ROOT = Path(__file__).resolve().parents[1]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 2, 1)).eval()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the first inputs of all conversions from now on."""
    converted, convert = [], engine._convert
    monkeypatch.setattr(
        engine, "_convert", lambda n, xs: converted.append(tuple(xs[0].shape)) or convert(n, xs)
    )
    return converted


def test_it_computes_what_the_network_does_and_converts_once_for_each_shape(
    monkeypatch: pytest.MonkeyPatch,
):
    plain, converted = network(), counted(monkeypatch)
    fast = Engine(plain)
    with torch.no_grad():
        for shape in ((1, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8)):
            x = torch.randn(shape)
            torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)
    assert len(converted) == 2


def test_only_the_last_shapes_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(engine, "SHAPES", 2)
    converted = counted(monkeypatch)
    fast = Engine(network())
    for side in (4, 5, 4, 6, 4, 5):  # 6 takes the place of 5, which was used less lately than 4
        fast(torch.zeros(1, 3, side, side))
    assert [shape[-1] for shape in converted] == [4, 5, 6, 5]
    assert len(fast._requests) == 2


_ANOTHER = """
import sys, numpy as np, torch
from pathlib import Path
from simedit import engine
from tests.test_engine import network
torch.set_num_threads(1)
engine._convert = None  # nothing is converted here
engine.share_networks(Path(sys.argv[1]))
plain = network()
plain[0].weight.data.mul_(3)  # the one that changes
fast = engine.Engine(plain, ["0.weight"])
np.save(sys.argv[2], fast(torch.ones(1, 3, 8, 8)).numpy())
"""


def test_processes_that_share_a_folder_convert_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shared, answer = tmp_path / "shared", tmp_path / "answer.npy"
    shared.mkdir()
    monkeypatch.setattr(engine, "_shared", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        engine.share_networks(shared)
        plain, converted = network(), counted(monkeypatch)
        fast, x = Engine(plain, ["0.weight"]), torch.ones(1, 3, 8, 8)
        fast(x)
        subprocess.run([sys.executable, "-c", _ANOTHER, shared, answer], check=True, cwd=ROOT)
        with torch.no_grad():
            plain[0].weight.mul_(3)
            assert np.array_equal(np.load(answer), fast(x))
            assert len(converted) == 1
            Engine(plain, ["0.weight"])(x)  # another engine of the same network
            assert len(converted) == 1
            plain[2].weight.mul_(2)  # one that it keeps: another network
            torch.testing.assert_close(Engine(plain, ["0.weight"])(x), plain(x), atol=1e-5, rtol=1e-5)
            assert len(converted) == 2
    finally:
        torch.set_num_threads(threads)


def test_weights_that_change_are_taken_as_they_are_and_converted_once(monkeypatch: pytest.MonkeyPatch):
    plain, converted = network(), counted(monkeypatch)
    fast, x = Engine(plain, ["0.weight", "2.bias"]), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        for factor in (1, -2, 0.5):
            plain.get_parameter("0.weight").mul_(factor)
            plain.get_parameter("2.bias").add_(factor)
            torch.testing.assert_close(fast(x), plain(x), atol=1e-5, rtol=1e-5)
    assert len(converted) == 1
    assert [*dict(plain.named_parameters())] == ["0.weight", "0.bias", "2.weight", "2.bias"]


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
engine = Engine(nn.Conv2d(3, 2, 3).eval())
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
        Engine(network())
