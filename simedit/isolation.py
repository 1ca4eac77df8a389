"""What a caller has set for torch, kept away from the editor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def isolated(device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside there is no gradient, inference mode, autocast or default device but the CPU; after it all is as
    it was. The default dtype is global to all threads, and so is left as it is: code inside names its own.

    Args:
        device: what the work runs on.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", torch.device(device).type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield
