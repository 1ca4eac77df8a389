from __future__ import annotations

import errno
import traceback

import numpy as np
import pytest
import torch

from simedit.errors import SimeditError
from simedit.memory import enough_memory, ran_out


def too_large_for_numpy() -> None:
    np.zeros(1 << 60, np.uint8)


def too_large_for_torch() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def too_large_for_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def too_large_for_a_call() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize(
    "work", [too_large_for_numpy, too_large_for_torch, too_large_for_a_gpu, too_large_for_a_call]
)
def test_each_librarys_way_is_one_sentence(work):
    with pytest.raises(SimeditError, match=r"^out of memory: take less$"), enough_memory(lambda: "take less"):
        work()


@pytest.mark.parametrize("error", [ValueError("memory"), RuntimeError("shape"), SimeditError("as it is")])
def test_other_errors_stay_what_they_are(error):
    assert not ran_out(error)
    with pytest.raises(type(error)) as caught, enough_memory(lambda: "take less"):
        raise error
    assert caught.value is error
    assert "out of memory" not in "".join(traceback.format_exception(caught.value))
