"""What arrays and tensors have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simedit.arrays import as_numpy, copied, joined, off_host, whole_number
from simedit.errors import SimeditError


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_arrays_and_tensors_are_joined_and_copied_as_what_they_are(make) -> None:
    parts = [make(np.arange(6).reshape(2, 3)), make(np.arange(9).reshape(3, 3))]
    whole = joined(parts)
    assert type(whole) is type(parts[0])
    assert as_numpy(whole).tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert joined(parts[:1]) is parts[0]
    again = copied(parts[0])
    again[0] = 9
    assert as_numpy(parts[0])[0].tolist() == [0, 1, 2]
    assert not off_host(whole)


def test_another_devices_tensors_are_told_apart() -> None:
    assert off_host(torch.empty(1, device="meta"))
    assert not off_host([1])


@pytest.mark.parametrize("given", [-1, 1.0, True, np.True_, None, "1"])
def test_what_is_no_whole_number_is_refused(given: object) -> None:
    assert whole_number("a seed", np.int64(7)) == whole_number("a seed", 7) == 7
    with pytest.raises(SimeditError, match="a seed must be 0 or more and a whole number, got "):
        whole_number("a seed", given)
