from __future__ import annotations

import pytest
import torch

from simedit.isolation import isolated


def test_what_a_caller_has_set_is_gone_inside_and_back_after() -> None:
    a = torch.ones(4, 4)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
        with isolated():
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
            assert (a @ a).dtype == torch.float32
            assert torch.empty(1).device.type == "cpu"
            assert not torch.empty(1).is_inference()
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.empty(1).device.type == "meta"
    with isolated():
        pass
    assert torch.is_grad_enabled()


def test_all_is_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), isolated():
        raise ZeroDivisionError
    assert torch.is_grad_enabled()
