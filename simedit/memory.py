"""Running out of memory, which every library says in a way of its own."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simedit.errors import SimeditError

_SIGNS = (
    *("out of memory", "allocate memory", "not enough memory", "insufficient memory", "bad_alloc"),
    *(
        "failed to map segment",
        "failed to allocate",
        "cuda_error_out_of_memory",
        "cublas_status_alloc_failed",
    ),
)


@contextmanager
def enough_memory(hint: Callable[[], str]) -> Iterator[None]:
    """Inside, running out of memory, the machine's or the GPU's, is one sentence that ends with the hint.

    Raises:
        SimeditError: out of memory.
    """
    try:
        yield
    except SimeditError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        raise SimeditError(f"out of memory: {hint()}") from error


def ran_out(error: BaseException) -> bool:
    """Whether the error says that memory ran out."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)
