from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from simedit.errors import SimeditError
from simedit.weights import check_finite, numbers_in


def test_check_finite() -> None:
    check_finite([("a", torch.ones(3)), ("none", torch.ones(0)), ("ids", torch.arange(3))], "here")
    for value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(SimeditError, match="here: the weight b is not finite"):
            check_finite([("a", torch.ones(3)), ("b", torch.tensor([1.0, value, 2.0]))], "here")


def test_numbers_in_a_folder(tmp_path: Path) -> None:
    assert numbers_in(tmp_path) == 0
    save_file({"a": torch.zeros(2, 3), "b": torch.tensor(1.0)}, tmp_path / "one.safetensors")
    save_file({"a": torch.zeros(5, dtype=torch.float16)}, tmp_path / "two.safetensors")
    assert numbers_in(tmp_path) == 12
