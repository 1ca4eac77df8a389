from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from simedit.errors import SimeditError
from simedit.training.config import TrainConfig
from simedit.training.guards import enough_memory, stopping


def test_out_of_memory_names_the_knobs() -> None:
    knobs = (
        r"sampling\.batch_size \(now 16\).*update\.batch_size \(now 4\).*gradient_checkpointing.*precision"
    )
    with pytest.raises(SimeditError, match=knobs), enough_memory(TrainConfig()):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_the_machines_memory_counts_too(error: Exception) -> None:
    with (
        pytest.raises(SimeditError, match=r"out of memory \(.*sampling\.batch_size"),
        enough_memory(TrainConfig()),
    ):
        raise error


def test_other_errors_are_not_explained_away() -> None:
    with pytest.raises(RuntimeError, match="shapes"), enough_memory(TrainConfig()):
        raise RuntimeError("shapes do not match")


def test_a_thread_hears_no_signals_and_needs_none() -> None:
    def work() -> None:
        with stopping(lambda: None):
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_does_what_it_always_did(number: signal.Signals) -> None:
    def always(_number: int, _frame: object) -> None:
        heard.append("always")

    heard: list[str] = []
    before = signal.signal(number, always)
    try:
        with stopping(lambda: heard.append("asked")):
            os.kill(os.getpid(), number)
            assert heard == ["asked"]
            os.kill(os.getpid(), number)
            assert heard == ["asked", "always"]
        assert signal.getsignal(number) is always
    finally:
        signal.signal(number, before)


def test_without_a_signal_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stopping(lambda: None):
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
